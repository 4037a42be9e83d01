"""Small spaces with known structure, as tables: groups of unit vectors around given directions."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from flywheel.encoders import Content, Vectors
from flywheel.records import SCHEMAS
from flywheel.tables import Tables

WORDS = ("boat", "tree", "cloud", "stone")
DIM = 16


def blobs(counts: Sequence[int], spread: float = 0.1, seed: int = 0, dim: int = DIM) -> tuple[Vectors, np.ndarray]:
    """Groups of `counts` rows around the first axes, and which group each row is in."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    vectors = np.eye(dim)[labels] + spread * generator.standard_normal((len(labels), dim)) / np.sqrt(dim)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


class WordEncoder:
    """An encoder whose word i means axis i; counts how often it is asked."""

    def __init__(self, identity: str = "words-1", modality: str = "image"):
        self.id, self.modality, self.words_id = identity, modality, identity
        self.dim = self.words_dim = DIM
        self.asked = 0

    def encode(self, batch: Sequence[Content]) -> Vectors:
        raise NotImplementedError("structure never encodes contents")

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        self.asked += 1
        places = [WORDS.index(text) if text in WORDS else DIM - 1 for text in texts]
        return np.eye(DIM, dtype=np.float32)[places]

    def to_words(self, vectors: Vectors) -> Vectors:
        self.asked += 1
        return vectors


def add_arrival(
    tables: Tables,
    arrival: str,
    ids: Sequence[str],
    vectors: Vectors,
    *,
    encoder_id: str = "words-1",
    modality: str = "image",
    item_ids: Sequence[str] | None = None,
) -> None:
    """Write items (one per content unless `item_ids` says otherwise) and their vectors as one arrival."""
    items = pl.DataFrame({"content_id": list(ids), "item_id": list(item_ids or (f"item-{name}" for name in ids))})
    fixed = {"modality": modality, "arrival": arrival, "status": "active", "split": "pool", "attributes": "{}"}
    columns = [
        pl.col(name) if name in items.columns else pl.lit(fixed.get(name, "" if dtype == pl.String else 1)).alias(name)
        for name, dtype in SCHEMAS["items"].items()
    ]
    tables.replace("items", items.with_columns(columns), arrival=arrival)
    rows = pl.DataFrame(
        {"content_id": list(ids), "encoder_id": encoder_id, "vector": vectors.tolist(), "arrival": arrival},
        schema=SCHEMAS["embeddings"],
    )
    tables.replace("embeddings", rows.unique("content_id"), arrival=arrival)


def names(n: int, start: int = 0) -> list[str]:
    """Content ids in order."""
    return [f"c{number:05d}" for number in range(start, start + n)]
