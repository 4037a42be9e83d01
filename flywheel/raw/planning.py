"""Plans arrivals: what landed, changed or vanished together becomes one group.

Reads the sources' listings and queues and `objects`, writes `objects`.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from flywheel.objects import Source
from flywheel.raw.arrivals import arrival_name, count_arrivals, known_objects
from flywheel.raw.companions import is_companion, owners
from flywheel.raw.erased import read_erased
from flywheel.raw.events import Heard, Over, hear
from flywheel.raw.patterns import is_manifest
from flywheel.raw.sweeps import CHANGED, Sweep, empty_changes, read_place
from flywheel.tables import Tables

log = logging.getLogger("flywheel.raw")

GROUPS = 5  # full groups of changes after which a look stops listing: writing them takes time too
WAITING = ".waiting.time"  # no source's id begins with a dot

# whole: whether all changes of its kind are there, not those of a part of a sweep; describes: is it a manifest?
CHANGES = {"source": pl.String(), **CHANGED, "whole": pl.Boolean(), "describes": pl.Boolean()}


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
    its changes make arrivals of just `max_objects`. A source with a queue of notifications is swept now and then only;
    what its messages name is looked at in between.

    Args:
        tables: the wheel's tables.
        sources: the sources by id; what came from others is left as it is.
        now: the present time, UTC; the time of what vanished.
        settle_seconds: objects modified less than this before or after `now` wait for a later call.
        max_objects: objects in one arrival at most.
        window_seconds: changes wait until the first of them was seen so long ago, or until `max_objects` are there.
            Without `state` nothing waits.
        tick_seconds: time for listing and for messages, shared by the sources; each is given one page at least. Listing
            also ends where a few full groups are to be written. None: to the end.
        state: a folder for what is kept between calls. It may be lost at any time.

    Raises:
        DataError: a source's folder does not exist. An unmounted disk must not look like an empty one.
        StoreUnavailable: a source or its queue cannot be reached.
        ConfigError: there is no access to it.
    """
    count = count_arrivals(tables)
    clock = _Clock(tick_seconds, sum(2 if source.events else 1 for source in sources.values()))
    window = _Window(state / WAITING if state else None, timedelta(seconds=window_seconds), now)
    looks = {sid: _Look(sources[sid], state) for sid in sorted(sources)}
    for look in looks.values():
        most = None if tick_seconds is None else GROUPS * max_objects
        look.sweep_if_due(tables, clock.next_share(), count, now, settle_seconds, most)
    queued = max((look.queued() for look in looks.values()), default=0)
    due = window.is_due() or queued >= max_objects
    for look in looks.values():
        if due:
            look.listen(tables, clock, now)
    groups, waiting = _group(read_erased(tables).without(_ordered(tables, looks)), max_objects, all_due=due)
    for group in groups:
        count += 1
        _write(tables, arrival_name(count), group)
    for look in looks.values():
        look.close(now, all_due=due)
    window.keep(waiting=waiting or (queued > 0 and not due), started=bool(groups))
    return [arrival_name(number) for number in range(1, count + 1)]


def sweeps_under_way(state: Path, sources: Sequence[str]) -> dict[str, int]:
    """Return the sources whose sweep is not complete yet, with the number of keys it has seen."""
    places = {sid: read_place(state / sid) for sid in sources}
    return {sid: place.keys for sid, place in places.items() if place}


def waiting_since(state: Path) -> datetime | None:
    """Return since when changes have been waiting for others to join them; None where none are."""
    return _read_time(state / WAITING)


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
        since = _read_time(self.path)
        return since is not None and not _within(since, self.length, self.now)

    def keep(self, *, waiting: bool, started: bool) -> None:
        """Note that changes are waiting: since now if an arrival was started or none were waiting."""
        if self.path is None or not self.length:
            return
        if not waiting:
            self.path.unlink(missing_ok=True)
        elif started or _read_time(self.path) is None:
            _write_time(self.path, self.now)


@dataclass
class _Look:
    """What one call sees of one source."""

    source: Source
    state: Path | None
    sweep: Sweep | None = None  # None where a queue tells what is new, and no sweep is due
    heard: Heard | None = None

    def sweep_if_due(
        self, tables: Tables, is_over: Over, count: int, now: datetime, settle_seconds: float, most: int | None
    ) -> None:
        """Sweep the source, or a part of it: until `is_over`, or until at least `most` changes are there to be written.

        One with a queue is swept every `events.sweep_hours`.
        """
        if self._is_swept(now):
            return
        sid, settle = self.source.config.id, timedelta(seconds=settle_seconds)
        folder = self.state / sid if self.state else None
        sweep = Sweep(self.source, known_objects(tables, sid), count, now=now, settle=settle, folder=folder)
        sweep.go_on(lambda: is_over() or (most is not None and sweep.pending >= most))
        self.sweep = sweep

    def listen(self, tables: Tables, clock: _Clock, now: datetime) -> None:
        """Find out what the messages are about; that is newer than any listing."""
        if not self.source.events:
            return
        self.heard = hear(self.source, self.source.events, tables, now=now, is_over=clock.next_share())
        if self.sweep:
            self.sweep.overrule(self.heard.keys)

    def queued(self) -> int:
        """Return about how many messages wait."""
        return self.source.events.waiting() if self.source.events else 0

    def changes(self, tables: Tables) -> pl.DataFrame:
        """Return changes, columns of `CHANGES`."""
        found = [empty_changes().with_columns(whole=pl.lit(value=True))]
        if self.sweep:
            found.append(self.sweep.changes().with_columns(whole=pl.lit(self.sweep.complete)))
        if self.heard:
            found.append(self.heard.changes.with_columns(whole=pl.lit(value=True)))
        rows = self._with_owners(tables, pl.concat(found))
        describes = [is_manifest(self.source.config.manifest, key) for key in rows["key"]]
        return rows.select(
            pl.lit(self.source.config.id).alias("source"),
            *CHANGED,
            "whole",
            pl.Series("describes", describes, dtype=pl.Boolean),
        )

    def _with_owners(self, tables: Tables, rows: pl.DataFrame) -> pl.DataFrame:
        """Add the objects that changed companions belong to: what they say is no longer what it was."""
        config = self.source.config
        companions = [key for key in rows["key"] if is_companion(config, key)]
        if not companions:
            return rows
        known = known_objects(tables, config.id, columns=("modified_at",)).filter("active")
        touched = owners(config, companions, known["key"]) - set(rows["key"])
        again = known.filter(pl.col("key").is_in(list(touched)))
        whole = pl.lit(value=True)
        return pl.concat([rows, again.with_columns(state=pl.lit("active")).select(*CHANGED, whole.alias("whole"))])

    def close(self, now: datetime, *, all_due: bool) -> None:
        """Once the changes are written: delete the messages that led to them, and forget a complete sweep."""
        if self.heard and self.source.events:
            self.source.events.delete(self.heard.messages)
        if self.sweep and self.sweep.complete:
            self.sweep.forget()
            if self._swept_file and all_due and not self.sweep.young:  # otherwise the next look sweeps again
                _write_time(self._swept_file, now)

    def _is_swept(self, now: datetime) -> bool:
        """Whether a queue makes a sweep needless for now."""
        events, place = self.source.config.events, self._swept_file
        if not (events and place) or read_place(place.with_suffix("")):
            return False
        since = _read_time(place)
        return since is not None and _within(since, timedelta(hours=events.sweep_hours), now)

    @property
    def _swept_file(self) -> Path | None:
        """Where the time of the last complete sweep stands; beside the folder of a sweep under way."""
        return self.state / f"{self.source.config.id}.time" if self.state and self.source.events else None


def _ordered(tables: Tables, looks: Mapping[str, _Look]) -> pl.DataFrame:
    """Return all changes: manifests first, then by source and key."""
    frames = [pl.DataFrame(schema=CHANGES), *(look.changes(tables) for look in looks.values())]
    return pl.concat(frames).sort(~pl.col("describes"), "source", "key")


def _group(rows: pl.DataFrame, size: int, *, all_due: bool) -> tuple[list[pl.DataFrame], bool]:
    """Cut changes into groups; return those that are due, and whether other changes are left waiting.

    Of a sweep that is not complete, and while the window is open, only full groups are due.
    """
    due = pl.lit(all_due) & pl.col("whole")
    rest = rows.filter(~due)
    taken = pl.concat([rows.filter(due), rest.head(rest.height // size * size)])
    groups = [taken.slice(start, size).drop("whole", "describes") for start in range(0, taken.height, size)]
    return groups, taken.height < rows.height


def _write(tables: Tables, arrival: str, rows: pl.DataFrame) -> None:
    tables.replace("objects", rows.with_columns(arrival=pl.lit(arrival)), arrival=arrival)
    log.info("%s: %d objects landed, changed or vanished", arrival, rows.height)


def _within(since: datetime, length: timedelta, now: datetime) -> bool:
    """Whether a time that began at `since` is still running; one that begins in the future is over."""
    return timedelta(0) <= now - since < length


def _read_time(path: Path) -> datetime | None:
    """Return the time kept in a file; None where there is none that can be read."""
    try:
        return datetime.fromisoformat(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _write_time(path: Path, time: datetime) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(time.isoformat(), "utf-8")
