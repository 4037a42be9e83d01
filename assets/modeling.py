"""modeling: the turn's training set, the models trained on it, and what they are worth."""

from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from assets.automation import once_per_turn
from assets.partitions import turns
from assets.plots import interval_bars, reliability
from assets.quality import label_quality
from assets.running import encoder_id, station
from assets.shown import counted, picture, place, preview
from flywheel.config import WheelConfig
from flywheel.encoders import Encoder
from flywheel.modeling import build_training_set, evaluate_models, train_models
from flywheel.objects import ObjectStore
from flywheel.raw import current_items
from flywheel.tables import Tables
from flywheel.turns import close_turn, turn_number

CALIBRATION_LIMIT = 0.1  # expected calibration error, of which the lower end of the interval counts
SLICES = 20


@dg.asset(
    key=["modeling", "training_set"],
    deps=[label_quality],
    group_name="modeling",
    kinds={"polars", "deltalake"},
    owners=["team:modeling"],
    partitions_def=turns,
    automation_condition=once_per_turn,
    code_version="1",
)
def training_set(
    context: dg.AssetExecutionContext, wheel: dg.ResourceParam[WheelConfig], tables: dg.ResourceParam[Tables]
) -> dg.MaterializeResult:
    """One row is one labeled content the turn trains or evaluates with, its weight, and the arm that asked for it."""
    with station(context, tables) as turn:
        examples = build_training_set(tables, wheel, turn)
    sides = examples.group_by("split", "arm").agg(
        pl.len().alias("examples"), pl.col("label").n_unique().alias("classes")
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": examples.height,
            "train": examples.filter(pl.col("split") == "train").height,
            "eval": examples.filter(pl.col("split") == "eval").height,
            "sides": preview(sides.sort("split", "arm")),
            "classes": preview(counted(examples, "label")),
            "table": place(tables, "training_sets"),
        }
    )


@dg.asset_check(asset=training_set, partitions_def=turns, blocking=True)
def no_item_stands_on_both_sides(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No content and no subject is both trained on and evaluated on."""
    wrong = both_sides(tables, turn_number(context.partition_key))
    return dg.AssetCheckResult(
        passed=wrong.is_empty(),
        description=f"{wrong.height} contents stand on both sides" if wrong.height else None,
        metadata={"on both sides": preview(wrong)},
    )


@dg.asset_check(asset=training_set, partitions_def=turns)
def training_set_has_two_classes(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """There is something to tell apart; without it the turn goes on, but trains no model."""
    train = tables.read("training_sets", turn=turn_number(context.partition_key)).filter(pl.col("split") == "train")
    classes = train["label"].n_unique()
    return dg.AssetCheckResult(
        passed=classes >= 2,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{train.height} training examples show {classes} classes",
        metadata={"classes": preview(counted(train, "label"))},
    )


@dg.asset(
    key=["modeling", "model"],
    deps=[training_set],
    group_name="modeling",
    kinds={"pytorch"},
    owners=["team:modeling"],
    partitions_def=turns,
    automation_condition=once_per_turn,
    code_version="1",
)
def model(
    context: dg.AssetExecutionContext,
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    files: dg.ResourceParam[ObjectStore],
    encoders: dg.ResourceParam[dict[str, Encoder]],
) -> dg.MaterializeResult:
    """One row is one model of the turn: the deployed one, and those that compare the chosen with the random arm."""
    with station(context, tables) as turn:
        train_models(tables, files, wheel, encoder_id(wheel, encoders), turn)
    models = tables.read("models", turn=turn)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": models.height,
            "models": preview(models.select("arm", "model_id", "examples", "temperature", "path").sort("arm")),
            "table": place(tables, "models"),
        }
    )


@dg.asset(
    key=["modeling", "model_eval"],
    deps=[model],
    group_name="modeling",
    kinds={"polars", "matplotlib"},
    owners=["team:modeling"],
    partitions_def=turns,
    automation_condition=once_per_turn,
    code_version="1",
)
def model_eval(
    context: dg.AssetExecutionContext,
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    encoders: dg.ResourceParam[dict[str, Encoder]],
) -> dg.MaterializeResult:
    """One row is one metric of one model on one slice, with its interval and the turn before. It closes the turn."""
    with station(context, tables) as turn:
        metrics = evaluate_models(tables, wheel, turn)
    close_turn(tables, turn, snapshot=snapshot(tables, wheel, encoders, turn))
    accuracy = metrics.filter(pl.col("metric") == "accuracy")
    overall = {f"accuracy, {row['arm']}": row["value"] for row in _rows(accuracy.filter(pl.col("slice") == "all"))}
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": metrics.height,
            **overall,
            "accuracy per slice": _slices(accuracy),
            "reliability": _reliability(tables, turn),
            "metrics": preview(metrics.select("arm", "slice", "metric", "value", "low", "high", "n", "baseline"), 25),
            "table": place(tables, "evaluations"),
        }
    )


@dg.asset_check(asset=model_eval, partitions_def=turns)
def model_is_calibrated(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """What the deployed model calls 80 % sure is right about 8 times in 10, on the evaluation labels."""
    found = tables.read("evaluations", origin=context.partition_key).filter(
        pl.col("arm") == "deployed", pl.col("slice") == "all", pl.col("metric") == "calibration_error"
    )
    error, low, items = found.select("value", "low", "n").row(0) if found.height else (0.0, 0.0, 0)
    return dg.AssetCheckResult(
        passed=low <= CALIBRATION_LIMIT,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"calibration error {error:.3f} (at least {low:.3f}) on {items} items, limit {CALIBRATION_LIMIT}",
        metadata={"calibration error": error, "items": items},
    )


def snapshot(tables: Tables, wheel: WheelConfig, encoders: dict[str, Encoder], turn: int) -> dict[str, object]:
    """Return what, beside the versions of all tables, the turn stood on: index, encoders, label spec, model."""
    generations = tables.read("neighbors").select("modality", "generation").unique().sort("modality")
    deployed = tables.read("models", turn=turn).filter(pl.col("arm") == "deployed")["model_id"].to_list()
    return {
        "index": dict(generations.iter_rows()),
        "encoders": {modality: encoder.id for modality, encoder in sorted(encoders.items())},
        "spec": {"field": wheel.label_spec.field, "version": wheel.label_spec.version},
        "model": deployed[0] if deployed else None,
    }


def both_sides(tables: Tables, turn: int) -> pl.DataFrame:
    """Return the turn's training rows whose content, or whose item's subject, is evaluated on."""
    rows = tables.read("training_sets", turn=turn).join(
        current_items(tables).select("item_id", "subject_id"), on="item_id", how="left"
    )
    train, held = (rows.filter(pl.col("split") == split) for split in ("train", "eval"))
    shared = pl.col("content_id").is_in(held["content_id"].to_list()) | pl.col("subject_id").is_in(
        held["subject_id"].drop_nulls().to_list()
    )
    return train.filter(shared).select("content_id", "item_id", "subject_id", "arm", "label").sort("content_id")


def judged(tables: Tables, turn: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the deployed model's confidences (n,) on the turn's evaluation labels, and whether it was right (n,)."""
    held = tables.read("training_sets", turn=turn).filter(pl.col("split") == "eval").select("content_id", "label")
    said = tables.read("predictions", turn=turn).filter(pl.col("arm") == "deployed")
    both = held.join(said.select("content_id", "predicted", "confidence"), on="content_id").sort("content_id")
    return both["confidence"].to_numpy().astype(np.float64), (both["predicted"] == both["label"]).to_numpy()


def _slices(accuracy: pl.DataFrame) -> dg.MarkdownMetadataValue:
    rows = accuracy.filter(pl.col("arm") == "deployed").head(SLICES)
    if rows.is_empty():
        return dg.MetadataValue.md("*(nothing was evaluated)*")
    value, low, high, before = (rows[name].to_list() for name in ("value", "low", "high", "baseline"))
    names = [f"{row['predicate'] or row['slice']} ({row['n']})" for row in _rows(rows)]
    title = "accuracy (bar, 95 % interval), turn before (tick)"
    return picture(interval_bars(names, value, low, high, before, title), "accuracy per slice")


def _reliability(tables: Tables, turn: int) -> dg.MarkdownMetadataValue:
    confidence, correct = judged(tables, turn)
    if not len(confidence):
        return dg.MetadataValue.md("*(no evaluation labels)*")
    return picture(reliability(confidence, correct), "reliability")


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return list(frame.iter_rows(named=True))
