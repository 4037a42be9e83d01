from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flywheel.corpus import judges
from flywheel.intervals import bootstrap_counts
from flywheel.modeling import build_training_set, evaluate_models, paired_difference, train_models, wilson
from flywheel.modeling.metrics import Judged, calibration_error, log_loss, macro_f1, with_interval
from tests.unit.modeling_world import ENCODER, World, frame

EVALUATION = 90  # half of them judge
SEED = [number for number in range(90, 120) if number % 3 != 2]  # no emu: the gap
CHOSEN = [92, 95, 98, 101, 104, 107]  # only emus
RANDOM = [120, 121, 123, 124, 126, 127]  # no emu
JUDGES = [n for n in range(EVALUATION) if judges(pl.Series([f"c{n:04d}"]))[0]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The seed lacks a class; the chosen arm of turn 1 fills it, the random one does not."""
    world = World(tmp_path, count=165, evaluation=EVALUATION)
    world.arrive()
    world.choose(0, "seed", SEED)
    world.label(0, [*range(EVALUATION), *SEED])
    world.choose(1, "chosen", CHOSEN)
    world.choose(1, "random", RANDOM)
    world.label(1, [*CHOSEN, *RANDOM])
    return world


def turn(world: World, number: int) -> pl.DataFrame:
    world.open(number)
    build_training_set(world.tables, world.config, number)
    train_models(world.tables, world.files, world.config, ENCODER, number)
    return evaluate_models(world.tables, world.config, number)


def one(rows: pl.DataFrame, arm: str, part: str, metric: str) -> dict[str, Any]:
    found = rows.filter(pl.col("arm") == arm, pl.col("slice") == part, pl.col("metric") == metric)
    assert found.height == 1, f"{found.height} rows for {arm}, {part}, {metric}"
    return found.row(0, named=True)


def test_accuracy_is_measured_on_the_judging_half_of_evaluation_labels(world: World) -> None:
    rows = turn(world, 0)
    predictions = world.tables.read("predictions", turn=0).sort("content_id")["predicted"].gather(JUDGES)
    right, n = (predictions == pl.Series(world.truth).gather(JUDGES)).sum(), len(JUDGES)
    row = one(rows, "deployed", "all", "accuracy")
    assert 30 < n < 60
    assert row["n"] == n and row["value"] == pytest.approx(right / n, abs=1e-6)
    assert (row["low"], row["high"]) == pytest.approx((wilson(right, n).low, wilson(right, n).high), abs=1e-6)
    assert row["origin"] == "turn-000" and row["baseline"] is None
    assert set(rows["arm"]) == {"deployed"}
    assert world.tables.read("evaluations", origin="turn-000").height == rows.height


def test_the_chosen_arm_beats_the_random_one_where_the_gap_was(world: World) -> None:
    before = turn(world, 0)
    rows = turn(world, 1)
    assert one(before, "deployed", "class=emu", "accuracy")["value"] == 0.0
    gain = one(rows, "chosen", "class=emu", "accuracy_minus_random")
    assert gain["value"] > 0.8 and gain["low"] > 0.5
    assert one(rows, "random", "class=emu", "accuracy")["value"] == 0.0
    assert one(rows, "chosen", "all", "accuracy_minus_random")["low"] > 0


def test_the_base_line_is_the_previous_deployed_model_on_the_same_rows(world: World) -> None:
    before = turn(world, 0)
    rows = turn(world, 1)
    for part, metric in (("all", "accuracy"), ("class=emu", "accuracy"), ("all", "log_loss"), ("all", "macro_f1")):
        expected = one(before, "deployed", part, metric)["value"]
        for arm in ("deployed", "chosen", "random"):
            assert one(rows, arm, part, metric)["baseline"] == expected
    gain = one(rows, "deployed", "all", "accuracy_minus_previous")
    accuracy = one(rows, "deployed", "all", "accuracy")
    assert gain["value"] == pytest.approx(accuracy["value"] - accuracy["baseline"], abs=1e-6)


def test_gaps_of_this_turn_and_before_and_large_clusters_are_slices(world: World) -> None:
    common = {"kind": "data", "size": 1}
    for number, gap, expression in (
        (0, "g0", "\"attr.camera\" = 'a'"),
        (1, "g1", "\"class.likely\" = 'emu'"),
        (1, "g2", '"attr.gone" = 1'),
    ):
        known = world.tables.read("gaps", turn=number)
        row = {"turn": number, "gap_id": gap, "rank": 1, "predicate": f"words of {gap}", "expression": expression}
        world.tables.replace("gaps", pl.concat([known, frame("gaps", [row | common])]), turn=number)
    place = [("big", n) for n in range(70)] + [("small", n) for n in range(70, EVALUATION)]
    rows = [
        {"modality": "image", "content_id": f"c{n:04d}", "level": 0, "cluster_id": name, "distance": 0.1}
        for name, n in place
    ]
    names = [
        {"modality": "image", "level": 0, "cluster_id": name, "name": f"{name} things", "terms": [], "size": 9}
        for name in ("big", "small")
    ]
    world.tables.replace("clusters", frame("clusters", rows), modality="image")
    world.tables.replace("cluster_names", frame("cluster_names", names), modality="image")
    turn(world, 0)
    found = turn(world, 1).filter(pl.col("metric") == "accuracy", pl.col("arm") == "deployed")
    sizes = {name: (predicate, n) for name, predicate, n in found.select("slice", "predicate", "n").iter_rows()}
    assert sizes["gap:g0"] == ("words of g0", sum(n % 2 == 1 for n in JUDGES))
    assert sizes["gap:g1"] == ("words of g1", sum(world.truth[n] == "emu" for n in JUDGES))
    assert sizes["cluster:big"] == ("in cluster “big things”", sum(n < 70 for n in JUDGES))
    assert not {"gap:g2", "cluster:small"} & set(sizes)


def test_small_slices_have_only_an_accuracy(world: World) -> None:
    rows = turn(world, 0)
    assert set(rows.filter(pl.col("slice") == "class=cat")["metric"]) == {"accuracy"}
    assert set(rows.filter(pl.col("slice") == "all")["metric"]) == {
        "accuracy", "macro_f1", "log_loss", "calibration_error",
    }  # fmt: skip
    assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()


def test_evaluating_again_gives_the_same_rows_and_writes_nothing(world: World) -> None:
    turn(world, 0)
    first = turn(world, 1)
    version = world.tables.version("evaluations")
    assert evaluate_models(world.tables, world.config, 1).equals(first)
    assert world.tables.version("evaluations") == version


def test_without_a_model_or_an_evaluation_label_there_is_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.arrive()
    assert turn(world, 0).is_empty()
    world.label(0, SEED)
    assert turn(world, 0).is_empty()


def test_wilson_is_the_textbook_interval() -> None:
    found = wilson(81, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert (wilson(0, 10).low, wilson(10, 10).high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="n > 0"):
        wilson(0, 0)


def test_wilson_covers_the_truth_about_as_often_as_it_says() -> None:
    hits = np.random.default_rng(0).binomial(50, 0.9, 2000)
    covered = [found.low <= 0.9 <= found.high for found in (wilson(int(count), 50) for count in hits)]
    assert 0.93 < np.mean(covered) < 0.98


def test_the_paired_difference_covers_the_truth_and_never_claims_certainty() -> None:
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(500):
        first = generator.random(80) < 0.8
        second = np.where(generator.random(80) < 0.3, generator.random(80) < 0.6, first)
        found = paired_difference(first, second)
        covered.append(found.low <= 0.3 * 0.2 <= found.high)
    assert 0.92 < np.mean(covered) < 0.99
    same = paired_difference(np.ones(20, bool), np.ones(20, bool))
    assert same.value == 0 and same.low < -0.01 and same.high > 0.01


def judged() -> Judged:
    return Judged(
        truth=np.array([0, 0, 1, 1, 2]),
        predicted=np.array([0, 1, 1, 1, -1]),
        confidence=np.array([0.9, 0.6, 0.8, 0.7, 0.5]),
        loss=np.array([0.1, 1.0, 0.2, 0.3, 2.0]),
    )


def test_metrics_are_what_their_definitions_say() -> None:
    plain = np.ones((1, 5))
    # class 0: precision 1, recall 1/2; class 1: precision 2/3, recall 1; class 2: never predicted
    assert macro_f1(judged(), plain)[0] == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert log_loss(judged(), plain)[0] == pytest.approx(3.6 / 5)
    # every bin holds one row: |confidence - right|
    assert calibration_error(judged(), plain)[0] == pytest.approx((0.1 + 0.6 + 0.2 + 0.3 + 0.5) / 5)


def test_resample_counts_equal_metrics_of_the_resample_itself() -> None:
    counts = bootstrap_counts(5, seed=0, draws=4)
    for draw in counts:
        rows = np.repeat(np.arange(5), draw.astype(int))
        drawn = Judged(judged().truth[rows], judged().predicted[rows], judged().confidence[rows], judged().loss[rows])
        for metric in (macro_f1, log_loss, calibration_error):
            assert metric(judged(), draw[None])[0] == pytest.approx(metric(drawn, np.ones((1, 5)))[0])


def test_the_bootstrap_interval_holds_the_value_and_depends_on_the_seed_only() -> None:
    first = with_interval(log_loss, judged(), seed=1)
    assert first.low < first.value < first.high
    assert with_interval(log_loss, judged(), seed=1) == first
    assert with_interval(log_loss, judged(), seed=2) != first
