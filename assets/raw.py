"""raw: what landed in the sources becomes items, or quarantine rows that say why not."""

import dagster as dg
import polars as pl

from assets.automation import per_arrival
from assets.partitions import arrivals
from assets.running import explained
from assets.shown import counted, place, preview
from flywheel.config import WheelConfig
from flywheel.objects import Source
from flywheel.raw import check_arrival, register_arrival
from flywheel.tables import Tables
from flywheel.vendors import label_spec

SHOWN = ["key", "part", "modality", "size", "split", "attributes"]
REFUSED = ["key", "part", "reason", "message"]


@dg.asset(
    key=["raw", "raw_data"],
    group_name="raw",
    kinds={"deltalake", "polars"},
    owners=["team:data"],
    partitions_def=arrivals,
    automation_condition=per_arrival,
    code_version="1",
)
def raw_data(
    context: dg.AssetExecutionContext,
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    sources: dg.ResourceParam[dict[str, Source]],
) -> dg.MaterializeResult:
    """One row is one datum: an image, a text file, or one row of a table file, with its identity and its split.

    Labels from manifests arrive with it as annotation events. What cannot be read goes to quarantine with a reason.
    """
    arrival = context.partition_key
    with explained():
        register_arrival(tables, sources, label_spec(wheel), arrival, evaluation_share=wheel.budget.evaluation_share)
    items = tables.read("items", arrival=arrival)
    refused = tables.read("quarantine", arrival=arrival)
    labels = tables.read("annotation_events", origin=arrival)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": items.height,
            "quarantined": refused.height,
            "labels": labels.height,
            "items": preview(items.select(SHOWN)),
            "by split": preview(counted(items, "split")),
            "refused": preview(refused.select(REFUSED)),
            "labels given": preview(counted(labels, "value")),
            "table": place(tables, "items"),
        }
    )


@dg.asset_check(asset=raw_data, partitions_def=arrivals, blocking=True)
def every_object_is_accounted_for(
    context: dg.AssetCheckExecutionContext, wheel: dg.ResourceParam[WheelConfig], tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Every datum of the arrival is an item of the promised form or a quarantine row with a reason."""
    arrival = context.partition_key
    with explained():
        items, refused = tables.read("items", arrival=arrival), tables.read("quarantine", arrival=arrival)
        report = check_arrival(items, refused, label_spec(wheel))
    return dg.AssetCheckResult(
        passed=report.passed,
        metadata={
            "expectations": dg.MetadataValue.md(report.markdown),
            "items": items.height,
            "quarantined": refused.filter(pl.col("reason") != "").height,
        },
    )
