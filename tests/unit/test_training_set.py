from pathlib import Path

import polars as pl
import pytest

from flywheel.errors import DataError
from flywheel.modeling import build_training_set, equal_budget
from tests.unit.modeling_world import World, frame


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, count=20, evaluation=5)


def build(world: World, turn: int = 0) -> pl.DataFrame:
    for number in range(turn + 1):
        world.open(number)
    return build_training_set(world.tables, world.config, turn)


def sides(rows: pl.DataFrame) -> dict[str, list[str]]:
    """Arms of each content, training before evaluation."""
    grouped = rows.sort("arm").group_by("content_id").agg("arm").sort("content_id")
    return dict(grouped.iter_rows())


def test_labels_that_came_with_the_data_are_seed_and_eval_items_evaluate(world: World) -> None:
    world.arrive()
    world.label(0, [1, 7])
    rows = build(world)
    assert rows.select("content_id", "item_id", "label", "weight", "arm", "split").rows() == [
        ("c0001", "i0001", "dog", 0.9, "evaluation", "eval"),
        ("c0007", "i0007", "dog", 0.9, "seed", "train"),
    ]
    assert world.tables.read("training_sets", turn=0).sort("split").equals(rows)


def test_a_content_stands_in_every_arm_that_took_it_and_nowhere_without_a_label(world: World) -> None:
    world.arrive()
    world.choose(1, "chosen", [7, 8, 9])
    world.choose(1, "random", [8, 10])
    world.label(1, [7, 8, 10, 11])
    assert sides(build(world, 1)) == {
        "c0007": ["chosen"],
        "c0008": ["chosen", "random"],
        "c0010": ["random"],
        "c0011": ["seed"],
    }


def test_a_batch_that_reached_into_the_eval_split_trains_nothing(world: World) -> None:
    world.arrive()
    world.choose(0, "evaluation", [0])
    world.choose(0, "chosen", [1])
    world.label(0, [0, 1])
    assert sides(build(world)) == {"c0000": ["evaluation"], "c0001": ["evaluation"]}


def test_one_subject_or_content_never_stands_on_both_sides(world: World) -> None:
    world.items[6]["subject_id"] = world.items[0]["subject_id"]
    world.items[7]["content_id"] = world.items[1]["content_id"]
    world.arrive()
    world.label(0, [1, 6, 8])
    assert sides(build(world)) == {"c0001": ["evaluation"], "c0008": ["seed"]}


def test_exact_duplicates_count_once(world: World) -> None:
    world.items[6]["content_id"] = world.items[8]["content_id"]
    world.items[2]["content_id"] = world.items[3]["content_id"]
    world.arrive()
    world.label(0, [3, 8])
    rows = build(world)
    assert rows.select("content_id", "item_id").rows() == [("c0003", "i0002"), ("c0008", "i0006")]


def test_a_renamed_object_keeps_its_label_and_its_arm(world: World) -> None:
    world.choose(0, "chosen", [9])
    world.items[9]["item_id"] = "renamed"
    world.arrive()
    world.label(0, [9])
    assert build(world).select("item_id", "arm").rows() == [("renamed", "chosen")]


def test_labels_and_batches_of_later_turns_do_not_reach_back(world: World) -> None:
    world.arrive()
    world.label(0, [7])
    world.label(1, [7], ["emu"])
    world.label(1, [8])
    world.choose(1, "chosen", [7])
    assert build(world, 1).select("content_id", "label", "arm").rows() == [
        ("c0007", "emu", "chosen"),
        ("c0008", "emu", "seed"),
    ]
    assert build_training_set(world.tables, world.config, 0).select("label", "arm").rows() == [("dog", "seed")]


def test_other_modalities_and_labels_outside_the_spec_are_left_out(world: World) -> None:
    world.items[7]["modality"] = "text"
    world.arrive()
    world.label(0, [7, 8])
    world.label(0, [9], ["cow"])
    assert build(world)["content_id"].to_list() == ["c0008"]


def test_nothing_labeled_is_an_empty_set_and_a_repeat_writes_nothing(world: World) -> None:
    world.arrive()
    assert build(world).is_empty()
    world.label(0, [7, 1])
    build(world)
    version = world.tables.version("training_sets")
    build(world)
    assert world.tables.version("training_sets") == version


def test_a_turn_that_was_never_opened_is_an_error(world: World) -> None:
    with pytest.raises(DataError, match="never opened"):
        build_training_set(world.tables, world.config, 3)


def batch(turn: int, arm: str, contents: list[str]) -> list[dict[str, object]]:
    return [{"turn": turn, "arm": arm, "content_id": name, "position": place} for place, name in enumerate(contents)]


def known(*pairs: tuple[str, str]) -> pl.DataFrame:
    return frame(
        "training_sets", [{"content_id": name, "arm": arm, "split": "train", "turn": 2} for name, arm in pairs]
    )


def test_both_arms_take_the_same_number_of_answered_labels_in_each_turn() -> None:
    training = known(
        ("s", "seed"), ("a", "chosen"), ("b", "chosen"), ("c", "chosen"), ("d", "chosen"), ("e", "chosen"),
        ("b", "random"), ("x", "random"), ("y", "random"),
    )  # fmt: skip
    rows = [
        *batch(1, "chosen", ["unanswered", "b", "a", "c"]),
        *batch(1, "random", ["x", "b"]),
        *batch(2, "chosen", ["e", "d"]),
        *batch(2, "random", ["y"]),
        *batch(3, "chosen", ["z"]),
    ]
    found = equal_budget(training, frame("batches", rows))
    assert found["chosen"]["content_id"].to_list() == ["a", "b", "e", "s"]
    assert found["random"]["content_id"].to_list() == ["b", "s", "x", "y"]


def test_there_is_nothing_to_compare_before_both_arms_are_answered() -> None:
    training = known(("s", "seed"), ("a", "chosen"))
    assert equal_budget(training, frame("batches", batch(1, "chosen", ["a"]) + batch(1, "random", ["x"]))) == {}
