"""A wheel of tables with three classes in 8 dimensions: what the modeling and report stations read, without files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flywheel.config import WheelConfig, parse_config
from flywheel.objects import ObjectStore, open_files, open_tables
from flywheel.records import SCHEMAS
from flywheel.tables import Tables
from flywheel.turns import open_turn

CLASSES = ("cat", "dog", "emu")
ENCODER = "toy-1"
DIM = 8


def blobs(count: int, seed: int = 0, spread: float = 0.6) -> tuple[np.ndarray, list[str]]:
    """Unit vectors (count, 8) around three axes, and the class of each."""
    generator = np.random.default_rng(seed)
    codes = np.arange(count) % len(CLASSES)
    vectors = np.eye(DIM)[codes] + spread * generator.standard_normal((count, DIM)) / np.sqrt(DIM)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [CLASSES[code] for code in codes]


def frame(table: str, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows of a table; columns that are not given are empty or null."""
    blank = {name: "" if dtype == pl.String else None for name, dtype in SCHEMAS[table].items()}
    return pl.DataFrame([blank | dict(row) for row in rows], schema=SCHEMAS[table])


class World:
    """Items `i0000` … with contents `c0000` …; number n is of class n % 3. The first `evaluation` ones are eval."""

    def __init__(self, folder: Path, count: int = 120, evaluation: int = 45, seed: int = 0, **config: Any):
        raw = {
            "store": {"root": str(folder / "wheel")},
            "sources": [{"id": "photos", "root": str(folder / "photos")}],
            "label_spec": {"classes": list(CLASSES)},
            "vendor": {"kind": "file", "folder": str(folder / "vendor")},
        }
        self.config: WheelConfig = parse_config(raw | config, base=folder)
        self.tables: Tables = open_tables(self.config)
        self.files: ObjectStore = open_files(self.config)
        self.vectors, self.truth = blobs(count, seed)
        splits = ["eval" if number < evaluation else "pool" for number in range(count)]
        self.items = [self.item(number, split=split) for number, split in enumerate(splits)]

    def item(self, number: int, **columns: Any) -> dict[str, Any]:
        attributes = json.dumps({"camera": "a" if number % 2 else "b"})
        name = f"{number:04d}"
        fixed = {"item_id": f"i{name}", "content_id": f"c{name}", "subject_id": f"s{name}", "source": "photos"}
        fixed |= {"key": f"{name}.png", "modality": "image", "status": "active", "arrival": "arrival-00001"}
        return {**fixed, "attributes": attributes, "size": 1, **columns}

    def arrive(self) -> None:
        """Write items and embeddings as one arrival."""
        self.tables.replace("items", frame("items", self.items), arrival="arrival-00001")
        contents = sorted({row["content_id"]: row for row in self.items})
        rows = [
            {
                "content_id": content,
                "encoder_id": ENCODER,
                "vector": self.vectors[int(content[1:])].tolist(),
                "arrival": "arrival-00001",
            }
            for content in contents
        ]
        self.tables.replace("embeddings", frame("embeddings", rows), arrival="arrival-00001")

    def open(self, turn: int) -> None:
        open_turn(self.tables, turn, trigger="test", reason="test", budget=100.0)

    def label(self, turn: int, numbers: Sequence[int], values: Sequence[str] | None = None, **columns: Any) -> None:
        """Make true labels known in a turn (or the values given)."""
        given = values or [self.truth[number] for number in numbers]
        spec = self.config.label_spec
        rows = [
            {
                "turn": turn,
                "content_id": f"c{number:04d}",
                "field": spec.field,
                "spec_version": spec.version,
                "value": value,
                "confidence": 0.9,
                "votes": 3,
                "agreement": 0.9,
                "method": "test",
                **columns,
            }
            for number, value in zip(numbers, given, strict=True)
        ]
        known = self.tables.read("labels", turn=turn)
        self.tables.replace("labels", pl.concat([known, frame("labels", rows)]), turn=turn)

    def choose(self, turn: int, arm: str, numbers: Sequence[int], **columns: Any) -> None:
        """Add rows to a turn's batch, in the order of choice."""
        rows = [
            {
                "turn": turn,
                "item_id": f"i{number:04d}",
                "content_id": f"c{number:04d}",
                "position": position,
                "arm": arm,
                "score": 0.0,
                "prelabel_confidence": 0.0,
                **columns,
            }
            for position, number in enumerate(numbers)
        ]
        known = self.tables.read("batches", turn=turn)
        self.tables.replace("batches", pl.concat([known, frame("batches", rows)]), turn=turn)


def utc(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)
