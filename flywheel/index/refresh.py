"""Bringing the index up to the tables: reads `items`, `embeddings`, `clusters`, `cluster_names`, writes the index."""

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from flywheel.encoders import Encoder, load_vectors
from flywheel.errors import ConfigError
from flywheel.identity import digest
from flywheel.index.protocol import Points, Space, VectorIndex
from flywheel.raw import current_items
from flywheel.tables import Tables

log = logging.getLogger("flywheel.index.refresh")

CHUNK = 2048  # points in memory at a time
OWN_FIELDS = ("item_id", "content_id", "source", "key", "part", "subject_id", "modality", "split")
WORD_FIELDS = ("item_id", "source", "key", "subject_id", "modality", "split", "cluster", "cluster_name")
_INT64 = 2**63


@dataclass(frozen=True)
class IndexReport:
    """What a refresh did: points written, points removed, points there are now, points that stood already."""

    upserted: int
    deleted: int
    total: int
    unchanged: int


def refresh_index(tables: Tables, index: VectorIndex, encoders: Mapping[str, Encoder]) -> IndexReport:
    """Make the index hold exactly the current items that have a vector of their modality's encoder.

    A point has the encoder's own vector and the one in the space of words (stored once where they are the same, left
    out where the encoder knows no words), and as payload where the item comes from, its split, its attributes as
    `attr.<name>`, its finest cluster, and a digest of all this: only points whose digest differs are written, so
    killed and repeated it goes on, and a repeat with nothing new writes nothing. Items of a modality without an
    encoder are taken out.

    Args:
        index: open (inside its context).
        encoders: by modality.

    Raises:
        ConfigError: no encoder is given.
        IndexMismatch: the index has a space of the same name and another length.
    """
    if not encoders:
        raise ConfigError("an index needs at least one encoder, found none")
    items = _desired(tables, encoders)
    payloads = {row["item_id"]: _payload(row, encoders[row["modality"]]) for row in items.iter_rows(named=True)}
    index.ensure(_spaces(encoders), dict.fromkeys(WORD_FIELDS, "keyword") | _attribute_kinds(payloads.values()))
    held = {item: payload.get("digest") for item, payload in index.scroll().items()}
    changed = items.filter(
        pl.Series([held.get(item) != payload["digest"] for item, payload in payloads.items()], dtype=pl.Boolean)
    )
    gone = sorted(held.keys() - payloads.keys())
    for points in _points(tables, changed, payloads, encoders):
        index.upsert(points)
    if gone:
        index.delete(gone)
    report = IndexReport(changed.height, len(gone), len(payloads), len(payloads) - changed.height)
    log.info("index brought up to the tables: %s", report)
    return report


def _desired(tables: Tables, encoders: Mapping[str, Encoder]) -> pl.DataFrame:
    """Current items with a vector, sorted by id, with their finest cluster and its name (null without one)."""
    encoded = [
        tables.scan("embeddings")
        .filter(pl.col("encoder_id") == encoder.id)
        .select("content_id", modality=pl.lit(modality))
        .unique()
        .collect()
        for modality, encoder in sorted(encoders.items())
    ]
    items = current_items(tables).join(pl.concat(encoded), on=["content_id", "modality"], how="semi")
    return items.join(_finest_clusters(tables), on=["content_id", "modality"], how="left").sort("item_id")


def _finest_clusters(tables: Tables) -> pl.DataFrame:
    names = tables.scan("cluster_names").select("modality", "level", "cluster_id", cluster_name="name")
    finest = tables.scan("clusters").filter(pl.col("level") == pl.col("level").max().over("modality"))
    named = finest.join(names, on=["modality", "level", "cluster_id"], how="left")
    columns = named.select("content_id", "modality", "cluster_name", cluster="cluster_id")
    return columns.unique(["content_id", "modality"], keep="any").collect()


def _payload(row: Mapping[str, Any], encoder: Encoder) -> dict[str, object]:
    payload: dict[str, object] = {field: row[field] for field in OWN_FIELDS}
    payload |= {field: row[field] for field in ("cluster", "cluster_name") if row[field] is not None}
    attributes: dict[str, Any] = json.loads(row["attributes"] or "{}")
    payload |= {f"attr.{name}": value for name, value in _known(attributes) if value is not None}
    text = json.dumps(payload, sort_keys=True, ensure_ascii=False)
    return payload | {"digest": digest("point", encoder.id, encoder.words_id, text)}


def _known(attributes: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Attributes with a value an engine can keep: integers of 64 bits, and no infinity or NaN."""
    for name, value in attributes.items():
        if isinstance(value, int) and not isinstance(value, bool) and not -_INT64 <= value < _INT64:
            value = float(value) if abs(value) < 10**300 else None
        if not isinstance(value, float) or math.isfinite(value):
            yield name, value


def _attribute_kinds(payloads: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """Return the kind of filter of each attribute; one with values of several kinds is filtered as words."""
    kinds: dict[str, set[str]] = {}
    for payload in payloads:
        for field, value in payload.items():
            if field.startswith("attr."):
                kinds.setdefault(field, set()).add(_kind(value))
    return {field: next(iter(found)) if len(found) == 1 else "keyword" for field, found in sorted(kinds.items())}


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    return "float" if isinstance(value, int | float) else "keyword"


def _spaces(encoders: Mapping[str, Encoder]) -> list[Space]:
    own = [Space(encoder.id, encoder.dim) for _, encoder in sorted(encoders.items())]
    words = [Space(encoder.words_id, encoder.words_dim) for _, encoder in sorted(encoders.items()) if encoder.words_id]
    return list(dict.fromkeys(own + words))


def _points(
    tables: Tables,
    changed: pl.DataFrame,
    payloads: Mapping[str, Mapping[str, object]],
    encoders: Mapping[str, Encoder],
) -> Iterator[Points]:
    """Yield the points to write, one modality after the other, a chunk at a time."""
    for modality, encoder in sorted(encoders.items()):
        rows = changed.filter(pl.col("modality") == modality)
        for chunk in rows.iter_slices(CHUNK):
            contents: Sequence[str] = chunk["content_id"].unique(maintain_order=True).to_list()
            place = {content: number for number, content in enumerate(contents)}
            own = load_vectors(tables, encoder.id, contents)
            vectors = {encoder.id: own}
            if encoder.words_id not in ("", encoder.id):
                vectors[encoder.words_id] = encoder.to_words(own)
            order = [place[content] for content in chunk["content_id"]]
            item_ids: list[str] = chunk["item_id"].to_list()
            yield Points(
                item_ids,
                {space: block[order] for space, block in vectors.items()},
                [payloads[item] for item in item_ids],
            )
