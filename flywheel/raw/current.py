"""What is current: views over the arrivals in which a later one overrules an earlier one.

Reads `items`, `quarantine`, `objects` and the sources' bytes.
"""

import logging
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import TYPE_CHECKING

import polars as pl

from flywheel.errors import ConfigError
from flywheel.objects import Source
from flywheel.raw.arrivals import NUMBER, inventory
from flywheel.raw.decode import Datum, decode, is_table
from flywheel.raw.fetch import fetch, fetch_data
from flywheel.raw.reasons import MISSING_OBJECT, Refused
from flywheel.raw.streams import in_order
from flywheel.tables import Tables

if TYPE_CHECKING:
    from flywheel.encoders.protocol import Content

log = logging.getLogger("flywheel.raw")

Place = tuple[str, str, str]  # source, key, modality


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


def read_contents(sources: Mapping[str, Source], items: pl.DataFrame, *, workers: int = 2) -> Iterator["Content"]:
    """Yield the bytes of each distinct content among `items`, in the order of the rows.

    Images come as their source holds them, texts as canonical UTF-8. What is read is checked against its content id;
    where an object was overwritten or removed since, another row with the same content serves. A content that can no
    longer be read anywhere is left out with a warning: callers compare the ids. Images are streamed; of table files
    the texts asked for are held until they are given out.

    Raises:
        ConfigError: an item's source is not configured.
        StoreUnavailable: a store cannot be reached.
    """
    from flywheel.encoders.protocol import Content  # a later station's word for what this one hands out

    wanted = _places(items)
    strangers = {place[0] for places in wanted.values() for place in places} - sources.keys()
    if strangers:
        raise ConfigError(f"items come from the sources {sorted(strangers)}, which flywheel.yaml no longer names")
    reader = _Reader(sources, wanted)
    lost = 0
    for content_id, found in zip(wanted, in_order(reader.read, wanted, workers=workers)):
        if found is None:
            lost += 1
            continue
        modality, data = found
        yield Content(content_id, modality, data)
    if lost:
        log.warning("%d of %d contents are no longer where they were registered", lost, len(wanted))


def _places(items: pl.DataFrame) -> dict[str, list[Place]]:
    """Say where each distinct content may be read, in the order of the rows."""
    places: dict[str, list[Place]] = {}
    for content_id, source, key, modality in items.select("content_id", "source", "key", "modality").iter_rows():
        known = places.setdefault(content_id, [])
        if (source, key, modality) not in known:
            known.append((source, key, modality))
    return places


class _Reader:
    """Reads contents from wherever they are; decodes each table file once."""

    def __init__(self, sources: Mapping[str, Source], wanted: Mapping[str, list[Place]]):
        self._sources = sources
        self._wanted = wanted
        self._lock = Lock()
        self._texts: dict[tuple[str, str], dict[str, bytes]] = {}

    def read(self, content_id: str) -> tuple[str, bytes] | None:
        """Return modality and bytes of a content from the first place that still holds it."""
        for source, key, modality in self._wanted[content_id]:
            data = self._row(source, key, content_id) if is_table(key) else self._object(source, key, content_id)
            if data is not None:
                return modality, data
        return None

    def _object(self, source: str, key: str, content_id: str) -> bytes | None:
        place = self._sources[source]
        try:
            content = fetch(place, key)
        except Refused:
            return None
        limits = place.config
        [found] = decode(content, key, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels, texts=True)
        if not isinstance(found, Datum) or found.content_id != content_id:
            return None
        return content if found.text is None else found.text

    def _row(self, source: str, key: str, content_id: str) -> bytes | None:
        with self._lock:  # the first to ask decodes the table, the others wait for it
            if (source, key) not in self._texts:
                data = fetch_data(self._sources[source], key, texts=True)
                self._texts[source, key] = {
                    datum.content_id: datum.text
                    for datum in data
                    if isinstance(datum, Datum) and datum.text is not None and datum.content_id in self._wanted
                }
            return self._texts[source, key].pop(content_id, None)
