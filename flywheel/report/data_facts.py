"""Gathers what the page about data says: what came in, what was refused and how it looks, what changed."""

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from PIL import Image

from flywheel.errors import DataError
from flywheel.objects import ObjectStore, Source
from flywheel.raw import CATALOGUE, count_reasons, read_validations, report_drift, standing_refusals
from flywheel.raw.arrivals import arrival_number
from flywheel.raw.decoders.images import FORMATS, IMAGE_ENDINGS
from flywheel.raw.drift import DriftReport
from flywheel.raw.expectations import Validation
from flywheel.raw.reasons import Reason
from flywheel.report.previews import SIDE, data_uri, snippet
from flywheel.tables import Tables

log = logging.getLogger("flywheel.report")

MOST_BYTES = 20_000_000  # of one refused object that are read for its picture
MOST_PIXELS = 20_000_000  # decoded for one picture
HEAD = 48  # bytes shown of what cannot be shown otherwise
MESSAGE = 500  # characters
COUNTED = ["source", "modality", "split"]
TEXTS = (".txt", ".csv", ".jsonl", ".json")


@dataclass(frozen=True)
class RefusedFacts:
    """One refusal, with something to look at: a picture as data URI, a text, or the first bytes in hexadecimal."""

    source: str
    place: str
    arrival: str
    message: str
    image: str = ""
    text: str = ""
    head: str = ""


@dataclass(frozen=True)
class ReasonFacts:
    """One reason and the first of its refusals."""

    reason: Reason
    total: int
    rows: tuple[RefusedFacts, ...]


@dataclass(frozen=True)
class DataFacts:
    """What the page says."""

    items: int
    refused: int
    arrivals: list[dict[str, Any]]  # newest first: arrival, objects, items, refused
    counts: list[dict[str, Any]]  # source, modality, split, items
    reasons: list[ReasonFacts]
    drifts: list[DriftReport]  # newest first, those with changes
    validations: list[Validation]  # newest first


def gather_data(
    tables: Tables,
    sources: Mapping[str, Source],
    files: ObjectStore,
    items: pl.DataFrame,
    *,
    shown: int,
    arrivals: int,
) -> DataFacts:
    """Return what the page about data says.

    Args:
        tables: the wheel's tables.
        sources: the sources by id; what is refused is read from them.
        files: the wheel's own files, with what was judged of each arrival.
        items: `current_items`.
        shown: refusals per reason that are shown.
        arrivals: latest arrivals that are told of.

    Cost: up to `shown` objects per reason are read.
    """
    refused = standing_refusals(tables)
    latest = _arrivals(tables)
    names = [row["arrival"] for row in latest[:arrivals]]
    drifts = [report_drift(tables, name) for name in names]
    return DataFacts(
        items=items.height,
        refused=refused.height,
        arrivals=latest[:arrivals],
        counts=items.group_by("source", "modality", "split")
        .len("items")
        .sort("source", "modality", "split")
        .to_dicts(),
        reasons=[_reason(code, total, refused, sources, shown) for code, total in count_reasons(refused).items()],
        drifts=[drift for drift in drifts if drift.changes],
        validations=read_validations(files, names),
    )


def _arrivals(tables: Tables) -> list[dict[str, Any]]:
    """Objects, items and refusals of each arrival, newest first."""
    objects = tables.scan("objects").group_by("arrival").agg(objects=pl.len(), at=pl.col("modified_at").max()).collect()
    active = tables.scan("items").filter(pl.col("status") == "active")
    items = active.group_by("arrival").len("items").collect()
    refused = tables.scan("quarantine").group_by("arrival").len("refused").collect()
    rows = objects.join(items, on="arrival", how="left").join(refused, on="arrival", how="left").fill_null(0).to_dicts()
    return sorted(rows, key=lambda row: -arrival_number(row["arrival"]))


def _reason(code: str, total: int, refused: pl.DataFrame, sources: Mapping[str, Source], shown: int) -> ReasonFacts:
    unknown = Reason(code, "This code is of another version of the flywheel.", (), "Read its message.")
    rows = refused.filter(pl.col("reason") == code).head(shown)
    return ReasonFacts(CATALOGUE.get(code, unknown), total, tuple(_refused(row, sources) for row in rows.to_dicts()))


def _refused(row: Mapping[str, Any], sources: Mapping[str, Source]) -> RefusedFacts:
    key, part = row["key"], row["part"]
    place = snippet(f"{key}#{part}" if part else key)
    seen = {} if part else look_at(sources.get(row["source"]), key)
    return RefusedFacts(row["source"], place, row["arrival"], snippet(row["message"], MESSAGE), **seen)


def look_at(source: Source | None, key: str) -> dict[str, str]:
    """Return something to look at of an object, if anything can be shown safely: `image`, `text` or `head`.

    Pictures are decoded within limits and encoded anew, so nothing of the file itself reaches the page.
    """
    if source is None:
        return {}
    try:
        content = source.objects.read(key, MOST_BYTES)
    except DataError as error:  # gone, too large, or a key that leads out
        log.info("%s is not shown: %s", key, error)
        return {}
    if key.lower().endswith(IMAGE_ENDINGS) and (picture := _thumbnail(content)):
        return {"image": picture}
    text = content[:4096].decode("utf-8", "replace")
    if key.lower().endswith(TEXTS) and content.strip():
        return {"text": snippet(text)}
    return {"head": content[:HEAD].hex(" ")} if content else {}


def _thumbnail(content: bytes) -> str:
    """A small picture as data URI, "" where none can be made: of JPEG scaled while it is decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            if image.width * image.height > MOST_PIXELS:
                return ""
            image.thumbnail((SIDE, SIDE))
            target = io.BytesIO()
            image.convert("RGB").save(target, "JPEG", quality=82)
    except Exception as error:  # on damaged files parsers raise whatever they stumble over; the message tells of it
        log.info("no picture: %s", type(error).__name__)
        return ""
    return data_uri(target.getvalue(), "image/jpeg")


def shares(counts: Sequence[Mapping[str, Any]], column: str) -> list[tuple[str, int]]:
    """Return the items by one column, most first."""
    totals: dict[str, int] = {}
    for row in counts:
        totals[row[column]] = totals.get(row[column], 0) + row["items"]
    return sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))
