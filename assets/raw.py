"""raw: what landed in the sources becomes items, or quarantine rows that say why not."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from assets.partitions import arrivals
from assets.running import explained
from assets.shown import counted, place, preview
from flywheel.config import WheelConfig
from flywheel.objects import ObjectStore, Source
from flywheel.raw import (
    Validation,
    check_arrival,
    holds_data,
    load_suites,
    register_arrival,
    report_drift,
    validate_arrival,
    write_data_docs,
)
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


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "guarding_expectations_hold",
            asset=raw_data,
            partitions_def=arrivals,
            blocking=True,
            description="What the wheel's suites call blocking is true of the arrival's items.",
        ),
        dg.AssetCheckSpec(
            "expectations_hold",
            asset=raw_data,
            partitions_def=arrivals,
            description="What the suites expect of the arrival's items is true; where it is not, somebody should look.",
        ),
    ],
    can_subset=True,
)
def expectations_of_the_data(
    context: dg.AssetCheckExecutionContext,
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    sources: dg.ResourceParam[dict[str, Source]],
    files: dg.ResourceParam[ObjectStore],
) -> Iterator[dg.AssetCheckResult]:
    """The built-in suites and the wheel's own, judged once for both checks."""
    with explained():
        suites = load_suites(wheel)
        validation = validate_arrival(tables, sources, suites, context.partition_key, now=datetime.now(UTC))
        page = write_data_docs(files, validation)
    for key in sorted(context.selected_asset_check_keys, key=lambda key: key.name):
        yield _judged(validation, page, key.name, blocking=key.name == "guarding_expectations_hold")


def _judged(validation: Validation, page: str, name: str, *, blocking: bool) -> dg.AssetCheckResult:
    broken = validation.failed(blocking=blocking)
    told = "; ".join(f"{verdict.statement.removesuffix('.')}: {verdict.found}" for verdict in broken[:5])
    return dg.AssetCheckResult(
        passed=not broken,
        asset_key=raw_data.key,
        check_name=name,
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        description=f"{len(broken)} of {len(validation.verdicts)} do not hold: {told}" if broken else None,
        metadata={
            "expectations": dg.MetadataValue.md(validation.markdown(blocking=blocking)),
            "data docs": dg.MetadataValue.url(page) if page.startswith("s3://") else dg.MetadataValue.path(page),
        },
    )


@dg.asset_check(asset=raw_data, partitions_def=arrivals)
def schema_is_stable(context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]) -> dg.AssetCheckResult:
    """The columns of the arrival's items are those that their sources brought before, with the same distributions."""
    with explained():
        report = report_drift(tables, context.partition_key)
    changed = sorted({f"{part.source}: {one.column}" for part in report.parts for one in part.changes})
    return dg.AssetCheckResult(
        passed=not report.changes,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{report.changes} changes, in {', '.join(changed[:10])}" if changed else None,
        metadata={
            "changes": dg.MetadataValue.md(report.markdown),
            "compared with": sum(part.before for part in report.parts),
        },
    )


def landed(tables: Tables, wheel: WheelConfig, arrival: str) -> pl.DataFrame:
    """Return the arrival's objects that hold data: neither manifests nor companions of others."""
    configs = {source.id: source for source in wheel.sources}
    objects = tables.read("objects", arrival=arrival)
    is_data = [holds_data(configs.get(source), key) for source, key in objects.select("source", "key").iter_rows()]
    return objects.filter(pl.Series(is_data, dtype=pl.Boolean))
