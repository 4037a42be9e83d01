"""The embeddings station: every distinct content of an arrival gets one vector, once.

Reads `items` and the bytes behind them; appends to `embeddings`. A vector is known by its content and its encoder, so
a renamed object, a repeated step or a second item with the same content costs nothing.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import polars as pl

from flywheel.encoders.protocol import Content, Encoder, Vectors
from flywheel.errors import DataError
from flywheel.objects import Source
from flywheel.raw import read_contents
from flywheel.tables import Tables

log = logging.getLogger("flywheel.encoders")

NAMED = 20  # ids or keys that a message lists


@dataclass(frozen=True)
class EmbedReport:
    """What one call did, counted in distinct contents.

    `refused` contents were accepted when they arrived and cannot be read or decoded now; they have no vector.
    """

    encoded: int = 0
    reused: int = 0
    refused: int = 0


def embed_arrival(
    tables: Tables,
    sources: Mapping[str, Source],
    encoders: Mapping[str, Encoder],
    arrival: str,
    *,
    chunk: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> EmbedReport:
    """Give each distinct content of the arrival's active items a vector by the encoder of its modality.

    Contents that already have one, in whatever arrival, are not read. Vectors are appended `chunk` contents at a time,
    so memory holds one chunk and a kill loses at most one; a repeat does the rest. Items of a modality without an
    encoder are left alone.

    Args:
        encoders: modality -> encoder.
        progress: called after each chunk with the contents done and the contents to do.
    """
    encoded = reused = refused = 0
    for modality, encoder in sorted(encoders.items()):
        items = _active_items(tables, arrival, modality)
        missing = _without_vector(tables, encoder.id, items)
        wanted, done = missing["content_id"].n_unique(), 0
        for batch in _chunks(read_contents(sources, missing), chunk):
            done += _embed(tables, encoder, batch, arrival)
            if progress:
                progress(done, wanted)
        if done < wanted:
            _log_refused(_without_vector(tables, encoder.id, missing), arrival)
        encoded += done
        reused += items["content_id"].n_unique() - wanted
        refused += wanted - done
    return EmbedReport(encoded, reused, refused)


def missing_contents(tables: Tables, encoder: Encoder, arrival: str | None = None) -> tuple[str, ...]:
    """Return the sorted ids of active contents of the encoder's modality that have no vector by it.

    Looks at one `arrival`, or at all of them.
    """
    items = _active_items(tables, arrival, encoder.modality)
    return tuple(_without_vector(tables, encoder.id, items)["content_id"].unique().sort())


def scan_vectors(tables: Tables, encoder_id: str, versions: Mapping[str, int] | None = None) -> pl.LazyFrame:
    """Return `content_id`, `vector` of everything the encoder has seen, one row per content, in no particular order.

    Two runs that encode the same content at the same moment leave two rows; which one is taken depends only on the
    rows: the one of the earliest arrival, then the one whose components come first.
    """
    rows = tables.scan("embeddings", _pinned(tables, versions)).filter(pl.col("encoder_id") == encoder_id)
    return _chosen(rows)


def load_vectors(
    tables: Tables, encoder_id: str, content_ids: Sequence[str], versions: Mapping[str, int] | None = None
) -> Vectors:
    """Return the vectors of `content_ids` by one encoder, (n, d) float32, unit length, in the order asked.

    Args:
        versions: pinned table versions; without it the newest.

    Raises:
        DataError: some contents have no vector by this encoder; `ids` names them.
    """
    asked = pl.DataFrame({"content_id": list(content_ids)}, schema={"content_id": pl.String}).with_row_index("position")
    wanted = asked.lazy().select("content_id").unique()
    rows = tables.scan("embeddings", _pinned(tables, versions)).filter(pl.col("encoder_id") == encoder_id)
    known = _chosen(rows.join(wanted, on="content_id", how="semi"))
    found = asked.lazy().join(known, on="content_id", how="left").sort("position").collect()
    lost = found.filter(pl.col("vector").is_null())["content_id"].unique(maintain_order=True).to_list()
    if lost:
        shown = ", ".join(lost[:NAMED]) + (", …" if len(lost) > NAMED else "")
        raise DataError(
            f"{len(lost)} of {len(asked)} contents have no vector by encoder '{encoder_id}': {shown}; "
            "materialize `embeddings` for their arrivals",
            tuple(lost),
        )
    return to_matrix(found["vector"])


def to_matrix(vectors: pl.Series) -> Vectors:
    """Return a column of vectors as an array (n, d) float32; (0, 0) if there are none.

    Raises:
        DataError: the vectors differ in length.
    """
    lengths = vectors.list.len().unique().to_list()
    if len(lengths) > 1:
        raise DataError(f"vectors of one encoder have different lengths: {sorted(lengths)}")
    if not lengths:
        return np.zeros((0, 0), np.float32)
    flat = vectors.explode().cast(pl.Float32).to_numpy()
    return np.ascontiguousarray(flat.reshape(-1, lengths[0]))


def _active_items(tables: Tables, arrival: str | None, modality: str) -> pl.DataFrame:
    """Active items in the order of their objects; all rows of a content stay, any of them may still be readable."""
    items = tables.scan("items").filter(pl.col("status") == "active", pl.col("modality") == modality)
    if arrival is not None:
        items = items.filter(pl.col("arrival") == arrival)
    return items.sort("source", "key", "part", "arrival").collect()


def _without_vector(tables: Tables, encoder_id: str, items: pl.DataFrame) -> pl.DataFrame:
    known = tables.scan("embeddings").filter(pl.col("encoder_id") == encoder_id).select("content_id")
    return items.lazy().join(known, on="content_id", how="anti", maintain_order="left").collect()


def _pinned(tables: Tables, versions: Mapping[str, int] | None) -> int | None:
    """The table version to read: the pinned one, else the newest, so that two scans see the same rows."""
    return versions["embeddings"] if versions and "embeddings" in versions else tables.version("embeddings")


def _chosen(rows: pl.LazyFrame) -> pl.LazyFrame:
    """`content_id`, `vector` of one encoder's rows, one row per content."""
    doubled = rows.select("content_id").filter(pl.col("content_id").is_duplicated()).unique().collect().lazy()
    components = pl.col("vector").cast(pl.List(pl.String)).list.join(" ")
    first = (
        rows.join(doubled, on="content_id", how="semi")
        .sort("content_id", "arrival", components)
        .unique("content_id", keep="first", maintain_order=True)
    )
    once = rows.join(doubled, on="content_id", how="anti")
    return pl.concat([part.select("content_id", "vector") for part in (once, first)])


def _chunks(contents: Iterable[Content], size: int) -> Iterator[list[Content]]:
    stream = iter(contents)
    while batch := list(islice(stream, size)):
        yield batch


def _embed(tables: Tables, encoder: Encoder, batch: list[Content], arrival: str) -> int:
    """Encode one chunk and append it in one transaction; return how many contents got a vector."""
    ids, vectors = _encode_good(encoder, batch)
    if ids:
        tables.append("embeddings", _rows(ids, vectors, encoder.id, arrival))
    return len(ids)


def _log_refused(items: pl.DataFrame, arrival: str) -> None:
    first = items.unique("content_id", keep="first", maintain_order=True)
    places = [" ".join(place).rstrip() for place in first.select("source", "key", "part").head(NAMED).iter_rows()]
    log.warning(
        "%d contents of %s have changed or gone since they arrived and get no vector: %s%s",
        first.height,
        arrival,
        ", ".join(places),
        ", …" if first.height > NAMED else "",
    )


def _encode_good(encoder: Encoder, batch: list[Content]) -> tuple[list[str], Vectors]:
    """Encode what can be decoded; return the ids of that and their vectors.

    Raises:
        DataError: the encoder refuses without naming contents of this batch.
    """
    while batch:
        try:
            return [content.content_id for content in batch], encoder.encode(batch)
        except DataError as error:
            good = [content for content in batch if content.content_id not in error.ids]
            if len(good) == len(batch):
                raise
            log.warning("%s", error)
            batch = good
    return [], np.zeros((0, encoder.dim), np.float32)


def _rows(ids: list[str], vectors: Vectors, encoder_id: str, arrival: str) -> pl.DataFrame:
    rows = pl.DataFrame({"content_id": ids, "vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))})
    return rows.with_columns(pl.col("vector").arr.to_list(), encoder_id=pl.lit(encoder_id), arrival=pl.lit(arrival))
