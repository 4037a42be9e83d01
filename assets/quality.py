"""quality: from what annotators said to what is trusted."""

import dagster as dg
import polars as pl

from assets.automation import once_per_turn
from assets.labeling import annotations
from assets.partitions import turns
from assets.running import station
from assets.shown import counted, place, preview
from flywheel.config import WheelConfig
from flywheel.quality import derive_labels
from flywheel.tables import Tables
from flywheel.turns import turn_number

AGREEMENT_FLOOR = 0.6  # mean share of votes for the winning class, over labels with at least two votes


@dg.asset(
    key=["quality", "label_quality"],
    deps=[annotations],
    group_name="quality",
    kinds={"polars", "deltalake"},
    owners=["team:labeling"],
    partitions_def=turns,
    automation_condition=once_per_turn,
    code_version="1",
)
def label_quality(
    context: dg.AssetExecutionContext, wheel: dg.ResourceParam[WheelConfig], tables: dg.ResourceParam[Tables]
) -> dg.MaterializeResult:
    """One row is one trusted answer that became known in the turn: value, confidence, votes, and how it was reached."""
    with station(context, tables) as turn:
        derive_labels(tables, wheel, turn)
    labels = tables.read("labels", turn=turn)
    doubtful = labels.sort("confidence", "content_id").select("content_id", "value", "confidence", "votes", "agreement")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": labels.height,
            "mean agreement": mean_agreement(labels),
            "classes": preview(counted(labels, "value")),
            "methods": preview(counted(labels, "method")),
            "least certain": preview(doubtful),
            "table": place(tables, "labels"),
        }
    )


@dg.asset_check(asset=label_quality, partitions_def=turns)
def agreement_is_above_the_floor(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Annotators who answered the same item mostly said the same; otherwise the instructions need work."""
    labels = tables.read("labels", turn=turn_number(context.partition_key))
    agreement = mean_agreement(labels)
    return dg.AssetCheckResult(
        passed=agreement >= AGREEMENT_FLOOR,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"mean agreement {agreement:.2f}, floor {AGREEMENT_FLOOR}",
        metadata={"mean agreement": agreement, "labels with several votes": voted(labels).height},
    )


def voted(labels: pl.DataFrame) -> pl.DataFrame:
    """Return the labels that at least two annotators voted on."""
    return labels.filter(pl.col("votes") > 1)


def mean_agreement(labels: pl.DataFrame) -> float:
    """Return the mean share of votes for the winning class, in [0, 1], higher is better; 1 where nobody voted."""
    several = voted(labels)
    return 1.0 if several.is_empty() else round(float(several["agreement"].to_numpy().mean()), 4)
