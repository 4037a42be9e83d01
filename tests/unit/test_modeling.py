from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flywheel.errors import DataError
from flywheel.modeling import build_training_set, read_model, train_models
from flywheel.modeling.training import TrainReport
from tests.unit.modeling_world import CLASSES, ENCODER, World

SEED = list(range(45, 60))
CHOSEN = list(range(60, 75))
RANDOM = list(range(75, 85))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Turn 0 with seed and evaluation labels, turn 1 with a chosen and a smaller random arm."""
    world = World(tmp_path)
    world.arrive()
    world.open(0)
    world.choose(0, "seed", SEED)
    world.label(0, [*range(45), *SEED])
    world.choose(1, "chosen", CHOSEN)
    world.choose(1, "random", RANDOM)
    world.label(1, [*CHOSEN, *RANDOM])
    build_training_set(world.tables, world.config, 0)
    return world


def train(world: World, turn: int) -> TrainReport:
    world.open(turn)
    build_training_set(world.tables, world.config, turn)
    return train_models(world.tables, world.files, world.config, ENCODER, turn)


def test_turn_zero_has_only_a_deployed_model_with_answers_for_everything(world: World) -> None:
    report = train(world, 0)
    assert report.models.select("arm", "encoder_id", "examples").rows() == [("deployed", ENCODER, 15)]
    assert report.models["classes"].to_list() == [list(CLASSES)]
    assert (report.trained, report.predicted, report.reason) == (1, 120, "")
    predictions = world.tables.read("predictions", turn=0).sort("content_id")
    assert predictions["content_id"].to_list() == [f"c{number:04d}" for number in range(120)]
    model = read_model(world.files, report.models["path"][0])
    probabilities = np.array(predictions["probabilities"].to_list(), np.float32)
    np.testing.assert_array_equal(probabilities, model.predict_proba(world.vectors))
    assert predictions["predicted"].to_list() == [CLASSES[code] for code in probabilities.argmax(1)]
    np.testing.assert_allclose(predictions["confidence"].to_numpy(), probabilities.max(1))
    assert (predictions["predicted"] == pl.Series(world.truth)).mean() > 0.9


def test_arms_are_compared_at_equal_budget_and_the_deployed_model_learns_from_all(world: World) -> None:
    train(world, 0)
    examples = dict(train(world, 1).models.select("arm", "examples").iter_rows())
    assert examples == {"deployed": 40, "chosen": 25, "random": 25}


def test_the_previous_model_answers_this_turns_evaluation_contents(world: World) -> None:
    before = train(world, 0).models["model_id"][0]
    train(world, 1)
    previous = world.tables.read("predictions", turn=1).filter(pl.col("arm") == "previous").sort("content_id")
    assert previous["model_id"].unique().to_list() == [before]
    assert previous["content_id"].to_list() == [f"c{number:04d}" for number in range(45)]
    told = world.tables.read("predictions", turn=0).sort("content_id").head(45)
    assert previous.select("predicted", "confidence").equals(told.select("predicted", "confidence"))


def test_training_again_trains_nothing_and_writes_nothing(world: World) -> None:
    train(world, 0)
    first = train(world, 1)
    stored = {info.key: info.version for info in world.files.list()}
    versions = world.tables.versions()
    again = train(world, 1)
    assert first.trained == 3 and again.trained == 0
    assert world.tables.versions() == versions
    assert {info.key: info.version for info in world.files.list()} == stored
    assert set(stored) == {*first.models["path"], *world.tables.read("models", turn=0)["path"]}


def test_a_lost_model_file_is_trained_again_to_the_same_bytes(world: World) -> None:
    path = train(world, 0).models["path"][0]
    content = world.files.read(path)
    world.files.delete(path)
    assert train(world, 0).trained == 1
    assert world.files.read(path) == content


def test_the_models_id_depends_on_labels_encoder_and_hyperparameters(world: World, tmp_path: Path) -> None:
    first = train(world, 0).models["model_id"][0]
    world.label(0, [85])
    second = train(world, 0).models["model_id"][0]
    raw = world.config.model_copy(update={"model": world.config.model.model_copy(update={"seed": 7})})
    third = train_models(world.tables, world.files, raw, ENCODER, 0).models["model_id"][0]
    assert len({first, second, third}) == 3


@pytest.mark.parametrize("labeled", [[], [45, 48]])
def test_fewer_than_two_classes_train_no_model_and_say_why(tmp_path: Path, labeled: list[int]) -> None:
    world = World(tmp_path)
    world.arrive()
    world.label(0, labeled)
    report = train(world, 0)
    assert report.models.is_empty() and report.trained == 0
    assert f"show {min(1, len(labeled))} of 3 classes" in report.reason
    assert world.tables.read("models", turn=0).is_empty()
    assert world.tables.read("predictions", turn=0).is_empty()


def test_labels_without_a_vector_are_not_trained_on(world: World) -> None:
    known = world.tables.read("embeddings").filter(pl.col("content_id") != "c0050")
    world.tables.replace("embeddings", known, arrival="arrival-00001")
    world.tables.replace("turns", world.tables.read("turns").clear(), turn=0)
    assert train(world, 0).models["examples"].to_list() == [14]


def test_reading_a_model_that_is_not_there_names_it(world: World) -> None:
    with pytest.raises(DataError, match=r"head\.safetensors"):
        read_model(world.files, "models/none/head.safetensors")
