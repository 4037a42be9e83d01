"""Agreement, consensus, and the labels that follow from the log of events."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.quality import (
    Votes,
    alpha_interval,
    dawid_skene,
    derive_labels,
    find_consensus,
    krippendorff_alpha,
    labels_as_of,
    majority,
    pairwise_agreement,
)
from flywheel.records import SCHEMAS
from flywheel.tables import Tables
from flywheel.turns import open_turn
from flywheel.vendors import collect_answers, open_vendor, submit_job
from tests.labeling_world import ARRIVAL, CLASSES, World, arrive, make_world, truth_of, utc


def counts_of(*observers: str) -> np.ndarray:
    """Counts (items, classes) of observers' answers written as text, "." for none."""
    names = sorted(set("".join(observers)) - {".", " "})
    rows = [observer.replace(" ", "") for observer in observers]
    return np.array([[column.count(name) for name in names] for column in zip(*rows, strict=True)])


@pytest.mark.parametrize(
    ("observers", "expected"),
    [  # the examples A to C of Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011)
        (("0100000010", "1110010000"), 0.095),
        (("aabbdcccedda", "babbbccceddd"), 0.692),
        (("123321412...", "1233224125.3", ".3332342251.", "12332441251."), 0.743),
    ],
)
def test_alpha_equals_the_published_examples(observers: tuple[str, ...], expected: float):
    assert krippendorff_alpha(counts_of(*observers)) == pytest.approx(expected, abs=5e-4)


def test_alpha_is_not_defined_without_pairs_or_without_variation():
    assert np.isnan(krippendorff_alpha(counts_of("12.", "..1")))
    assert np.isnan(krippendorff_alpha(counts_of("111", "111")))
    assert np.isnan(alpha_interval(counts_of("111", "111"), seed=0)).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=12))
def test_alpha_follows_its_definition_by_pairs(rows: list[list[int]]):
    counts = np.array(rows)
    values = [list(itertools.chain(*([c] * n for c, n in enumerate(row)))) for row in rows if sum(row) > 1]
    flat = list(itertools.chain(*values))
    if len(set(flat)) < 2:
        assert np.isnan(krippendorff_alpha(counts))
        return
    observed = sum(sum(a != b for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in values)
    expected = sum(a != b for a, b in itertools.permutations(flat, 2)) / (len(flat) - 1)
    assert krippendorff_alpha(counts) == pytest.approx(1 - observed / expected, abs=1e-9)


def test_the_interval_of_alpha_holds_alpha_and_shrinks_with_more_items():
    rng = np.random.default_rng(5)

    def width(items: int) -> float:
        truth = rng.integers(0, 3, (items, 1))
        said = np.where(rng.random((items, 3)) < 0.8, truth, rng.integers(0, 3, (items, 3)))
        counts = (said[:, :, None] == np.arange(3)).sum(axis=1)
        low, high = alpha_interval(counts, seed=1)
        assert low < krippendorff_alpha(counts) < high
        assert (low, high) == alpha_interval(counts, seed=1)
        return high - low

    assert width(2000) < width(60) / 3


def test_pairwise_agreement_counts_pairs():
    assert pairwise_agreement(np.array([[2, 0], [1, 1], [3, 0], [1, 0]])) == pytest.approx((1 + 0 + 3) / (1 + 1 + 3))
    assert np.isnan(pairwise_agreement(np.array([[1, 0]])))


def simulate(accuracies: list[float], items: int, classes: int, seed: int) -> tuple[Votes, np.ndarray]:
    """Everybody answers every item; wrong answers of an annotator all go to the next class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, items)
    wrong = rng.random((items, len(accuracies))) >= np.array(accuracies)
    said = np.where(wrong, (truth[:, None] + 1) % classes, truth[:, None])
    item, annotator = np.indices(said.shape)
    votes = Votes(item.ravel(), annotator.ravel(), said.ravel(), items, len(accuracies), classes)
    return votes, truth


def test_dawid_skene_trusts_the_good_and_beats_the_majority():
    votes, truth = simulate([0.95, 0.9, 0.35, 0.35, 0.35], items=400, classes=4, seed=3)
    plain, weighted = majority(votes), dawid_skene(votes)
    assert (weighted.values == truth).mean() > (plain.values == truth).mean() + 0.1
    assert (weighted.values == truth).mean() > 0.93
    assert np.abs(weighted.accuracy - [0.95, 0.9, 0.35, 0.35, 0.35]).max() < 0.06


def test_the_confidence_of_dawid_skene_is_how_often_it_is_right():
    votes, truth = simulate([0.75] * 3, items=4000, classes=3, seed=2)
    found = dawid_skene(votes)
    assert found.confidence.mean() == pytest.approx((found.values == truth).mean(), abs=0.03)
    assert np.allclose(found.posterior.sum(axis=1), 1)


def test_few_answers_fall_back_to_the_majority():
    votes, _ = simulate([0.9, 0.9, 0.9], items=5, classes=3, seed=0)
    assert find_consensus(votes).method == "majority"
    assert find_consensus(simulate([0.9, 0.9], 100, 3, 0)[0]).method == "majority"
    assert find_consensus(simulate([0.9, 0.9, 0.9], 100, 3, 0)[0]).method == "dawid-skene"


def test_the_majority_is_surer_with_more_votes_and_undecided_on_a_tie():
    votes = Votes(np.array([0, 1, 1, 2, 2]), np.array([0, 0, 1, 0, 1]), np.array([1, 1, 1, 2, 1]), 3, 2, 3)
    found = majority(votes)
    assert found.values.tolist() == [1, 1, 1]
    assert found.confidence[0] == pytest.approx(0.8)
    assert found.confidence[1] > 0.95
    assert found.confidence[2] < 0.5


def test_nobody_answered_is_no_error():
    none = np.array([], dtype=np.int64)
    assert find_consensus(Votes(none, none, none, 0, 0, 3)).values.tolist() == []


def log(tables: Tables, *events: dict[str, object], origin: str = ARRIVAL) -> None:
    """Write events as the only ones of their origin; what is left out is filled in."""
    rows = []
    for number, event in enumerate(events):
        row = {
            "annotation_uid": f"a{number}",
            "item_id": f"i-{event['content_id']}",
            "field": "label",
            "spec_version": "1",
            "value": "cat",
            "action": "create",
            "source": "human",
            "author": "file:ana",
            "parent": "",
            "seconds": 0.0,
            "cost": 0.0,
            "native_id": "",
            "at": utc(number),
            "origin": origin,
        } | event
        row.setdefault("event_id", f"{origin}-e{number}")
        rows.append(row)
    tables.replace("annotation_events", pl.DataFrame(rows, schema=SCHEMAS["annotation_events"]), origin=origin)


def derive(world: World, turn: int = 0):
    return derive_labels(world.tables, world.config, turn)


def standing(world: World, turn: int = 0) -> dict[str, str]:
    return dict(labels_as_of(world.tables, turn, "label", "1").select("content_id", "value").iter_rows())


def test_simulated_answers_become_labels_that_say_so(tmp_path: Path):
    world = make_world(tmp_path, count=60, votes=3, labels_per_turn=60)
    world.choose(range(60))
    vendor = open_vendor(world.config)
    submit_job(world.tables, world.sources, world.config, vendor, 0)
    collect_answers(world.tables, vendor, world.config, world.sources, 0)
    report = derive(world)
    assert (report.labels, report.new, report.items, report.votes) == (60, 60, 60, 180)
    assert report.method == "dawid-skene"
    assert 0.4 < report.alpha < 0.8
    assert report.alpha_low < report.alpha < report.alpha_high
    assert report.annotators["answers"].sum() == 180
    assert report.annotators["simulated"].all()
    labels = world.tables.read("labels")
    assert set(labels["method"]) == {"dawid-skene, simulated"}
    items = dict(world.tables.read("items").select("content_id", "key").iter_rows())
    right = [value == truth_of(int(items[content][:4])) for content, value in standing(world).items()]
    assert np.mean(right) > 0.85
    assert "simulated:annotator-1 (simulated)" in report.markdown


def test_deriving_again_writes_nothing(tmp_path: Path):
    world = make_world(tmp_path)
    log(world.tables, {"content_id": "c1"}, {"content_id": "c2", "value": "dog"})
    derive(world)
    before = world.tables.versions()
    assert derive(world).new == 2
    assert world.tables.versions() == before


def test_a_turn_knows_its_arrivals_and_the_jobs_up_to_it(tmp_path: Path):
    world = make_world(tmp_path)
    log(world.tables, {"content_id": "c1"})
    log(world.tables, {"content_id": "c2", "annotation_uid": "b"}, origin="job-of-turn-1")
    log(world.tables, {"content_id": "c3", "annotation_uid": "c"}, origin="arrival-00002")
    world.tables.replace("jobs", job_row(1, "job-of-turn-1"), turn=1)
    assert derive(world).labels == 1
    open_turn(world.tables, 1, trigger="test", reason="", budget=1)
    assert derive(world, 1).labels == 2
    assert world.tables.read("labels", turn=1)["content_id"].to_list() == ["c2"]
    assert standing(world, 0) == {"c1": "cat"}
    assert standing(world, 1) == {"c1": "cat", "c2": "cat"}


def test_an_edit_replaces_what_it_follows_whatever_the_clock_says(tmp_path: Path):
    world = make_world(tmp_path)
    chain = [
        {"content_id": "c1", "annotation_uid": "a", "event_id": "e1", "value": "cat", "at": utc(9)},
        {"content_id": "c1", "annotation_uid": "a", "event_id": "e2", "value": "dog", "action": "edit", "parent": "e1"},
        {"content_id": "c1", "annotation_uid": "a", "event_id": "e3", "value": "emu", "action": "edit", "parent": "e2"},
    ]
    for order in itertools.permutations(chain):
        log(world.tables, *order)
        report = derive(world)
        assert standing(world) == {"c1": "emu"}
        assert report.votes == 1


def test_a_correction_by_another_person_replaces_the_annotation_it_names(tmp_path: Path):
    world = make_world(tmp_path)
    log(
        world.tables,
        {"content_id": "c1", "value": "cat"},
        {"content_id": "c1", "value": "dog", "action": "edit", "parent": "a0", "author": "file:bo"},
    )
    assert derive(world).votes == 1
    assert standing(world) == {"c1": "dog"}


def test_a_rejected_answer_counts_no_more_and_its_label_is_withdrawn(tmp_path: Path):
    world = make_world(tmp_path)
    create = {"content_id": "c1", "annotation_uid": "a", "event_id": "e1"}
    log(world.tables, create, {"content_id": "c2", "annotation_uid": "b"})
    derive(world)
    reject = create | {"event_id": "e2", "action": "reject", "parent": "e1", "author": "file:boss"}
    log(world.tables, reject, origin="job-of-turn-1")
    world.tables.replace("jobs", job_row(1, "job-of-turn-1"), turn=1)
    open_turn(world.tables, 1, trigger="test", reason="", budget=1)
    report = derive(world, 1)
    assert (report.labels, report.withdrawn, report.new, report.changed) == (1, 1, 0, 0)
    assert standing(world, 1) == {"c2": "cat"}
    assert standing(world, 0) == {"c1": "cat", "c2": "cat"}


def test_a_label_of_the_manifest_stands_until_it_is_rejected(tmp_path: Path):
    world = make_world(tmp_path)
    given = {"content_id": "c1", "value": "cat", "author": "manifest:photos", "event_id": "m1"}
    people = [{"content_id": "c1", "value": "dog", "author": f"file:{who}", "annotation_uid": who} for who in "abc"]
    log(world.tables, given, *people)
    derive(world)
    row = world.tables.read("labels").row(0, named=True)
    assert (row["value"], row["confidence"], row["votes"], row["method"]) == ("cat", 1.0, 1, "manifest")
    log(world.tables, given, *people, given | {"event_id": "m2", "action": "reject", "parent": "m1"})
    report = derive(world)
    assert standing(world) == {"c1": "dog"}
    assert world.tables.read("labels")["votes"].to_list() == [3]
    assert report.labels == 1


def test_a_corrected_manifest_changes_the_label_from_the_next_turn_on(tmp_path: Path):
    world = make_world(tmp_path, count=2, manifest="key,label\n0000.png,cat\n0001.png,dog\n")
    assert derive(world).labels == 2
    (tmp_path / "photos" / "manifest.csv").write_text("key,label\n0000.png,emu\n0001.png,dog\n")
    arrive(world.config, world.tables, world.sources)
    versions = world.tables.versions()
    derive(world)
    assert world.tables.versions() == versions
    open_turn(world.tables, 1, trigger="test", reason="", budget=1)
    report = derive(world, 1)
    assert (report.labels, report.new, report.changed) == (2, 0, 1)
    assert sorted(standing(world, 0).values()) == ["cat", "dog"]
    assert sorted(standing(world, 1).values()) == ["dog", "emu"]


def test_copies_that_a_manifest_labels_differently_are_no_certain_label(tmp_path: Path):
    world = make_world(tmp_path)
    author = {"content_id": "c1", "author": "manifest:photos"}
    log(world.tables, author | {"item_id": "i1", "value": "dog"}, author | {"item_id": "i2", "value": "cat"})
    derive(world)
    row = world.tables.read("labels").row(0, named=True)
    assert (row["value"], row["confidence"], row["votes"]) == ("cat", 0.5, 2)


def test_one_person_has_one_vote_per_content_the_latest(tmp_path: Path):
    world = make_world(tmp_path)
    answers = [{"content_id": "c1", "value": name, "at": utc(hour)} for hour, name in enumerate(CLASSES)]
    log(world.tables, *answers)
    assert derive(world).votes == 1
    assert standing(world) == {"c1": "emu"}


def test_answers_of_models_and_of_another_spec_make_no_label(tmp_path: Path):
    world = make_world(tmp_path)
    log(world.tables, {"content_id": "c1", "source": "model"}, {"content_id": "c2", "spec_version": "2"})
    assert derive(world).labels == 0
    assert world.tables.version("labels") is None


def test_labels_do_not_depend_on_the_order_of_events(tmp_path: Path):
    world = make_world(tmp_path, count=40, votes=3, labels_per_turn=40)
    world.choose(range(40))
    vendor = open_vendor(world.config)
    job = submit_job(world.tables, world.sources, world.config, vendor, 0)
    collect_answers(world.tables, vendor, world.config, world.sources, 0)
    derive(world)
    first = world.tables.read("labels").sort("content_id")
    shuffled = world.tables.read("annotation_events").sample(fraction=1, shuffle=True, seed=1)
    world.tables.replace("annotation_events", shuffled.clear(), origin=job.job_id)
    world.tables.replace("annotation_events", shuffled, origin=job.job_id)
    world.tables.replace("labels", first.clear(), turn=0)
    derive(world)
    assert world.tables.read("labels").sort("content_id").equals(first)


def job_row(turn: int, job_id: str) -> pl.DataFrame:
    row = {"turn": turn, "job_id": job_id, "vendor": "file", "idempotency_key": job_id, "state": "returned", "tasks": 1}
    row |= {"votes": 1, "cost": 0.0, "native_id": "", "created_at": utc(), "updated_at": utc()}
    return pl.DataFrame([row], schema=SCHEMAS["jobs"])
