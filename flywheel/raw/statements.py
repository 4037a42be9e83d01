"""Labels that came with the data become annotation events: one for each statement, none for its repetition."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import polars as pl

from flywheel.identity import digest
from flywheel.raw.arrivals import NUMBER, PREFIX
from flywheel.tables import Tables


class Spec(Protocol):
    """What registration needs to know of a label spec."""

    @property
    def field(self) -> str:
        """Name of the answer."""
        ...

    @property
    def version(self) -> str:
        """Version of the question; labels of one version say nothing about another."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The answers there are."""
        ...


@dataclass(frozen=True, slots=True)
class Statement:
    """A label some row gives to a datum."""

    value: str
    by: str  # key of the manifest or table it stands in
    at: datetime  # when that was last modified


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest statement known about a content at its place."""

    uid: str
    value: str


def author(source: str) -> str:
    """Name the author of labels that come with a source."""
    return f"manifest:{source}"


def standing_statements(tables: Tables, spec: Spec, source: str, before: int) -> dict[tuple[str, str], Standing]:
    """Return, by item id and content id, what the source's labels said last before arrival number `before`."""
    events = tables.scan("annotation_events").filter(
        pl.col("author") == author(source),
        pl.col("field") == spec.field,
        pl.col("spec_version") == spec.version,
        pl.col("origin").str.starts_with(PREFIX),
    )
    events = events.rename({"origin": "arrival"}).filter(before > NUMBER).sort(NUMBER)
    latest = events.unique(["item_id", "content_id"], keep="last", maintain_order=True)
    rows = latest.select("item_id", "content_id", "annotation_uid", "value").collect().iter_rows()
    return {(item, content): Standing(uid, value) for item, content, uid, value in rows}


def event_of(
    statement: Statement, item: Mapping[str, Any], spec: Spec, standing: Standing | None
) -> dict[str, Any] | None:
    """Return the event a statement makes, or None where it was made before.

    A label that differs from what the same source said about the same content corrects it: an `edit` whose parent is
    the older annotation. Its uid is a digest of place, content, answer and parent, so that a label that is changed
    there and back is three annotations.
    """
    if standing is not None and standing.value == statement.value:
        return None
    parent = standing.uid if standing else ""
    place = (item["source"], item["key"], item["part"], item["content_id"])
    uid = digest("label", *place, spec.field, statement.value, spec.version, parent)
    return {
        "event_id": digest("event", uid),
        "annotation_uid": uid,
        "item_id": item["item_id"],
        "content_id": item["content_id"],
        "field": spec.field,
        "spec_version": spec.version,
        "value": statement.value,
        "action": "edit" if parent else "create",
        "source": "human",
        "author": author(item["source"]),
        "parent": parent,
        "seconds": 0.0,
        "cost": 0.0,
        "native_id": statement.by,
        "at": statement.at,
        "origin": item["arrival"],
    }
