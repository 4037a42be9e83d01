"""Small videos, encoded on the spot: each second has its own color, a bright bar moves across."""

import struct
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

FPS = 10
COLORS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200), (200, 40, 200))


def picture(frame: int, size: tuple[int, int] = (96, 64), hold: int = FPS) -> NDArray[np.uint8]:
    """One frame (height, width, 3) uint8; `hold` frames share a color."""
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    pixels[:] = COLORS[frame // hold % len(COLORS)]
    pixels[: size[1] // 4, : size[0] // 2] = 255  # top left is white: rotation shows
    pixels[-4:, frame * 3 % size[0] :][:, :6] = 0
    return pixels


def video(
    seconds: float = 3,
    *,
    form: str = "mp4",
    codec: str = "libx264",
    size: tuple[int, int] = (96, 64),
    times: Sequence[int] | None = None,
    hold: int = FPS,
    sound: bool = False,
    pictures: bool = True,
    options: dict[str, str] | None = None,
) -> bytes:
    """An encoded video; `times` gives the time of each frame in tenths of a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made"
        _write(path, seconds, form, codec, size, times, hold, sound, pictures, options or {})
        return path.read_bytes()


def _write(
    path: Path,
    seconds: float,
    form: str,
    codec: str,
    size: tuple[int, int],
    times: Sequence[int] | None,
    hold: int,
    sound: bool,
    pictures: bool,
    options: dict[str, str],
) -> None:
    with av.open(str(path), "w", format=form, container_options=options) as container:
        stream: Any = container.add_stream(codec, rate=FPS) if pictures else None
        tone: Any = container.add_stream("aac", rate=8000) if sound else None
        if stream is not None:
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.codec_context.time_base = Fraction(1, FPS)
            for number, time in enumerate(times if times is not None else range(round(seconds * FPS))):
                frame = av.VideoFrame.from_ndarray(picture(number, size, hold), format="rgb24")
                frame.pts, frame.time_base = time, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        if tone is not None:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 8000, 0
            container.mux(tone.encode(samples))
            container.mux(tone.encode())


def rotated(content: bytes, degrees: int) -> bytes:
    """The MP4 with another matrix in its track header: players turn it by so many degrees clockwise."""
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value * 65536 for value in matrix)
    place = content.index(b"tkhd") + 4 + 40
    return content[:place] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[place + 36 :]
