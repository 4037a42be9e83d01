"""One source's part in an arrival, and everything that was known about the source when it came.

Reads `objects`, `items`, `annotation_events` and the source's manifests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from flywheel.objects import Source
from flywheel.raw.arrivals import NUMBER, arrival_number, inventory
from flywheel.raw.companions import accompanied, is_companion
from flywheel.raw.current import latest_items
from flywheel.raw.manifest import Entry, Manifest, Merged, merge, read_manifest
from flywheel.raw.opened import Opened
from flywheel.raw.patterns import is_manifest
from flywheel.raw.reasons import Refused
from flywheel.raw.statements import Spec, Standing, standing_statements
from flywheel.tables import Tables

Row = dict[str, Any]

BATCH = 100_000  # keys looked at in one go


@dataclass(frozen=True)
class Part:
    """What registering one source's objects of one arrival needs to know."""

    source: Source
    arrival: str
    number: int
    now: dict[str, Row]  # key -> latest row of `objects` up to this arrival: its own, manifests, and all that matter
    history: dict[str, list[tuple[int, str, str]]]  # key -> arrival, state, version before this one, oldest first
    later: frozenset[str]  # keys that later arrivals changed again
    there: frozenset[str]  # keys active today
    merged: Merged
    manifests: tuple[str, ...]  # keys of the manifests that came with this arrival, sorted
    withdrawn: bool  # whether a manifest was replaced or went away
    said_before: bool  # whether earlier arrivals brought manifests
    before: dict[str, list[Row]]  # key -> latest items of earlier arrivals
    accompanied: frozenset[str]  # own companions whose owners are there
    standing: dict[tuple[str, str], Standing]  # item id, content id -> label before this arrival
    kept: dict[str, tuple[list[Row], list[Row]]]  # key -> items and refusals that stand for what changed later

    def owns(self, row: Row) -> bool:
        """Whether the object landed, changed or vanished in this very arrival."""
        return row["arrival"] == self.arrival

    def names(self, key: str) -> bool:
        """Whether a manifest of this arrival speaks of the object."""
        entry = self.merged.entries.get(key)
        return entry is not None and entry.arrival == self.number

    def targets(self) -> Iterator[Row]:
        """Yield the objects the arrival speaks of, in the order of keys.

        Its own ones; older ones that its manifests name; and where a manifest was replaced or went away, all that
        have items, since what it alone said must be taken back.
        """
        pattern = self.source.config.manifest
        for key, row in self.now.items():
            active = row["state"] == "active"
            if active and (is_manifest(pattern, key) or (self.owns(row) and key in self.accompanied)):
                continue
            touched = self.names(key) or (self.withdrawn and key in self.before)
            if self.owns(row) or (active and touched and key not in self.later):
                yield row

    def label_of(self, row: Row) -> Entry | None:
        """Return the manifest row whose label holds for this version of the object.

        A label speaks of what stood there when its manifest came, or else of the first object to come: one that is
        overwritten does not inherit it, one that is only read once more keeps it.
        """
        entry = self.merged.labels.get(row["key"])
        if entry is None or entry.arrival == self.number:
            return entry
        if not self.owns(row):
            return None  # said before
        past = [(when, state) for when, state, version in self.history.get(row["key"], ()) if version != row["version"]]
        then = [state for arrival, state in past if arrival <= entry.arrival]
        since = [state for arrival, state in past if arrival > entry.arrival]
        fresh = (not then or then[-1] != "active") and "active" not in since
        return entry if fresh else None


def open_part(tables: Tables, source: Source, spec: Spec, arrival: str) -> Part:
    """Gather what was known about a source when the arrival came.

    Args:
        tables: the wheel's tables.
        source: the source.
        spec: field, version and classes of the labels.
        arrival: the arrival's name.

    Cost: reads the source's rows of `objects`, and holds those of its own keys and of manifests; all of them where a
    manifest came or went.
    """
    number = arrival_number(arrival)
    rows = tables.scan("objects").filter(pl.col("source") == source.config.id)
    matching = _manifests(rows.filter(number >= NUMBER), source)
    own = set(rows.filter(pl.col("arrival") == arrival).select("key").collect()["key"])
    wide = bool(own & matching)  # a manifest came or went: any object may matter
    objects = (rows if wide else rows.filter(pl.col("key").is_in(list(own | matching)))).collect()
    known = objects.filter(number >= NUMBER)
    now = {row["key"]: row for row in inventory(known).iter_rows(named=True)}
    later = frozenset(objects.filter(number < NUMBER)["key"])
    history = _history(known.filter(number > NUMBER), set(now))
    manifests = [
        _read(source, row, spec)
        for key, row in now.items()
        if key in matching and row["state"] == "active" and key not in later
    ]
    return Part(
        source=source,
        arrival=arrival,
        number=number,
        now=now,
        history=history,
        later=later,
        there=frozenset(inventory(objects).filter(pl.col("state") == "active")["key"]) if wide else frozenset(),
        merged=merge(manifests),
        manifests=tuple(sorted(manifest.key for manifest in manifests if manifest.arrival == number)),
        withdrawn=any("active" in (state for _, state, _ in history.get(key, ())) for key in own & matching),
        said_before=any(history.get(key) for key in matching),
        before=_before(tables, source.config.id, number, set(now)),
        accompanied=_accompanied(source, own, objects),
        standing=standing_statements(tables, spec, source.config.id, number),
        kept=_kept(tables, source.config.id, arrival, own & later),
    )


def _accompanied(source: Source, own: set[str], objects: pl.DataFrame) -> frozenset[str]:
    companions = [key for key in own if is_companion(source.config, key)]
    if not companions:
        return frozenset()
    there = inventory(objects).filter(pl.col("state") == "active")["key"]
    return frozenset(accompanied(source.config, companions, there))


def _manifests(rows: pl.LazyFrame, source: Source) -> set[str]:
    """Return the keys of a source's manifests, whether they still are there or not."""
    pattern = source.config.manifest
    if pattern is None:
        return set()
    batches = rows.select("key").collect_batches(chunk_size=BATCH)
    return {key for batch in batches for key in batch["key"] if is_manifest(pattern, key)}


def _history(earlier: pl.DataFrame, keys: set[str]) -> dict[str, list[tuple[int, str, str]]]:
    history: dict[str, list[tuple[int, str, str]]] = {}
    rows = earlier.filter(pl.col("key").is_in(list(keys))).sort(NUMBER).select("key", "state", "version", "arrival")
    for key, state, version, arrival in rows.iter_rows():
        history.setdefault(key, []).append((arrival_number(arrival), state, version))
    return history


def _before(tables: Tables, source: str, number: int, keys: set[str]) -> dict[str, list[Row]]:
    """Return the latest items of these keys, from earlier arrivals, retired ones left out."""
    earlier = tables.scan("items").filter(pl.col("source") == source, number > NUMBER, pl.col("key").is_in(list(keys)))
    before: dict[str, list[Row]] = {}
    latest = latest_items(earlier).filter(pl.col("status") == "active").sort("key", "part")
    for row in latest.collect().iter_rows(named=True):
        before.setdefault(row["key"], []).append(row)
    return before


def _kept(tables: Tables, source: str, arrival: str, keys: set[str]) -> dict[str, tuple[list[Row], list[Row]]]:
    """Return what stands in the arrival for objects that later arrivals changed: their bytes of then are gone."""
    kept: dict[str, tuple[list[Row], list[Row]]] = {}
    for place, table in enumerate(("items", "quarantine") if keys else ()):
        for row in tables.read(table, arrival=arrival, source=source).iter_rows(named=True):
            if row["key"] in keys:
                kept.setdefault(row["key"], ([], []))[place].append(row)
    return kept


def _read(source: Source, row: Row, spec: Spec) -> Manifest:
    key, arrival = row["key"], arrival_number(row["arrival"])
    try:
        content = Opened(source, key, row["size"]).content()
    except Refused as refused:
        return Manifest(key, arrival, (), (refused.refusal,))
    return read_manifest(content, key, arrival=arrival, at=row["modified_at"], classes=spec.classes)
