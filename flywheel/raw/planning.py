"""Plans arrivals: what landed, changed or vanished together becomes one group.

Reads the sources' listings and `objects`, writes `objects`.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from flywheel.objects import Source
from flywheel.raw.arrivals import arrival_name, count_arrivals, known_objects
from flywheel.raw.patterns import is_manifest
from flywheel.raw.sweeps import CHANGED, Sweep, read_place
from flywheel.tables import Tables

log = logging.getLogger("flywheel.raw")

CHANGES = {"source": pl.String(), **CHANGED}


def plan_arrivals(
    tables: Tables,
    sources: Mapping[str, Source],
    *,
    now: datetime,
    settle_seconds: float = 0,
    max_objects: int = 20_000,
    window_seconds: float = 0,
    tick_seconds: float | None = None,
    state: Path | None = None,
) -> list[str]:
    """Group what landed, changed or vanished since the last call into arrivals; return all, oldest first.

    One call that sees the whole of every source makes at most one arrival of up to `max_objects` objects, or several
    where there are more. Manifests come first, then objects by source and key. Nothing new makes no arrival and no
    write. Killed midway, the next call makes the arrivals that were still missing. One planner at a time: two at once
    may give the same name to different groups.

    A call whose time is over keeps its place in `state`, and the next call goes on there; until a sweep is complete
    its changes make arrivals of just `max_objects`.

    Args:
        tables: the wheel's tables.
        sources: the sources by id; what came from others is left as it is.
        now: the present time, UTC; the time of what vanished.
        settle_seconds: objects modified later than this before `now` wait for a later call.
        max_objects: objects in one arrival at most.
        window_seconds: changes wait until the first of them was seen so long ago, or until `max_objects` are there.
            Without `state` nothing waits.
        tick_seconds: time for listing, shared by the sources; each is given one page at least. None: to the end.
        state: a folder for what is kept between calls. It may be lost at any time.

    Raises:
        DataError: a source's folder does not exist. An unmounted disk must not look like an empty one.
        StoreUnavailable: a source cannot be reached.
    """
    count = count_arrivals(tables)
    clock = _Clock(tick_seconds, len(sources))
    window = _Window(state / "waiting.json" if state else None, timedelta(seconds=window_seconds), now)
    settled = now - timedelta(seconds=settle_seconds)
    sweeps: dict[str, Sweep] = {}
    for sid in sorted(sources):
        is_over, known = clock.next_share(), known_objects(tables, sid)
        folder = state / sid if state else None
        sweeps[sid] = Sweep(sources[sid], known, count, now=now, settled=settled, folder=folder)
        sweeps[sid].go_on(is_over)
    groups, waiting = _group(_ordered(sources, sweeps), sweeps, max_objects, all_due=window.is_due())
    for group in groups:
        count += 1
        _write(tables, arrival_name(count), group)
    window.keep(waiting=waiting, started=bool(groups))
    for sweep in sweeps.values():
        if sweep.complete:
            sweep.forget()
    return [arrival_name(number) for number in range(1, count + 1)]


def sweeps_under_way(state: Path, sources: Sequence[str]) -> dict[str, int]:
    """Return the sources whose sweep is not complete yet, with the number of keys it has seen."""
    places = {sid: read_place(state / sid) for sid in sources}
    return {sid: place.keys for sid, place in places.items() if place}


class _Clock:
    """Shares the time of a tick among the sources; what one does not use is left to the next."""

    def __init__(self, seconds: float | None, sources: int):
        self._end = None if seconds is None else time.monotonic() + seconds
        self._left = sources

    def next_share(self) -> Callable[[], bool]:
        """Return a function that says when the next source's time is over."""
        if self._end is None:
            return lambda: False
        end = time.monotonic() + (self._end - time.monotonic()) / self._left
        self._left -= 1
        return lambda: time.monotonic() >= end


@dataclass(frozen=True)
class _Window:
    """Since when changes have been waiting. A lost file lets them wait from now on."""

    path: Path | None
    length: timedelta
    now: datetime

    def is_due(self) -> bool:
        """Whether what waits has waited long enough."""
        if self.path is None or not self.length:
            return True
        since = self._since()
        return since is not None and not timedelta(0) <= self.now - since < self.length

    def keep(self, *, waiting: bool, started: bool) -> None:
        """Note that changes are waiting: since now if an arrival was started or none were waiting."""
        if self.path is None or not self.length:
            return
        if not waiting:
            self.path.unlink(missing_ok=True)
        elif started or self._since() is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps({"since": self.now.isoformat()}), "utf-8")

    def _since(self) -> datetime | None:
        if self.path is None:
            return None
        try:
            return datetime.fromisoformat(json.loads(self.path.read_text("utf-8"))["since"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _ordered(sources: Mapping[str, Source], sweeps: Mapping[str, Sweep]) -> pl.DataFrame:
    """Return all changes: manifests first, then by source and key."""
    frames = [pl.DataFrame(schema=CHANGES)]
    frames += [sweep.changes().select(pl.lit(sid).alias("source"), *CHANGED) for sid, sweep in sweeps.items()]
    rows = pl.concat(frames)
    patterns = {sid: source.config.manifest for sid, source in sources.items()}
    describes = [is_manifest(patterns[sid], key) for sid, key in rows.select("source", "key").iter_rows()]
    first = pl.Series("describes", describes, dtype=pl.Boolean)
    return rows.with_columns(first).sort(~pl.col("describes"), "source", "key").select(*CHANGES)


def _group(
    rows: pl.DataFrame, sweeps: Mapping[str, Sweep], size: int, *, all_due: bool
) -> tuple[list[pl.DataFrame], bool]:
    """Cut changes into groups; return those that are due, and whether other changes are left waiting.

    Of a sweep that is not complete, and while the window is open, only full groups are due.
    """
    done = pl.col("source").is_in([sid for sid, sweep in sweeps.items() if sweep.complete])
    portions = [(rows.filter(done), all_due), (rows.filter(~done), False)]
    taken = pl.concat([part if whole else part.head(part.height // size * size) for part, whole in portions])
    return [taken.slice(start, size) for start in range(0, taken.height, size)], taken.height < rows.height


def _write(tables: Tables, arrival: str, rows: pl.DataFrame) -> None:
    tables.replace("objects", rows.with_columns(arrival=pl.lit(arrival)), arrival=arrival)
    log.info("%s: %d objects landed, changed or vanished", arrival, rows.height)
