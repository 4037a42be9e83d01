"""A small wheel with a planted gap: noisy pictures of three kinds and a few texts, in two portions.

A manifest brings first labels and says what is kept for evaluation. One picture in three shows a triangle, but of the
first labels only one does: that is the gap. Everything the wheel needs lies in one folder, so that a copy of it is the
same wheel, down to the times of its objects.
"""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flywheel.encoders import Encoder, open_encoder
from flywheel.identity import stable_fraction
from flywheel.vendors import SimulatedVendor, open_vendor
from tests.assets.tiny_wheel import SIZE, TinyWheel, build_wheel, kind_of, picture

GAP = "triangle"
PICTURES = {1: range(120), 2: range(120, 150)}
TEXTS = {1: range(8), 2: range(8, 12)}
SEED_LABELS = 24
EVALUATION_SHARE = 0.3
SHAPE = 24  # pixels of the drawing within a picture: small enough that one example does not teach the kind
BROKEN = "broken.png"  # of the first portion
NOISE = 60.0  # standard deviation of a pixel, of 255


@dataclass
class SmallWheel(TinyWheel):
    """A wheel in a folder, whose data lands in two portions."""

    def land(self, portion: int) -> None:
        """Let a portion arrive: pictures, texts, and a manifest with splits and first labels."""
        shutil.copytree(self.staged(portion), self.folder / "photos", dirs_exist_ok=True)

    def staged(self, portion: int) -> Path:
        """Where a portion waits."""
        return self.folder / f"portion-{portion}"

    def copy(self, folder: Path) -> "SmallWheel":
        """Copy the wheel with everything that landed and happened; its objects keep their times."""
        shutil.copytree(self.folder, folder)
        return SmallWheel(folder)

    @property
    def vendor(self) -> SimulatedVendor:
        """The vendor; its own folder knows what was ordered and would have been paid."""
        vendor = open_vendor(self.config)
        assert isinstance(vendor, SimulatedVendor)
        return vendor

    @property
    def encoders(self) -> dict[str, Encoder]:
        """The encoders, for their names; nothing is loaded."""
        configured = self.config.encoders
        return {"image": open_encoder("image", configured.image), "text": open_encoder("text", configured.text)}


def build_small_wheel(folder: Path, **changes: Any) -> SmallWheel:
    """Lay out a small wheel on which nothing has landed; `changes` replace keys of sections of its configuration."""
    settings: dict[str, dict[str, Any]] = {
        "vendor": {"seed": 1},
        "structure": {"neighbors": 8, "cluster_sizes": [30, 15]},
        "budget": {"labels_per_turn": 12, "control_share": 1.0, "evaluation_labels": 0},
    }
    for section, values in changes.items():
        settings[section] = {**settings.get(section, {}), **values}
    wheel = SmallWheel(build_wheel(folder, **settings).folder)
    for portion in PICTURES:
        _stage(wheel.staged(portion), portion)
    truth = [(name, kind_of(name)) for portion in PICTURES for name in _names(portion)]
    _write_csv(folder / "truth.csv", [("key", "label"), *truth])
    return wheel


def noisy_picture(number: int) -> Image.Image:
    """Draw a small shape somewhere on a noisy ground."""
    shape = picture(kind_of(_name(number)), number).resize((SHAPE, SHAPE), Image.Resampling.BILINEAR)
    draw_from = np.random.default_rng(number)
    image = Image.new("RGB", (SIZE, SIZE), shape.getpixel((0, SHAPE - 1)))
    x, y = draw_from.integers(0, SIZE - SHAPE + 1, 2).tolist()
    image.paste(shape, (x, y))
    pixels = np.asarray(image) + draw_from.normal(0, NOISE, (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _stage(folder: Path, portion: int) -> None:
    folder.mkdir()
    for number in PICTURES[portion]:
        noisy_picture(number).save(folder / _name(number))
    for number in TEXTS[portion]:
        told = "the harvest was good" if number % 2 else "the train was late again"
        (folder / f"note-{number:02d}.txt").write_text(f"Report {number}: {told}.")
    if portion == 1:
        (folder / BROKEN).write_bytes(b"no picture")
    _write_csv(folder / f"manifest-{portion}.csv", [("key", "label", "split"), *_manifest(portion)])


def _manifest(portion: int) -> list[tuple[str, str, str]]:
    """Rows key, label, split: every evaluation picture of the first portion has its label, few others have."""
    names = _names(portion)
    pool = [name for name in names if stable_fraction(name, "split") >= EVALUATION_SHARE]
    inside = [name for name in pool if kind_of(name) == GAP][:1]
    outside = [name for name in pool if kind_of(name) != GAP][: SEED_LABELS - 1]
    labeled = {*inside, *outside, *(set(names) - set(pool))} if portion == 1 else set()
    return [(name, kind_of(name) if name in labeled else "", "pool" if name in pool else "eval") for name in names]


def _write_csv(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def _names(portion: int) -> list[str]:
    return [_name(number) for number in PICTURES[portion]]


def _name(number: int) -> str:
    return f"{number:03d}.png"
