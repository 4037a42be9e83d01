"""Video (MP4, MOV, MKV, WebM, AVI): frames, which are images, or clips. Read from disk, never whole in memory.

A frame is named by when it is shown, `t=000012.480` in seconds since the first one, and its `content_id` is that of the
same picture in a file. A clip is named by its start and end, `t=000010.000-000020.000`. Its canonical content is one
line of JSON, `{"frames": 8, "height": 224, "width": 398}`, then the frames, RGB (frames, height, width, 3) uint8, the
shorter side 224 pixels (less where the longer one would have more than 896); `content_id` is its digest.

Pixels and times are the same every time on one machine; the conversion of colors may differ in the last bit between
kinds of processors.
"""

import io
import json
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flywheel.config import SourceConfig
from flywheel.identity import content_id
from flywheel.raw.datum import Datum
from flywheel.raw.decoders.images import pixels_id
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import UNDECODABLE, Refusal, Refused
from flywheel.raw.rows import Scalar

VIDEO_DECODER = "video-1"
PROGRAM = Path(__file__).with_name("frames.py")
VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
SIDE = 224  # pixels of the shorter side of a clip's frames
MOST_BYTES = 1 << 30  # of one message

Pixels = NDArray[np.uint8]
Message = tuple[dict[str, Any], bytes]


@dataclass(frozen=True)
class Clip:
    """One clip: its chosen frames, RGB (frames, height, width, 3) uint8."""

    frames: Pixels


def decode_video(opened: Opened, contents: bool) -> Iterator[Datum | Refusal]:
    """Decode the frames or clips of a video in the order of time; see `flywheel.raw.decoders.Decoder`."""
    with opened.file() as path, _messages(path, opened.config, opened.key) as messages:
        about: dict[str, Scalar] = {}
        for told, data in messages:
            if told["kind"] == "video":
                about = {name: told[name] for name in ("codec", "fps", "width", "height")}
            elif told["kind"] == "frame":
                yield _frame(told, data, about, contents)
            elif told["kind"] == "clip":
                yield _clip(told, data, about, contents)
            elif told["kind"] == "refused":
                raise Refused(told["reason"], told["message"].replace("{key}", opened.key))


def parse_clip(data: bytes) -> Clip:
    """Read a clip in its canonical form."""
    head, _, body = data.partition(b"\n")
    told = json.loads(head)
    return Clip(np.frombuffer(body, np.uint8).reshape(told["frames"], told["height"], told["width"], 3))


def _frame(told: dict[str, Any], data: bytes, about: dict[str, Scalar], contents: bool) -> Datum:
    picture = Image.frombytes("RGB", (told["width"], told["height"]), data)
    said = about | {"width": told["width"], "height": told["height"], "start": round(told["time"], 3)}
    part = f"t={told['time']:010.3f}"
    png = _png(picture) if contents else None
    return Datum(part, "image", pixels_id(picture), len(data), told=said, data=png, piece=True)


def _clip(told: dict[str, Any], data: bytes, about: dict[str, Scalar], contents: bool) -> Datum:
    header = json.dumps({name: told[name] for name in ("frames", "height", "width")}, sort_keys=True)
    content = header.encode("ascii") + b"\n" + data
    start, end = told["start"], told["end"]
    said = about | {"start": round(start, 3), "end": round(end, 3), "seconds": round(end - start, 3)}
    part, identity = f"t={start:010.3f}-{end:010.3f}", content_id(content, VIDEO_DECODER)
    return Datum(part, "video", identity, len(content), told=said, data=content if contents else None, piece=True)


def _png(picture: Image.Image) -> bytes:
    target = io.BytesIO()
    picture.save(target, "PNG", compress_level=1)
    return target.getvalue()


@contextmanager
def _messages(path: Path, config: SourceConfig, key: str) -> Generator[Iterator[Message]]:
    """Start the program that decodes, and give what it says; it ends with the context."""
    options = config.video.model_dump() | {"side": SIDE, "max_pixels": config.max_pixels}
    options["items"] = options["items"] or ("frames" if config.modality == "image" else "clips")
    command = [sys.executable, "-I", str(PROGRAM), str(path), json.dumps(options)]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    try:
        yield _read(child.stdout, key)
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


def _read(pipe: IO[bytes], key: str) -> Iterator[Message]:
    """Yield the program's messages.

    Raises:
        Refused: it ended without a last word: a limit or a crash in the decoder stopped it.
    """
    while line := pipe.readline(1 << 16):
        told: dict[str, Any] = json.loads(line)
        data = pipe.read(min(told["bytes"], MOST_BYTES))
        if len(data) < told["bytes"]:
            break
        yield told, data
        if told["kind"] in ("end", "refused"):
            return
    message = f"{key} makes its decoder give up (a crash, or more memory or time than a video may take); export it anew"
    raise Refused(UNDECODABLE, message)
