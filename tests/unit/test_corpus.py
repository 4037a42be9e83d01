"""The corpus as a turn sees it: pinned, folded, and blind to the labels that judge."""

from pathlib import Path

import polars as pl

from flywheel.corpus import judges, load_corpus
from tests.unit.modeling_world import ENCODER, World, frame


def test_labels_that_judge_are_not_known_to_gaps_and_batches(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.arrive()
    world.open(0)
    world.label(0, range(60))  # 45 of the evaluation split, 15 for training
    world.open(1)
    corpus = load_corpus(world.tables, world.config, ENCODER, 1)
    judging = pl.Series(judges(corpus.frame["content_id"])) & (corpus.frame["split"] == "eval")
    assert 10 < judging.sum() < 35
    assert corpus.frame.filter(judging)["label"].null_count() == judging.sum()
    assert corpus.frame.filter(judging)["judges"].all()
    assert corpus.labeled.sum() == 60 - judging.sum()
    assert not corpus.frame.filter(pl.col("split") == "pool")["judges"].any()


def test_a_turn_sees_labels_and_items_as_they_were_when_it_opened(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.arrive()
    world.open(0)
    world.label(0, [100])
    late = world.item(500) | {"arrival": "arrival-00002"}
    world.tables.replace("items", frame("items", [late]), arrival="arrival-00002")
    blind = load_corpus(world.tables, world.config, ENCODER, 0)
    assert not blind.labeled.any()
    assert "c0500" not in set(blind.frame["content_id"])
    world.open(1)
    assert load_corpus(world.tables, world.config, ENCODER, 1).labeled.sum() == 1


def test_copies_fold_and_a_copy_in_evaluation_keeps_the_content_out_of_training(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.items.append(world.item(100) | {"item_id": "a-copy", "split": "eval"})
    world.arrive()
    world.open(0)
    row = load_corpus(world.tables, world.config, ENCODER, 0).frame.filter(pl.col("content_id") == "c0100")
    assert row["item_id"].to_list() == ["a-copy"]  # the smallest id stands for all
    assert row["split"].to_list() == ["eval"]


def test_withdrawn_labels_are_no_labels(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.arrive()
    world.open(0)
    world.label(0, [100, 101])
    world.open(1)
    world.label(1, [100], [""], method="withdrawn")
    world.open(2)
    corpus = load_corpus(world.tables, world.config, ENCODER, 2)
    assert corpus.frame.filter(pl.Series(corpus.labeled))["content_id"].to_list() == ["c0101"]


def test_attributes_keep_their_types_and_mixed_ones_become_text(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.items[0]["attributes"] = '{"age": 7, "wet": true, "note": 1}'
    world.items[1]["attributes"] = '{"age": 7.5, "wet": false, "note": "two"}'
    world.arrive()
    world.open(0)
    frame_ = load_corpus(world.tables, world.config, ENCODER, 0).frame
    assert frame_.schema["attr.age"] == pl.Float64
    assert frame_.schema["attr.wet"] == pl.Boolean
    assert frame_["attr.note"][:3].to_list() == ["1", "two", None]


def test_predictions_are_those_of_the_model_deployed_last(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.arrive()
    common = {"arm": "deployed", "content_id": "c0100", "probabilities": [0.7, 0.2, 0.1], "confidence": 0.7}
    world.tables.replace("predictions", frame("predictions", [common | {"turn": 0, "predicted": "cat"}]), turn=0)
    for turn in (0, 1, 2):  # turn 1 still waits for its answers when turn 2 opens
        world.open(turn)
    row = load_corpus(world.tables, world.config, ENCODER, 2).frame.filter(pl.col("content_id") == "c0100")
    assert row["predicted"].to_list() == ["cat"]
    assert abs(row["margin"][0] - 0.5) < 1e-6
    assert load_corpus(world.tables, world.config, ENCODER, 0).frame["predicted"].null_count() == 120
