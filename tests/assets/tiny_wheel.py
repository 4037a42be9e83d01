"""A tiny wheel with real data: pictures of three visibly different kinds, a manifest, simulated annotators."""

import csv
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw

from flywheel.config import WheelConfig, load_config
from flywheel.objects import Source, open_sources, open_tables
from flywheel.tables import Tables

KINDS = ("disc", "stripes", "triangle")
SIZE = 64


def picture(kind: str, seed: int) -> Image.Image:
    """Draw one picture of a kind; color, place and size differ with the seed."""
    draw_from = random.Random(f"{kind} {seed}")
    ground = tuple(draw_from.randrange(180, 256) for _ in range(3))
    ink = tuple(draw_from.randrange(0, 120) for _ in range(3))
    image = Image.new("RGB", (SIZE, SIZE), ground)
    canvas = ImageDraw.Draw(image)
    x, y, radius = (draw_from.uniform(low, high) for low, high in ((26, 38), (26, 38), (14, 24)))
    if kind == "disc":
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
    elif kind == "triangle":
        angles = (math.pi * 2 * corner / 3 - math.pi / 2 for corner in range(3))
        canvas.polygon([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], fill=ink)
    else:
        step = draw_from.randrange(8, 14)
        for top in range(0, SIZE, step):
            canvas.rectangle((0, top, SIZE, top + step // 2), fill=ink)
    return image


@dataclass
class TinyWheel:
    """A wheel in a folder."""

    folder: Path

    @property
    def config_path(self) -> str:
        return str(self.folder / "flywheel.yaml")

    @property
    def config(self) -> WheelConfig:
        return load_config(self.config_path)

    @property
    def tables(self) -> Tables:
        return open_tables(self.config)

    @property
    def sources(self) -> dict[str, Source]:
        return open_sources(self.config)

    def add(self, first: int, count: int, labeled: int = 0) -> None:
        """Let pictures `first` … `first + count - 1` arrive; the first `labeled` of them with a label."""
        names = [f"{number:03d}.png" for number in range(first, first + count)]
        for number, name in enumerate(names, first):
            picture(kind_of(name), number).save(self.folder / "photos" / name)
        with (self.folder / "truth.csv").open("a") as file:
            csv.writer(file).writerows([name, kind_of(name)] for name in names)
        if labeled:
            rows = "".join(f"{name},{kind_of(name)}\n" for name in names[:labeled])
            (self.folder / "photos" / f"manifest-{first:03d}.csv").write_text("key,label\n" + rows)

    def add_texts(self, count: int) -> None:
        """Let short texts arrive beside the pictures."""
        for number in range(count):
            text = f"Report {number}: {'the harvest was good' if number % 2 else 'the train was late again'}."
            (self.folder / "photos" / f"note-{number}.txt").write_text(text)

    def add_broken(self, count: int) -> None:
        """Let files arrive that are no pictures, whatever their name says."""
        for number in range(count):
            (self.folder / "photos" / f"broken-{number}.png").write_bytes(b"no picture")


def kind_of(name: str) -> str:
    return KINDS[int(name[:3]) % len(KINDS)]


def build_wheel(folder: Path, **changes: Any) -> TinyWheel:
    """Lay out an empty tiny wheel; `changes` replace keys of sections of its configuration."""
    (folder / "photos").mkdir(parents=True)
    (folder / "truth.csv").write_text("key,label\n")
    raw: dict[str, Any] = {
        "name": "tiny",
        "store": {"root": "wheel"},
        "sources": [{"id": "photos", "root": "photos", "manifest": "manifest*.csv"}],
        "encoders": {"image": {"kind": "efficientnet-conse", "image_size": 64}},
        "structure": {"neighbors": 5, "cluster_sizes": [20, 10]},
        "label_spec": {"classes": list(KINDS)},
        "vendor": {"kind": "simulated", "truth": "truth.csv", "error_rate": 0.05},
        "budget": {
            "labels_per_turn": 8,
            "seed_labels": 9,
            "evaluation_labels": 10,
            "control_share": 0.5,
            "auto_approve": True,
        },
    }
    for section, values in changes.items():
        raw[section] = {**raw.get(section, {}), **values}
    (folder / "flywheel.yaml").write_text(yaml.safe_dump(raw))
    return TinyWheel(folder)
