"""Trains the turn's models and lets them predict: writes `models`, `predictions` and one file per model."""

import json
import logging
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from flywheel.config import ModelConfig, WheelConfig
from flywheel.encoders import Vectors
from flywheel.identity import digest
from flywheel.modeling.head import ALGORITHM, HeadOptions, LinearHead, Model
from flywheel.modeling.training_set import equal_budget
from flywheel.objects import ObjectStore
from flywheel.raw import current_items
from flywheel.records import SCHEMAS, empty
from flywheel.structure import ContentSpace, load_space
from flywheel.tables import Tables
from flywheel.turns import read_turn

log = logging.getLogger("flywheel.modeling")


@dataclass(frozen=True)
class TrainReport:
    """What `train_models` did.

    Attributes:
        models: the turn's `models` rows.
        trained: models that were fitted now; the others stood already.
        predicted: contents that have predictions.
        reason: why no model was trained, "" if one was.
    """

    models: pl.DataFrame
    trained: int
    predicted: int
    reason: str = ""


def train_models(tables: Tables, files: ObjectStore, config: WheelConfig, encoder_id: str, turn: int) -> TrainReport:
    """Train the turn's models on its training set and write their predictions.

    Arm `deployed` learns from every training row. From the first turn with both chosen and random labels on, arms
    `chosen` and `random` learn from the same number of them (see `equal_budget`), for comparison. A model's id is
    the digest of everything it depends on; one whose file stands is loaded, not trained again.

    `predictions` hold every arm's answer for each current content that has a vector, and, as arm `previous`, the
    answers of the last turn's deployed model for this turn's evaluation contents: the base line of `evaluate_models`.
    Predictions for training rows are in-sample.

    Where the labels show fewer than two classes no model is trained, both tables stay empty for the turn, and the
    report says so.

    Cost: see `LinearHead.fit`, for up to three models; predictions n d C per model.
    """
    training = tables.read("training_sets", turn=turn)
    space = load_space(tables, encoder_id, config.label_spec.modality, read_turn(tables, turn).pinned)
    examples = _examples(tables, training, space, turn)
    seen = examples["deployed"]["label"].n_unique()
    if seen < 2:
        tables.replace("models", empty("models"), turn=turn)
        tables.replace("predictions", empty("predictions"), turn=turn)
        reason = f"the training labels show {seen} of {len(config.label_spec.classes)} classes; a model needs two"
        log.info("turn %d trains no model: %s", turn, reason)
        return TrainReport(empty("models"), 0, 0, reason)
    trained, rows, answers = 0, list[dict[str, object]](), list[pl.DataFrame]()
    for arm, learned in examples.items():
        if learned["label"].n_unique() < 2:
            continue
        model_id, model, is_new = _stand(files, config, space, learned)
        trained += is_new
        rows.append(_model_row(turn, arm, model_id, model, encoder_id, learned.height))
        answers.append(_predict(turn, arm, model_id, model, space.content_ids, space.vectors))
    answers += _previous(tables, files, config, training, space, turn)
    models = pl.DataFrame(rows, schema=SCHEMAS["models"])
    tables.replace("models", models, turn=turn)
    tables.replace("predictions", pl.concat(answers), turn=turn)
    return TrainReport(models, trained, len(space))


def read_model(files: ObjectStore, path: str) -> Model:
    """Return a stored model, given the `path` of its `models` row.

    Raises:
        DataError: there is no such file, or it is no model.
    """
    return LinearHead.load(files.read(path))


def model_path(model_id: str) -> str:
    """Where a model lies among the wheel's files."""
    return f"models/{model_id}/head.safetensors"


def head_options(config: ModelConfig) -> HeadOptions:
    """Return how the configuration wants heads trained; a penalty it does not state is cross-validated."""
    return HeadOptions(config.weight_decay, config.iterations, config.seed)


def _examples(tables: Tables, training: pl.DataFrame, space: ContentSpace, turn: int) -> dict[str, pl.DataFrame]:
    """Training rows of each arm, one per content, with their subjects; rows without a vector are left out."""
    known = training.filter(pl.col("split") == "train").join(
        pl.DataFrame({"content_id": space.content_ids}, schema={"content_id": pl.String}), on="content_id", how="semi"
    )
    missing = training.filter(pl.col("split") == "train")["content_id"].n_unique() - known["content_id"].n_unique()
    if missing:
        log.warning("%d labeled contents have no vector and are not trained on", missing)
    batches = tables.scan("batches").filter(pl.col("turn") <= turn).collect()
    arms = {"deployed": known.unique("content_id"), **equal_budget(known, batches)}
    items = current_items(tables, read_turn(tables, turn).pinned).select("item_id", "subject_id")
    columns = ("content_id", "label", "weight", "subject_id")
    return {
        arm: rows.join(items, on="item_id", how="left").select(columns).sort("content_id") for arm, rows in arms.items()
    }


def _stand(
    files: ObjectStore, config: WheelConfig, space: ContentSpace, learned: pl.DataFrame
) -> tuple[str, Model, bool]:
    """Return a model's id, the model, and whether it had to be trained."""
    options = head_options(config.model)
    rows = json.dumps(learned.rows(), ensure_ascii=False)
    model_id = digest("model", ALGORITHM, space.encoder_id, repr(options), json.dumps(config.label_spec.classes), rows)
    path = model_path(model_id)
    is_new = not files.exists(path)
    if is_new:
        head = LinearHead(config.label_spec.classes, options).fit(
            _vectors(space, learned["content_id"]),
            learned["label"].to_list(),
            learned["weight"].to_list(),
            learned["subject_id"].to_list(),
        )
        if head.unseen:
            log.warning("model %s has no examples of %s and cannot know them", model_id[:8], ", ".join(head.unseen))
        files.write(path, head.save())
    return model_id, read_model(files, path), is_new


def _vectors(space: ContentSpace, content_ids: pl.Series) -> Vectors:
    """Vectors of some contents of the space, in the order asked."""
    places = np.searchsorted(np.array(space.content_ids), content_ids.to_numpy())
    return space.vectors[places]


def _model_row(turn: int, arm: str, model_id: str, model: Model, encoder_id: str, examples: int) -> dict[str, object]:
    return {
        "turn": turn,
        "arm": arm,
        "model_id": model_id,
        "encoder_id": encoder_id,
        "classes": list(model.classes),
        "examples": examples,
        "temperature": model.temperature,
        "path": model_path(model_id),
    }


def _predict(
    turn: int, arm: str, model_id: str, model: Model, content_ids: tuple[str, ...], vectors: Vectors
) -> pl.DataFrame:
    probabilities = model.predict_proba(vectors)
    best = probabilities.argmax(1)
    columns = {
        "turn": pl.repeat(turn, len(content_ids), dtype=pl.Int64, eager=True),
        "arm": pl.repeat(arm, len(content_ids), eager=True),
        "model_id": pl.repeat(model_id, len(content_ids), eager=True),
        "content_id": pl.Series(content_ids, dtype=pl.String),
        "predicted": pl.Series(np.array(model.classes)[best], dtype=pl.String),
        "confidence": pl.Series(probabilities.max(1).astype(np.float64)),
        "probabilities": pl.Series(probabilities).cast(pl.List(pl.Float32)),
    }
    return pl.DataFrame(columns)


def _previous(
    tables: Tables, files: ObjectStore, config: WheelConfig, training: pl.DataFrame, space: ContentSpace, turn: int
) -> list[pl.DataFrame]:
    """Answers of the last deployed model before this turn on this turn's evaluation contents, if there is one."""
    before = tables.scan("models").filter(pl.col("turn") < turn, pl.col("arm") == "deployed").collect().sort("turn")
    wanted = training.filter(pl.col("split") == "eval")["content_id"].unique().sort()
    if before.is_empty():
        return []
    row = before.row(-1, named=True)
    if row["encoder_id"] != space.encoder_id:  # its vectors may still be there, of an older encoder
        space = load_space(tables, row["encoder_id"], config.label_spec.modality, read_turn(tables, turn).pinned)
    wanted = wanted.filter(wanted.is_in(list(space.content_ids)))
    if wanted.is_empty():
        return []
    model, ids = read_model(files, row["path"]), cast("list[str]", wanted.to_list())
    return [_predict(turn, "previous", row["model_id"], model, tuple(ids), _vectors(space, wanted))]
