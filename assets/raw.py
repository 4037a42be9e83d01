"""raw: what landed in the sources becomes items, or quarantine rows that say why not."""

import dagster as dg
import polars as pl

from assets.partitions import arrivals
from assets.running import explained
from assets.shown import counted, place, preview
from flywheel.config import WheelConfig
from flywheel.objects import Source
from flywheel.raw import check_arrival, is_manifest, register_arrival
from flywheel.tables import Tables

SHOWN = ["key", "part", "modality", "size", "split", "attributes"]
REFUSED = ["key", "part", "reason", "message"]


@dg.asset(
    key=["raw", "raw_data"],
    group_name="raw",
    kinds={"deltalake", "polars"},
    owners=["team:data"],
    partitions_def=arrivals,
    pool="raw_data",  # one after the other: an arrival may correct what the one before it brought
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
        register_arrival(tables, sources, wheel.label_spec, arrival, evaluation_share=wheel.budget.evaluation_share)
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
        events = tables.read("annotation_events", origin=arrival)
        report = check_arrival(items, refused, wheel.label_spec, objects=landed(tables, wheel, arrival), events=events)
    broken = [result.statement for result in report.results if not result.passed]
    return dg.AssetCheckResult(
        passed=report.passed,
        description=f"not so: {'; '.join(broken)}" if broken else None,
        metadata={
            "expectations": dg.MetadataValue.md(report.markdown),
            "items": items.height,
            "quarantined": refused.height,
        },
    )


def landed(tables: Tables, wheel: WheelConfig, arrival: str) -> pl.DataFrame:
    """Return the arrival's objects that hold data: those that are no manifests."""
    patterns = {source.id: source.manifest for source in wheel.sources}
    objects = tables.read("objects", arrival=arrival)
    is_data = [
        not is_manifest(patterns.get(source), key) for source, key in objects.select("source", "key").iter_rows()
    ]
    return objects.filter(pl.Series(is_data, dtype=pl.Boolean))
