"""What is current: views over the arrivals in which a later one overrules an earlier one.

Reads `items`, `quarantine`, `objects` and the sources' bytes.
"""

import logging
from collections.abc import Container, Generator, Iterator, Mapping
from contextlib import closing
from threading import Lock
from typing import TYPE_CHECKING, cast

import polars as pl

from flywheel.errors import ConfigError
from flywheel.objects import ObjectMissing, Source
from flywheel.raw.arrivals import NUMBER, inventory
from flywheel.raw.datum import Datum
from flywheel.raw.decoders import decode, holds_many
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import MISSING_OBJECT, Refusal, Refused
from flywheel.raw.streams import in_order
from flywheel.tables import Tables

if TYPE_CHECKING:
    from flywheel.encoders.protocol import Content

log = logging.getLogger("flywheel.raw")

Place = tuple[str, str, str, str, int]  # source, key, modality, version, size

WORTH_ASKING = 1 << 16  # bytes of an image from which its version is asked for rather than its pixels decoded

MOST_STREAMS = 8  # objects with many parts that are open at once


def latest_items(items: pl.LazyFrame) -> pl.LazyFrame:
    """Return the latest row of each item, active or retired, sorted by item id."""
    return items.sort(NUMBER).unique("item_id", keep="last", maintain_order=True).sort("item_id")


def current_items(tables: Tables, versions: Mapping[str, int] | None = None) -> pl.DataFrame:
    """Return the active items, one row per `item_id` (its latest arrival), sorted by `item_id`.

    Args:
        tables: the wheel's tables.
        versions: pinned table versions; without it the newest.
    """
    rows = latest_items(tables.scan("items", (versions or {}).get("items")))
    return rows.filter(pl.col("status") == "active").collect()


def current_quarantine(tables: Tables) -> pl.DataFrame:
    """Return the refusals that still stand, sorted by source, key and part.

    A refusal is over when its object was replaced or went away, and a manifest's complaint about a missing object
    when that object is there. (Two manifests of one arrival that disagree stand until the one that is named changes.)
    """
    known = inventory(tables.read("objects")).filter(pl.col("state") == "active")
    stands = tables.read("quarantine").join(known, on=["source", "key", "arrival"], how="semi")
    found = known.select("source", part="key").with_columns(reason=pl.lit(MISSING_OBJECT))
    return stands.join(found, on=["source", "part", "reason"], how="anti").sort("source", "key", "part", "reason")


def read_contents(
    sources: Mapping[str, Source], items: pl.DataFrame, *, workers: int | None = None
) -> Iterator["Content"]:
    """Yield what an encoder gets of each distinct content among `items`, in the order of where it lies.

    Images come as their source holds them, all else in its canonical form. What is read is checked against its
    content id; where an object was overwritten or removed since, another row with the same content serves. A content
    that can no longer be read anywhere is left out with a warning: callers compare the ids. An object with many
    parts is decoded once, as a stream.

    Raises:
        ConfigError: an item's source is not configured.
        StoreUnavailable: a store cannot be reached.
    """
    from flywheel.encoders.protocol import Content  # a later station's word for what this one hands out

    wanted = _places(items)
    used = {place[0] for places in wanted.values() for place in places}
    if strangers := used - sources.keys():
        raise ConfigError(f"items come from the sources {sorted(strangers)}, which flywheel.yaml no longer names")
    workers = workers or max((sources[sid].objects.readers for sid in used), default=1)
    lost = 0
    with closing(_Reader(sources, wanted)) as reader:
        for content_id, found in zip(wanted, in_order(reader.read, wanted, workers=workers)):
            if found is None:
                lost += 1
                continue
            modality, data = found
            yield Content(content_id, modality, data)
    if lost:
        log.warning("%d of %d contents are no longer where they were registered", lost, len(wanted))


def _places(items: pl.DataFrame) -> dict[str, list[Place]]:
    """Say where each distinct content may be read, in the order of the first such place."""
    places: dict[str, list[Place]] = {}
    rows = items.sort("source", "key", "part").select("content_id", "source", "key", "modality", "version", "size")
    for content_id, *place in rows.iter_rows():
        known = places.setdefault(content_id, [])
        if all(place[:3] != [*one[:3]] for one in known):
            known.append(cast(Place, tuple(place)))
    return places


class _Reader:
    """Reads contents from wherever they are."""

    def __init__(self, sources: Mapping[str, Source], wanted: Mapping[str, list[Place]]):
        self._sources = sources
        self._wanted = wanted
        self._lock = Lock()
        self._streams: dict[tuple[str, str], _Stream] = {}

    def read(self, content_id: str) -> tuple[str, bytes] | None:
        """Return modality and bytes of a content from the first place that still holds it."""
        for place in self._wanted[content_id]:
            source, key, modality, _, _ = place
            many = holds_many(key, self._sources[source].config.modality)
            data = self._part(source, key, content_id) if many else self._object(place, content_id)
            if data is not None:
                return modality, data
        return None

    def close(self) -> None:
        """Give up what is still open."""
        while self._streams:
            self._streams.popitem()[1].close()

    def _object(self, place: Place, content_id: str) -> bytes | None:
        source, key, modality, version, size = place
        if modality == "image" and size >= WORTH_ASKING and (known := self._unchanged(source, key, version)):
            return known
        [found] = decode(Opened(self._sources[source], key), contents=True)
        return found.data if isinstance(found, Datum) and found.content_id == content_id else None

    def _unchanged(self, source: str, key: str, version: str) -> bytes | None:
        """Return an object's bytes where it still is what was registered, without looking into them.

        Its version is asked for after it was read, so what was written meanwhile is seen.
        """
        try:
            content = Opened(self._sources[source], key).content()
            return content if self._sources[source].objects.info(key).version == version else None
        except (Refused, ObjectMissing):
            return None

    def _part(self, source: str, key: str, content_id: str) -> bytes | None:
        with self._lock:  # one worker decodes, the others wait for it
            stream = self._streams.pop((source, key), None)
            if stream is None:
                stream = _Stream(decode(Opened(self._sources[source], key), contents=True), self._wanted)
            self._streams[source, key] = stream
            while len(self._streams) > MOST_STREAMS:  # contents come object by object, so the oldest has done its part
                self._streams.pop(next(iter(self._streams))).close()
            return stream.take(content_id)


class _Stream:
    """The wanted contents of one object, decoded as far as was asked for."""

    def __init__(self, data: Iterator[Datum | Refusal], wanted: Container[str]):
        self._data = data
        self._wanted = wanted
        self._held: dict[str, bytes] = {}

    def take(self, content_id: str) -> bytes | None:
        """Return a content of the object, once; None where it does not hold it any more."""
        while content_id not in self._held:
            datum = next(self._data, None)
            if datum is None:
                return None
            if isinstance(datum, Datum) and datum.data is not None and datum.content_id in self._wanted:
                self._held[datum.content_id] = datum.data
        return self._held.pop(content_id)

    def close(self) -> None:
        """Close the object."""
        cast(Generator[Datum | Refusal], self._data).close()
