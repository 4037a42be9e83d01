"""The training set of a turn: every trusted label, with the arms it counts for and the split it stands in."""

import logging

import polars as pl

from flywheel.config import WheelConfig
from flywheel.quality import labels_as_of
from flywheel.raw import current_items
from flywheel.records import SCHEMAS
from flywheel.tables import Tables
from flywheel.turns import read_turn

log = logging.getLogger("flywheel.modeling")


def build_training_set(tables: Tables, config: WheelConfig, turn: int) -> pl.DataFrame:
    """Write and return the `training_sets` rows of a turn.

    One row is one labeled content in one arm. Split `eval` (arm `evaluation`) is what stands in the items' eval
    split; the rest is `train`, in the arms of the batches that chose it, or in `seed` when no batch did (labels
    that came with the data). The weight is the label's confidence, 0..1. Exact duplicates count once.

    Where a subject or a content stands in both splits, evaluation keeps it and training goes without: a leak would
    make every later number wrong, a missing row costs little.

    Returns:
        The rows, ordered by split, content and arm. Empty where nothing is labeled yet.
    """
    spec = config.label_spec
    items = current_items(tables, read_turn(tables, turn).pinned).filter(pl.col("modality") == spec.modality)
    labels = _usable(labels_as_of(tables, turn, spec.field, spec.version), spec.classes)
    evaluation = items.filter(pl.col("split") == "eval")
    labeled = labels.join(_first_items(_without_leaks(items, evaluation)), on="content_id")
    rows = pl.concat(
        [
            _rows(
                labels.join(_first_items(evaluation), on="content_id").with_columns(arm=pl.lit("evaluation")), "eval"
            ),
            _rows(labeled.join(_arms(tables, turn), on="content_id", how="left"), "train"),
        ]
    ).with_columns(turn=pl.lit(turn, pl.Int64))
    rows = rows.select(list(SCHEMAS["training_sets"])).sort("split", "content_id", "arm")
    tables.replace("training_sets", rows, turn=turn)
    return rows


def equal_budget(training: pl.DataFrame, batches: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the training rows of the arms `chosen` and `random` at equal budget: as many labels in each.

    In each turn both take the first n contents in their order of choice, n being the smaller count of answered
    contents of the two arms; every `seed` row is in both. A content keeps the turn in which its arm first took it.

    Args:
        training: `training_sets` rows of one turn; evaluation rows are ignored.
        batches: `batches` rows of that turn and the ones before.

    Returns:
        Arm to rows, one per content, sorted by content; empty where the two arms share no turn yet.
    """
    known = training.filter(pl.col("split") == "train")
    counts = {arm: _answered(batches, known, arm) for arm in ("chosen", "random")}
    budget = (
        counts["chosen"].group_by("turn").len("chosen").join(counts["random"].group_by("turn").len("random"), on="turn")
    )
    budget = budget.select("turn", n=pl.min_horizontal("chosen", "random"))
    if budget.is_empty():
        return {}
    seed = known.filter(pl.col("arm") == "seed")["content_id"]
    found: dict[str, pl.DataFrame] = {}
    for arm, answered in counts.items():
        taken = answered.join(budget, on="turn").filter(pl.col("order") < pl.col("n"))["content_id"]
        ids = pl.concat([seed, taken])
        found[arm] = known.filter(pl.col("content_id").is_in(ids.to_list())).unique("content_id").sort("content_id")
    return found


def _answered(batches: pl.DataFrame, known: pl.DataFrame, arm: str) -> pl.DataFrame:
    """Contents of one arm that have a training label: turn, content, and their order within the turn, from 0."""
    answered = known.filter(pl.col("arm") == arm).select("content_id")
    return (
        batches.filter(pl.col("arm") == arm)
        .join(answered, on="content_id", how="semi")
        .sort("turn", "position", "content_id")
        .unique("content_id", keep="first", maintain_order=True)
        .select("turn", "content_id", order=pl.int_range(pl.len()).over("turn"))
    )


def _usable(labels: pl.DataFrame, classes: tuple[str, ...]) -> pl.DataFrame:
    usable = labels.filter(pl.col("value").is_in(list(classes)))
    if usable.height < labels.height:
        log.warning("%d labels are no class of the label spec and are left out", labels.height - usable.height)
    return usable.select("content_id", label="value", weight="confidence")


def _without_leaks(items: pl.DataFrame, evaluation: pl.DataFrame) -> pl.DataFrame:
    training = items.filter(pl.col("split") != "eval")
    clean = training.join(evaluation, on="subject_id", how="anti").join(evaluation, on="content_id", how="anti")
    if clean.height < training.height:
        log.info("%d items share a subject or content with the evaluation split", training.height - clean.height)
    return clean


def _first_items(items: pl.DataFrame) -> pl.DataFrame:
    """One item per content: the one with the lowest id."""
    return items.sort("item_id").unique("content_id", keep="first", maintain_order=True).select("content_id", "item_id")


def _arms(tables: Tables, turn: int) -> pl.DataFrame:
    arms = tables.scan("batches").filter(pl.col("turn") <= turn, pl.col("arm") != "evaluation")
    return arms.select("content_id", "arm").unique().sort("content_id", "arm").collect()


def _rows(labeled: pl.DataFrame, split: str) -> pl.DataFrame:
    return labeled.select(
        "content_id", "item_id", "label", "weight", pl.col("arm").fill_null("seed"), split=pl.lit(split)
    )
