"""The command `ingest`: takes in what arrived, or says what would come in."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    emit_json,
    hold_wheel,
    open_wheel,
    say,
    show_table,
)

if TYPE_CHECKING:
    from datetime import datetime

    from flywheel.cli.common import Wheel
    from flywheel.raw import ArrivalReport
    from flywheel.raw.forecast import Forecast, SourceForecast


def ingest(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come in; write nothing.")] = False,
    sample: Annotated[int, typer.Option(min=1, help="With --dry-run: objects read of each source and ending.")] = 200,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take in what arrived without turning the wheel; vectors are made when it turns."""
    from datetime import UTC, datetime

    wheel, now = open_wheel(config), datetime.now(UTC)
    if dry_run:
        return _forecast(wheel, now, sample, as_json)
    with hold_wheel(wheel.config):
        reports = _take_in(wheel, now)
    if as_json:
        return emit_json([asdict(report) for report in reports])
    for report in reports:
        say(f"{report.arrival}: {report.items} items, {report.quarantined} refused, {report.labels} labels")
    say("nothing new has arrived" if not reports else "`flywheel run` embeds what came in; `flywheel quarantine` lists")


def _take_in(wheel: "Wheel", now: "datetime") -> "list[ArrivalReport]":
    """Plan arrivals, and register those that were not: oldest first, as a later one may correct an earlier one."""
    from flywheel.objects import open_sources
    from flywheel.raw import plan_arrivals, register_arrival

    tables, config, sources = wheel.tables, wheel.config, open_sources(wheel.config)
    planned = plan_arrivals(
        tables,
        sources,
        now=now,
        settle_seconds=config.triggers.settle_seconds,
        max_objects=config.triggers.max_arrival_items,
    )
    done = {
        arrival
        for table in ("items", "quarantine")
        for arrival in tables.scan(table).select("arrival").unique().collect()["arrival"]
    }
    share = config.budget.evaluation_share
    reports = [
        register_arrival(tables, sources, config.label_spec, arrival, evaluation_share=share)
        for arrival in planned
        if arrival not in done
    ]
    return [report for report in reports if report.written]


def _forecast(wheel: "Wheel", now: "datetime", sample: int, as_json: bool) -> None:
    from flywheel.objects import open_sources
    from flywheel.raw.forecast import forecast_arrivals

    config = wheel.config
    forecasts = forecast_arrivals(
        wheel.tables,
        open_sources(config),
        classes=config.label_spec.classes,
        now=now,
        settle_seconds=config.triggers.settle_seconds,
        sample=sample,
    )
    if as_json:
        return emit_json([_as_json(forecast) for forecast in forecasts])
    for forecast in forecasts:
        _show(forecast)
    low, high = (sum(forecast.seconds[end] for forecast in forecasts) for end in (0, 1))
    say(f"in all about {_duration(low)} to {_duration(high)}, and then the time to embed it; nothing was written")


def _as_json(forecast: "SourceForecast") -> dict[str, Any]:
    return asdict(forecast) | {"seconds": forecast.seconds}


def _show(found: "SourceForecast") -> None:
    columns = ("kind", "objects", "MB", "read", "items", "refused")
    rows = [
        [kind.ending, kind.objects, kind.bytes / 1e6, kind.decoded, _items(kind), _counts(kind.refused)]
        for kind in found.kinds
    ]
    show_table(f"Source '{found.source}'", columns, rows)
    young = f", {found.young} too young" if found.young else ""
    say(f"{found.new} new, {found.changed} changed, {found.gone} gone{young}; {found.bytes / 1e6:.1f} MB to read")
    for key, reason, message in (example for kind in found.kinds for example in kind.examples):
        say(f"  {reason}: {message}" if key in message else f"  {reason}: {key}: {message}")


def _items(kind: "Forecast") -> str:
    told = _counts(kind.items)
    return told if kind.exact or not told else f"{told} ({kind.items_low} to {kind.items_high})"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
