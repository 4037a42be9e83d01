"""Arrivals: groups of objects that landed, changed or vanished together.

Reads the sources' listings and `objects`, writes `objects`. The inventory is a table because no cursor string holds
a million keys.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from flywheel.errors import DataError
from flywheel.objects import ObjectInfo, Source
from flywheel.raw.manifest import is_manifest
from flywheel.records import SCHEMAS
from flywheel.tables import Tables

log = logging.getLogger("flywheel.raw")

PREFIX = "arrival-"
NUMBER = pl.col("arrival").str.strip_prefix(PREFIX).cast(pl.Int64)  # orders arrivals; names are for people


def arrival_name(number: int) -> str:
    """Name the n-th arrival, from 1."""
    return f"{PREFIX}{number:05d}"


def arrival_number(name: str) -> int:
    """Read the number off an arrival's name.

    Raises:
        DataError: it is no arrival's name.
    """
    digits = name.removeprefix(PREFIX)
    if not name.startswith(PREFIX) or not digits.isdecimal():
        raise DataError(f"'{name}' is no arrival; expected a name like '{arrival_name(1)}'", (name,))
    return int(digits)


def plan_arrivals(
    tables: Tables,
    sources: Mapping[str, Source],
    *,
    now: datetime,
    settle_seconds: float = 0,
    max_objects: int = 20_000,
) -> list[str]:
    """Group what landed, changed or vanished since the last call into arrivals; return all, oldest first.

    One call makes at most one arrival of up to `max_objects` objects, or several where there are more. Manifests come
    first, then objects by source and key. Nothing new makes no arrival and no write. Killed midway, the next call
    makes the arrivals that were still missing. One planner at a time: two at once may give the same name to
    different groups.

    Args:
        tables: the wheel's tables.
        sources: the sources by id; what came from others is left as it is.
        now: the present time, UTC; the time of what vanished.
        settle_seconds: objects modified later than this before `now` wait for a later call.
        max_objects: objects in one arrival at most.

    Raises:
        DataError: a source's folder does not exist. An unmounted disk must not look like an empty one.
    """
    objects = tables.read("objects")
    count = len(_numbers(objects))
    known = _known(objects)
    settled = now - timedelta(seconds=settle_seconds)
    changes = [change for sid in sorted(sources) for change in _changes(sources[sid], known, now, settled)]
    changes.sort(key=lambda row: (not _describes(sources, row), row["source"], row["key"]))
    for start in range(0, len(changes), max_objects):
        count += 1
        name = arrival_name(count)
        rows = [{**row, "arrival": name} for row in changes[start : start + max_objects]]
        tables.replace("objects", pl.DataFrame(rows, schema=SCHEMAS["objects"]), arrival=name)
        log.info("%s: %d objects landed, changed or vanished", name, len(rows))
    return [arrival_name(number) for number in range(1, count + 1)]


def inventory(objects: pl.DataFrame) -> pl.DataFrame:
    """Return the latest row of each object, sorted by source and key."""
    latest = objects.sort(NUMBER).unique(["source", "key"], keep="last", maintain_order=True)
    return latest.sort("source", "key")


def _numbers(objects: pl.DataFrame) -> list[int]:
    return sorted(objects.select(NUMBER.unique()).to_series().to_list())


def _known(objects: pl.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    rows = inventory(objects).iter_rows(named=True)
    return {(row["source"], row["key"]): row for row in rows}


def _changes(
    source: Source, known: Mapping[tuple[str, str], dict[str, Any]], now: datetime, settled: datetime
) -> Iterator[dict[str, Any]]:
    """Yield rows for what differs between a source's listing and the inventory."""
    sid = source.config.id
    there: set[str] = set()
    for info in source.objects.list():
        if info.key in there:  # two names that read the same after their broken bytes were escaped
            continue
        there.add(info.key)
        old = known.get((sid, info.key))
        same = old is not None and old["state"] == "active" and old["version"] == info.version
        if not same and info.modified_at <= settled:
            yield _row(sid, info)
    for (source_id, key), old in known.items():
        if source_id == sid and old["state"] == "active" and key not in there:
            yield {**old, "state": "deleted", "modified_at": now}


def _describes(sources: Mapping[str, Source], row: Mapping[str, Any]) -> bool:
    return is_manifest(sources[row["source"]].config.manifest, row["key"])


def _row(source: str, info: ObjectInfo) -> dict[str, Any]:
    return {
        "source": source,
        "key": info.key,
        "version": info.version,
        "size": info.size,
        "modified_at": info.modified_at,
        "state": "active",
    }
