"""A tiny wheel up to its labeling batch, for tests of vendors, jobs and label quality."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image

from flywheel.config import WheelConfig, parse_config
from flywheel.identity import item_id
from flywheel.objects import Source, open_sources, open_tables
from flywheel.raw import plan_arrivals, register_arrival
from flywheel.records import SCHEMAS
from flywheel.tables import Tables
from flywheel.turns import open_turn
from flywheel.vendors import Job, LabelSpec, Task, label_spec

CLASSES = ("cat", "dog", "emu")
ARRIVAL = "arrival-00001"


def png(number: int) -> bytes:
    """A small picture that differs from every other number's."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 40)).save(picture, "PNG")
    return picture.getvalue()


def truth_of(number: int) -> str:
    return CLASSES[number % len(CLASSES)]


@dataclass
class World:
    """A wheel whose items have arrived and whose turn 0 is open."""

    config: WheelConfig
    tables: Tables
    sources: dict[str, Source]

    def ids(self, numbers: Sequence[int]) -> list[str]:
        return [item_id("photos", f"{number:04d}.png") for number in numbers]

    def choose(self, numbers: Sequence[int], turn: int = 0, arm: str = "seed", prelabel: str = "") -> None:
        """Add rows to the turn's batch, as the selection station would."""
        contents = dict(self.tables.read("items").select("item_id", "content_id").iter_rows())
        rows = [
            {
                "turn": turn,
                "item_id": item,
                "content_id": contents[item],
                "position": position,
                "arm": arm,
                "strategy": "test",
                "gap_id": "",
                "score": 0.0,
                "reason": "",
                "prelabel": prelabel,
                "prelabel_confidence": 0.7 if prelabel else 0.0,
            }
            for position, item in enumerate(self.ids(numbers))
        ]
        added = pl.DataFrame(rows, schema=SCHEMAS["batches"])
        self.tables.replace("batches", pl.concat([self.tables.read("batches", turn=turn), added]), turn=turn)


def make_world(
    folder: Path, count: int = 12, vendor: dict[str, Any] | None = None, manifest: str = "", **budget: Any
) -> World:
    """Lay out `count` pictures, their truth, the manifest if any, and their items, and open turn 0."""
    photos = folder / "photos"
    photos.mkdir()
    for number in range(count):
        (photos / f"{number:04d}.png").write_bytes(png(number))
    truth = "".join(f"{number:04d}.png,{truth_of(number)}\n" for number in range(count))
    (folder / "truth.csv").write_text("key,label\n" + truth)
    if manifest:
        (photos / "manifest.csv").write_text(manifest)
    raw: dict[str, Any] = {
        "store": {"root": "wheel"},
        "sources": [{"id": "photos", "root": "photos", "manifest": "manifest*.csv"}],
        "label_spec": {"classes": list(CLASSES)},
        "vendor": vendor or {"kind": "simulated", "truth": "truth.csv", "error_rate": 0.2},
        "budget": {"auto_approve": True} | budget,
    }
    config = parse_config(raw, base=folder)
    world = World(config, open_tables(config), open_sources(config))
    arrive(config, world.tables, world.sources)
    open_turn(world.tables, 0, trigger="test", reason="test", budget=config.budget.money_per_turn)
    return world


def make_job(count: int = 6, votes: int = 2, key: str = "job-1", modality: str = "image") -> Job:
    """A job as a vendor gets it, without a wheel around it; its names are those of `write_truth`."""
    spec = LabelSpec("label", "1", modality, CLASSES, "Which animal?")
    tasks = tuple(
        Task(
            uid=f"{key}-task-{number}",
            item_id=f"item-{number}",
            content_id=f"content-{number}",
            data=png(number) if modality == "image" else f"text {number} <b>&</b>".encode(),
            name=f"{number:04d}.png",
            prelabel="dog" if number == 0 else "",
            prelabel_confidence=0.8 if number == 0 else 0.0,
        )
        for number in range(count)
    )
    return Job(key, key, spec, votes, tasks)


def write_truth(path: Path, count: int = 6) -> Path:
    path.write_text("key,label\n" + "".join(f"{number:04d}.png,{truth_of(number)}\n" for number in range(count)))
    return path


def utc(second: int = 0) -> datetime:
    return datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)


def arrive(config: WheelConfig, tables: Tables, sources: dict[str, Source]) -> None:
    """Let whatever lies in the sources arrive."""
    for arrival in plan_arrivals(tables, sources, now=datetime.now(UTC)):
        share = config.budget.evaluation_share
        register_arrival(tables, sources, label_spec(config), arrival, evaluation_share=share)
