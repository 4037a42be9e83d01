"""The space of one modality: every distinct content of the current items with its vector, in order of id."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from flywheel.encoders import Vectors, load_vectors
from flywheel.identity import digest, digest_of_ids
from flywheel.raw import current_items
from flywheel.tables import Tables

log = logging.getLogger("flywheel.structure")


@dataclass(frozen=True)
class ContentSpace:
    """Distinct contents, exact duplicates folded.

    `content_ids` are sorted; `vectors` is (n, dim) float32, unit length, row i belongs to `content_ids[i]`;
    `generation` is a digest of exactly these contents and the encoder.
    """

    content_ids: tuple[str, ...]
    vectors: Vectors
    generation: str
    encoder_id: str = ""
    modality: str = ""

    def __len__(self) -> int:
        return len(self.content_ids)


@dataclass(frozen=True)
class StructureReport:
    """What one step of this station did: its table, how much stands there now, and whether it had to write."""

    table: str
    modality: str
    generation: str
    contents: int
    rows: int
    written: bool
    facts: Mapping[str, float] = field(default_factory=dict[str, float])


def load_space(
    tables: Tables, encoder_id: str, modality: str, versions: Mapping[str, int] | None = None
) -> ContentSpace:
    """Return the distinct contents of the current items of `modality` that `encoder_id` has a vector for.

    Args:
        versions: table versions to read (`items`, `embeddings`), as a turn pins them; the newest when left out.
    """
    items = current_items(tables, versions).filter(pl.col("modality") == modality)
    version = None if versions is None else versions.get("embeddings")
    encoded = tables.scan("embeddings", version).filter(pl.col("encoder_id") == encoder_id).select("content_id")
    wanted = items.lazy().select("content_id").unique().join(encoded, on="content_id", how="semi").collect()
    ids = tuple(sorted(wanted["content_id"].to_list()))
    vectors = load_vectors(tables, encoder_id, ids, versions) if ids else np.zeros((0, 0), np.float32)
    return ContentSpace(ids, vectors, digest_of_ids(ids, encoder_id), encoder_id, modality)


def stamp(space: ContentSpace, algorithm: str, *parameters: object) -> str:
    """Name a generation: what it is computed by, in which encoder's space, of what, with which parameters.

    The parts are separated by "/": algorithm with version, encoder, contents, parameters.
    """
    told = digest("parameters", *(repr(parameter) for parameter in parameters))
    return "/".join([algorithm, _encoder_tag(space.encoder_id), space.generation, told[:12]])


def same_encoder(generation: str, space: ContentSpace) -> bool:
    """Whether a generation named by `stamp` lies in the encoder's space of `space`."""
    parts = generation.split("/")
    return len(parts) > 2 and parts[1] == _encoder_tag(space.encoder_id)


def same_contents(generation: str, space: ContentSpace) -> bool:
    """Whether a generation named by `stamp` was computed of exactly the contents and encoder of `space`."""
    parts = generation.split("/")
    return len(parts) > 2 and parts[2] == space.generation


def standing(tables: Tables, table: str, modality: str) -> tuple[str, pl.DataFrame]:
    """Return the generation that stands in a table for `modality` ("" if none) and its rows."""
    rows = tables.read(table, modality=modality)
    generations = rows["generation"].unique().to_list()
    return (generations[0] if len(generations) == 1 else ""), rows


def _encoder_tag(encoder_id: str) -> str:
    return digest("encoder", encoder_id)[:8]
