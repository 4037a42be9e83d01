"""Two turns of the wheel on a planted gap: what stands in the tables afterwards."""

import numpy as np
import polars as pl
import pytest

from flywheel.config import MODALITIES
from flywheel.corpus import load_corpus, members
from flywheel.encoders import load_vectors
from flywheel.index import open_index
from flywheel.modeling.training import read_model
from flywheel.objects import open_files
from flywheel.raw import current_items
from flywheel.records import SCHEMAS
from flywheel.structure import load_space
from flywheel.turns import read_turn
from tests.e2e.conftest import TwoTurns
from tests.e2e.small_wheel import BROKEN, GAP, PICTURES, SEED_LABELS, TEXTS, SmallWheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ITEMS = {portion: len(PICTURES[portion]) + len(TEXTS[portion]) for portion in PICTURES}


def image_encoder(wheel: SmallWheel) -> str:
    return wheel.encoders["image"].id


def truth(wheel: SmallWheel) -> pl.DataFrame:
    """Content ids of the pictures with what they really show."""
    known = pl.read_csv(wheel.folder / "truth.csv", schema={"key": pl.String, "label": pl.String})
    return current_items(wheel.tables).join(known, on="key").select("content_id", "split", truth="label")


def accuracy(wheel: SmallWheel, origin: str, part: str) -> float:
    rows = wheel.tables.read("evaluations", origin=origin, arm="deployed", slice=part, metric="accuracy")
    return rows["value"].item()


def test_each_portion_becomes_one_arrival_and_its_items(two_turns: TwoTurns) -> None:
    assert [turned.arrivals for turned in two_turns.turned] == [("arrival-00001",), ("arrival-00002",)]
    assert [turned.turns for turned in two_turns.turned] == [(0, 1), (2,)]
    items = current_items(two_turns.wheel.tables)
    landed = {path.name for path in (two_turns.wheel.folder / "photos").iterdir() if path.suffix != ".csv"}
    assert set(items["key"]) == landed - {BROKEN}
    counts = items.group_by("arrival", "modality").len().sort("arrival", "modality")
    assert counts["len"].to_list() == [120, 8, 30, 4]
    refused = two_turns.wheel.tables.read("quarantine")
    assert refused.select("key", "reason").rows() == [(BROKEN, "undecodable")]


def test_every_item_is_embedded_once(two_turns: TwoTurns) -> None:
    tables = two_turns.wheel.tables
    names = {modality: encoder.id for modality, encoder in two_turns.wheel.encoders.items()}
    wanted = current_items(tables).select("content_id", pl.col("modality").replace_strict(names).alias("encoder_id"))
    stored = tables.read("embeddings")
    assert stored.height == sum(ITEMS.values())
    assert sorted(stored.select("content_id", "encoder_id").iter_rows()) == sorted(wanted.unique().iter_rows())
    lengths = [float(np.linalg.norm(vector)) for vector in stored["vector"].to_list()]
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_the_index_holds_every_item_and_finds_it(two_turns: TwoTurns) -> None:
    wheel = two_turns.wheel
    items = current_items(wheel.tables)
    pictures = items.filter(pl.col("modality") == "image")
    vectors = load_vectors(wheel.tables, image_encoder(wheel), pictures["content_id"].to_list())
    with open_index(wheel.config) as index:
        held = index.scroll()
        nearest = [index.query(image_encoder(wheel), vector.tolist(), limit=1)[0].item_id for vector in vectors[::15]]
    contents = {item: payload["content_id"] for item, payload in held.items()}
    assert contents == dict(items.select("item_id", "content_id").iter_rows())
    assert nearest == pictures["item_id"].to_list()[::15]


def test_neighbors_clusters_and_the_map_speak_of_every_content(two_turns: TwoTurns) -> None:
    tables = two_turns.wheel.tables
    contents = set(current_items(tables)["content_id"])
    for name in ("neighbors", "map_points"):
        assert sorted(tables.read(name)["content_id"]) == sorted(contents), name
    placed = tables.read("clusters")
    for (level, modality), rows in placed.group_by("level", "modality"):
        expected = current_items(tables).filter(pl.col("modality") == modality)["content_id"]
        assert sorted(rows["content_id"]) == sorted(expected), (level, modality)
    assert set(placed["cluster_id"]) == set(tables.read("cluster_names")["cluster_id"])
    assert tables.read("cluster_names").filter(pl.col("name") == "").is_empty()


def test_the_planted_gap_is_found_and_named(two_turns: TwoTurns) -> None:
    wheel = two_turns.wheel
    gaps = wheel.tables.read("gaps", turn=1).sort("rank")
    first = gaps.filter(pl.col("kind") == "data").row(0, named=True)
    assert first["rank"] <= 3
    assert GAP in first["predicate"]
    assert first["labeled"] <= 1
    assert first["advice"] == "label"
    corpus = load_corpus(wheel.tables, wheel.config, image_encoder(wheel), 1)
    inside = corpus.frame.filter(members(corpus.frame, first["expression"])).join(truth(wheel), on="content_id")
    assert (inside["truth"] == GAP).mean() > 0.9
    assert inside.height > 0.5 * (truth(wheel).filter(pl.col("truth") == GAP).height * 120 / 150)


def test_chosen_items_come_from_the_gap(two_turns: TwoTurns) -> None:
    wheel = two_turns.wheel
    batch = wheel.tables.read("batches", turn=1).join(truth(wheel), on="content_id")
    chosen, control = (batch.filter(pl.col("arm") == arm) for arm in ("chosen", "random"))
    assert (chosen.height, control.height) == (12, 12)
    for_gaps = chosen.filter(pl.col("gap_id") != "")
    assert set(for_gaps["gap_id"]) <= set(wheel.tables.read("gaps", turn=1)["gap_id"])
    assert for_gaps.filter(pl.col("truth") == GAP).height >= 6
    assert chosen.filter(pl.col("truth") == GAP).height > control.filter(pl.col("truth") == GAP).height
    assert set(batch["split"]) == {"pool"}
    assert batch.filter(pl.col("reason") == "").is_empty()


def test_a_batch_is_ordered_and_paid_once(two_turns: TwoTurns) -> None:
    wheel = two_turns.wheel
    jobs = wheel.tables.read("jobs").sort("turn")
    assert jobs.select("turn", "state").rows() == [(1, "returned"), (2, "returned")]
    orders = {order.idempotency_key: order for order in wheel.vendor.orders()}
    assert orders.keys() == set(jobs["idempotency_key"])
    for job in jobs.iter_rows(named=True):
        contents = wheel.tables.read("batches", turn=job["turn"])["content_id"].n_unique()
        assert job["tasks"] == contents == orders[job["idempotency_key"]].tasks
        assert job["cost"] == round(contents * 3 * 0.05, 2) == round(read_turn(wheel.tables, job["turn"]).spent, 2)
        events = wheel.tables.read("annotation_events", origin=job["job_id"])
        assert events.height == contents * 3
        assert set(events["source"]) == {"simulated"}


def test_labels_are_what_most_annotators_said(two_turns: TwoTurns) -> None:
    tables = two_turns.wheel.tables
    asked = tables.read("labels").filter(pl.col("turn") > 0)
    votes = tables.read("annotation_events").filter(pl.col("source") == "simulated")
    for label in asked.iter_rows(named=True):
        said = votes.filter(pl.col("content_id") == label["content_id"])["value"].to_list()
        assert said.count(label["value"]) > len(said) / 2
        assert label["agreement"] == round(said.count(label["value"]) / len(said), 4)
    assert set(asked["content_id"]) == set(votes["content_id"])


def test_training_takes_the_labels_of_its_turn(two_turns: TwoTurns) -> None:
    tables = two_turns.wheel.tables
    sets = {turn: tables.read("training_sets", turn=turn) for turn in (0, 1, 2)}
    seeds = sets[0].filter(pl.col("split") == "train")
    assert seeds.height == SEED_LABELS
    assert seeds["label"].value_counts().filter(pl.col("label") == GAP)["count"].item() == 1
    for turn in (1, 2):
        arms = sets[turn].filter(pl.col("split") == "train").group_by("arm").len()
        assert dict(arms.iter_rows()) == {"seed": SEED_LABELS, "chosen": 12 * turn, "random": 12 * turn}
        models = tables.read("models", turn=turn)
        assert dict(models.select("arm", "examples").iter_rows())["chosen"] == SEED_LABELS + 12 * turn
    evaluated = [set(rows.filter(pl.col("split") == "eval")["content_id"]) for rows in sets.values()]
    assert evaluated[0] == evaluated[1] == evaluated[2]


def test_the_gap_is_closed_where_it_was_found(two_turns: TwoTurns) -> None:
    wheel = two_turns.wheel
    inside = [accuracy(wheel, f"turn-{turn:03d}", f"class={GAP}") for turn in (0, 1, 2)]
    overall = [accuracy(wheel, f"turn-{turn:03d}", "all") for turn in (0, 1, 2)]
    assert inside[0] < 0.7  # the base line saw one example
    assert min(inside[1:]) > inside[0] + 0.2
    assert min(overall[1:]) > overall[0]
    before = wheel.tables.read(
        "evaluations", origin="turn-001", arm="deployed", slice=f"class={GAP}", metric="accuracy"
    )
    assert before["baseline"].item() == inside[0]


def test_predictions_are_as_good_as_the_evaluation_says(two_turns: TwoTurns) -> None:
    wheel = two_turns.wheel
    held = wheel.tables.read("training_sets", turn=1).filter(pl.col("split") == "eval")
    said = wheel.tables.read("predictions", turn=1).filter(pl.col("arm") == "deployed")
    both = held.join(said, on="content_id").join(truth(wheel), on="content_id")
    assert both.height == held.height
    assert (both["predicted"] == both["truth"]).mean() == accuracy(wheel, "turn-001", "all")


def test_turns_are_closed_with_a_snapshot(two_turns: TwoTurns) -> None:
    wheel = two_turns.wheel
    for number in (0, 1, 2):
        turn = read_turn(wheel.tables, number)
        assert turn.state == "closed"
        assert turn.closed_at is not None and turn.closed_at > turn.opened_at
        assert set(turn.snapshot) == {"tables", "index", "encoders", "spec", "model"}
        assert set(turn.snapshot["tables"]) == set(SCHEMAS)
        assert set(turn.snapshot["encoders"]) == set(MODALITIES)
        assert all(turn.snapshot["encoders"][name] == encoder.id for name, encoder in wheel.encoders.items())
        assert turn.snapshot["spec"] == {"field": "label", "version": "1"}
        models = wheel.tables.read("models", turn=number)
        assert turn.snapshot["model"] == models.filter(pl.col("arm") == "deployed")["model_id"].item()
        space = load_space(wheel.tables, image_encoder(wheel), "image", turn.snapshot["tables"])
        assert space.generation in turn.snapshot["index"]["image"]


def test_history_reads_back_as_it_was(two_turns: TwoTurns) -> None:
    now, then = two_turns.wheel.tables, two_turns.after_first.tables
    versions = read_turn(now, 1).snapshot["tables"]
    for name in SCHEMAS:
        if name != "turns":  # its last row is the closing itself
            assert now.read(name, versions[name]).equals(then.read(name)), name
    assert now.read("items", versions["items"]).height == ITEMS[1]
    assert set(now.read("evaluations", versions["evaluations"])["origin"]) == {"turn-000", "turn-001"}
    assert set(now.read("labels", versions["labels"])["turn"]) == {0, 1}


def test_an_old_model_answers_as_it_did(two_turns: TwoTurns) -> None:
    wheel = two_turns.wheel
    turn = read_turn(wheel.tables, 1)
    row = wheel.tables.read("models", turn=1, arm="deployed").row(0, named=True)
    assert row["model_id"] == turn.snapshot["model"]
    model = read_model(open_files(wheel.config), row["path"])
    said = wheel.tables.read("predictions", turn=1, arm="deployed").sort("content_id")
    vectors = load_vectors(wheel.tables, row["encoder_id"], said["content_id"].to_list(), turn.snapshot["tables"])
    np.testing.assert_allclose(model.predict_proba(vectors), np.array(said["probabilities"].to_list()), atol=1e-6)
