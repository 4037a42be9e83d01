"""A source, its tables and what tests do with them."""

import io
import json
import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from PIL import Image

from flywheel.config import LabelSpecConfig, SourceConfig
from flywheel.objects import FolderStore, ObjectStore, ObjectTooLarge, Source
from flywheel.raw import ArrivalReport, current_items, current_quarantine, plan_arrivals, register_arrival
from flywheel.raw.datum import TOLD, Datum
from flywheel.raw.decoders import decode as decode_object
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import Refusal
from flywheel.tables import Tables

SPEC = LabelSpecConfig(classes=("cat", "dog"))
NOW = datetime(2100, 1, 1, tzinfo=UTC)
SHARE = 0.2


def image(
    seed: int = 0, form: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (12, 9), **options: Any
) -> bytes:
    """An encoded picture of noise; other seeds show something else."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    picture = Image.fromarray(noise, "RGBA").convert(mode) if mode != "RGB" else Image.fromarray(noise[..., :3], "RGB")
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def csv(*rows: str) -> bytes:
    return ("\n".join(rows) + "\n").encode()


def jsonl(*rows: Mapping[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(rows).write_parquet(file)
    return file.getvalue()


class Held:
    """One object in memory, where a source would have it."""

    def __init__(self, content: bytes):
        self._content = content

    def read(self, key: str, limit: int | None = None) -> bytes:
        if limit is not None and len(self._content) > limit:
            raise ObjectTooLarge(key)
        return self._content

    @contextmanager
    def local(self, key: str, limit: int | None = None) -> Generator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "object"
            path.write_bytes(self.read(key, limit))
            yield path


def decode(content: bytes, key: str, *, contents: bool = False, **config: Any) -> list[Datum | Refusal]:
    """Decode one object of a source that is configured so."""
    settings = SourceConfig.model_validate({"id": "held", "root": "-", **config})
    source = Source(settings, cast(ObjectStore, Held(content)))
    return list(decode_object(Opened(source, key, len(content)), contents=contents))


class World:
    """One source with manifests named manifest*; what lands in it is planned and registered by `land`."""

    def __init__(self, tables: Tables, store: ObjectStore, **config: Any):
        self.tables, self.store = tables, store
        settings = SourceConfig.model_validate({"id": "photos", "root": "-", "manifest": "manifest*", **config})
        self.sources = {"photos": Source(settings, store)}
        self._clock = 1_700_000_000

    def put(self, key: str, content: bytes) -> None:
        """Write an object; in a folder every write gets its own second, faster than the clock's ticks."""
        self.store.write(key, content)
        if isinstance(self.store, FolderStore):
            self._clock += 1
            os.utime(self.store.root / key, (self._clock, self._clock))

    def delete(self, key: str) -> None:
        self.store.delete(key)

    def plan(self, **options: Any) -> list[str]:
        return plan_arrivals(self.tables, self.sources, now=NOW, **options)

    def register(self, arrival: str, spec: Any = SPEC, **options: Any) -> ArrivalReport:
        return register_arrival(self.tables, self.sources, spec, arrival, evaluation_share=SHARE, **options)

    def land(self) -> ArrivalReport:
        """Plan what is new and register the newest arrival."""
        return self.register(self.plan()[-1])

    def items(self) -> dict[str, dict[str, Any]]:
        """The current items by "key" or "key#part"."""
        return {_place(row): row for row in current_items(self.tables).iter_rows(named=True)}

    def refused(self) -> set[tuple[str, str]]:
        """Places and reasons of what still stands in quarantine."""
        return {(_place(row), row["reason"]) for row in current_quarantine(self.tables).iter_rows(named=True)}

    def attributes(self, place: str) -> dict[str, Any]:
        """What is said about an item; what its file tells is left out."""
        return {name: value for name, value in self.all_attributes(place).items() if not name.startswith(TOLD)}

    def all_attributes(self, place: str) -> dict[str, Any]:
        return json.loads(self.items()[place]["attributes"])

    def events(self) -> list[dict[str, Any]]:
        return self.tables.read("annotation_events").sort("origin", "item_id").to_dicts()

    def labels(self) -> list[tuple[str, str, str, str]]:
        """Origin, key, action and value of every label event."""
        keys = dict(self.tables.read("items").select("item_id", "key").iter_rows())
        found = ((e["origin"], keys[e["item_id"]], e["action"], e["value"]) for e in self.events())
        return sorted(found)


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['key']}#{row['part']}" if row["part"] else row["key"]


def folder_world(folder: Path, **config: Any) -> World:
    """A world in a folder."""
    (folder / "source").mkdir(parents=True)
    return World(Tables(str(folder / "tables")), FolderStore(folder / "source"), **config)
