"""Events: messages about objects are hints; what became of each object is asked of its store.

Reads a source's queue, asks the source about every object a message names, and compares with `objects`. Duplicate,
reordered and late messages therefore say nothing wrong. Messages are given back for deletion only once what they led
to is written; those that cannot be understood go away with a warning, since regular sweeps find what they meant.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from flywheel.errors import DataError
from flywheel.objects import (
    EventQueue,
    MalformedNotification,
    Message,
    ObjectInfo,
    ObjectMissing,
    Source,
    is_shown,
    read_notification,
    split_address,
)
from flywheel.raw.arrivals import known_objects
from flywheel.raw.sweeps import CHANGED, differing, listed_frame, sampled
from flywheel.tables import Tables

log = logging.getLogger("flywheel.raw")

MAX_MESSAGES = 10_000  # received in one go
CHUNK = 256  # objects asked about between two looks at the clock
WORKERS = 16

Over = Callable[[], bool]
Truth = ObjectInfo | DataError | None  # as it stands, or why it cannot be asked about, or: it is not there


@dataclass(frozen=True)
class Heard:
    """What a queue's messages led to."""

    changes: pl.DataFrame  # columns of `CHANGED`, one row per object that differs from the inventory
    keys: frozenset[str]  # objects that were asked about just now
    messages: tuple[Message, ...]  # to be deleted once the changes are written


def hear(source: Source, queue: EventQueue, tables: Tables, *, now: datetime, is_over: Over) -> Heard:
    """Receive what waits in a source's queue and find out what became of the objects it names.

    Ends when no message comes, when `is_over` says so, or after `MAX_MESSAGES`; at least one batch is received. What
    could not be asked about in time stays in the queue. One HEAD request per object.

    Raises:
        ConfigError: there is no such queue, or no access to it or to the objects.
        StoreUnavailable: the queue or the source cannot be reached; all messages stay in the queue.
    """
    named = _receive(source, queue, is_over)
    wanted = list(dict.fromkeys(key for _, keys in named for key in keys))
    asked = dict(_ask(source, wanted, is_over))
    done = tuple(message for message, keys in named if all(key in asked for key in keys))
    found = {key: info for key, info in asked.items() if not isinstance(info, DataError)}
    if len(found) < len(asked):
        log.warning("%d keys in the queue of '%s' are refused; dropped", len(asked) - len(found), source.config.id)
    return Heard(_compare(source, tables, found, now), frozenset(found), done)


def _receive(source: Source, queue: EventQueue, is_over: Over) -> list[tuple[Message, list[str]]]:
    """Return messages with the keys of this source they name."""
    named: list[tuple[Message, list[str]]] = []
    problems: Counter[str] = Counter()
    while len(named) < MAX_MESSAGES:
        batch = queue.receive()
        for message in batch:
            try:
                keys = list(_own(source, message.body))
            except MalformedNotification as problem:
                problems[str(problem)] += 1
                keys = []
            named.append((message, keys))
        if not batch or is_over():
            break
    for problem, count in problems.items():
        log.warning("%d messages in the queue of '%s' are dropped: %s", count, source.config.id, problem)
    return named


def _own(source: Source, body: str) -> Iterator[str]:
    """Yield the keys of this source that a message names, relative to its root."""
    bucket, prefix = split_address(source.config.root)
    for where, full in read_notification(body):
        if where == bucket and full.startswith(prefix) and is_shown(key := full.removeprefix(prefix)):
            yield key


def _ask(source: Source, keys: list[str], is_over: Over) -> Iterator[tuple[str, Truth]]:
    """Yield what became of each object."""

    def look(key: str) -> Truth:
        try:
            return source.objects.info(key)
        except ObjectMissing:
            return None
        except DataError as error:  # no good key: sweeps show it as it is
            return error

    with ThreadPoolExecutor(WORKERS) as pool:
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            yield from zip(chunk, pool.map(look, chunk))
            if is_over():
                return


def _compare(source: Source, tables: Tables, found: dict[str, ObjectInfo | None], now: datetime) -> pl.DataFrame:
    if not found:
        return pl.DataFrame(schema=CHANGED)
    keys = pl.Series("key", list(found), dtype=pl.String)
    known = known_objects(tables, source.config.id, keys)
    there = listed_frame([info for info in found.values() if info])
    gone = known.filter("active").join(there, on="key", how="anti")
    time = pl.lit(now, CHANGED["modified_at"])
    new = sampled(source.config, differing(there, known), known)
    return pl.concat(
        [
            new.with_columns(state=pl.lit("active")).select(*CHANGED),
            gone.with_columns(modified_at=time, state=pl.lit("deleted")).select(*CHANGED),
        ]
    )
