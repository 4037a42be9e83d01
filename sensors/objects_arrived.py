"""objects_arrived: something new, changed or gone in a source becomes an arrival, and the arrival's data is taken in.

The inventory it compares with is the `objects` table. Killed between that write and Dagster's partition, the next
tick finds the same arrivals in the table and asks for what is still missing.
"""

import dagster as dg
import polars as pl

from assets.embeddings import embeddings
from assets.partitions import arrivals
from assets.planning import plan, sweeps_folder
from assets.raw import raw_data
from flywheel.config import WheelConfig
from flywheel.identity import digest_of_ids
from flywheel.objects import Source
from flywheel.raw import arrival_number, sweeps_under_way, waiting_since
from flywheel.tables import Tables
from sensors.common import default_status, missing_partitions, pace

TARGET = dg.AssetSelection.assets(raw_data, embeddings)


@dg.sensor(
    target=TARGET,
    minimum_interval_seconds=pace(30),
    default_status=default_status(),
    description="Objects landed in a source, changed or vanished.",
)
def objects_arrived(
    context: dg.SensorEvaluationContext,
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    sources: dg.ResourceParam[dict[str, Source]],
) -> dg.SensorResult:
    planned = plan(tables, sources, wheel)
    seen = arrival_number(context.cursor) if context.cursor else 0
    waiting = [arrival for arrival in planned if arrival_number(arrival) > seen]
    if not waiting:
        return dg.SensorResult(
            skip_reason=f"{_seen(wheel, sources)}; {len(planned)} arrivals so far", cursor=context.cursor
        )
    return dg.SensorResult(
        run_requests=[_request(tables, arrival) for arrival in waiting],
        dynamic_partitions_requests=missing_partitions(context, waiting, arrivals),
        cursor=planned[-1],
    )


def _request(tables: Tables, arrival: str) -> dg.RunRequest:
    """Ask for one arrival; older ones first, since a newer one may correct what they brought."""
    return dg.RunRequest(
        run_key=run_key(tables, arrival),
        partition_key=arrival,
        tags={"dagster/priority": str(-arrival_number(arrival))},
    )


def run_key(tables: Tables, arrival: str) -> str:
    """Name the arrival's run after what arrived, so that it is asked for once."""
    rows = tables.scan("objects").filter(pl.col("arrival") == arrival).select("source", "key", "version", "state")
    lines = ["\t".join(row) for row in rows.collect().iter_rows()]
    return f"{arrival}:{digest_of_ids(lines, 'arrival')}"


def _seen(wheel: WheelConfig, sources: dict[str, Source]) -> str:
    """Say what was looked at without finding an arrival."""
    state = sweeps_folder(wheel)
    under_way = sweeps_under_way(state, sorted(sources))
    if under_way:
        return "still listing " + ", ".join(f"'{source}' ({keys:,} keys)" for source, keys in under_way.items())
    if since := waiting_since(state):
        return f"changes since {since:%H:%M:%S} wait for others to join them (triggers.window_seconds)"
    return "nothing new in " + ", ".join(f"'{source}'" for source in sorted(sources))
