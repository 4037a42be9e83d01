"""A program of its own: decodes one video and writes its frames or clips to its output, piece by piece.

libav is written in C and its input is hostile: what goes wrong in it can take the process along. So it runs here, with
limits on memory and time, one thread (for the same pixels every time) and no library of ours. It opens nothing but
the one file: playlists and containers that name other files are not read.

Each message is a line of JSON, followed by as many bytes as its `bytes` says:

- `video`: what the container tells, first and once;
- `frame`: its `time`, and its pixels as RGB (height, width, 3) uint8, upright;
- `clip`: its `start` and `end`, and its `frames` as RGB (frames, height, width, 3) uint8, upright and small;
- `refused`: a `reason` and a `message` with {key} in place of the key; what came before it counts;
- `end`: all was read.
"""

import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av import logging
from av.error import EOFError as NothingLeft
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
MEMORY = 8 << 30  # bytes of address space
CPU_SECONDS = 1800
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
LONGEST = 4  # the longer side of a clip's frames is at most so many times `side`

Pixels = NDArray[np.uint8]


class Stop(Exception):
    """The video is refused from here on."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.told = {"kind": "refused", "reason": reason, "message": message}


@dataclass
class Shot:
    """One decoded frame: `time` in seconds since the first one."""

    time: float
    frame: Any

    def pixels(self, side: int | None = None) -> Pixels:
        """Its pixels, upright; with `side` so small that the shorter side has as many."""
        width, height = self.frame.width, self.frame.height
        if side is not None:
            scale = max(side / min(width, height), 1 / min(width, height))
            scale = min(scale, LONGEST * side / max(width, height))
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        found = self.frame.to_ndarray(format="rgb24", width=width, height=height, interpolation=int(EXACT))
        return np.ascontiguousarray(np.rot90(found, round(self.frame.rotation / 90) % 4))

    def thumbnail(self) -> NDArray[np.float32]:
        return self.frame.to_ndarray(format="gray", width=32, height=32, interpolation="AREA").astype(np.float32) / 255


def main() -> None:
    """Decode the file that the command line names, as its second argument (JSON) says."""
    path, options = sys.argv[1], json.loads(sys.argv[2])
    for limit, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (value, value))
    logging.set_level(logging.PANIC)
    try:
        for told, pixels in read(path, options):
            send(told, pixels)
        send({"kind": "end"})
    except Stop as stop:
        send(stop.told)
    except MemoryError:
        send(Stop("undecodable", "{key} asks for more memory than a video may; export it anew").told)
    except Exception as error:
        words = f"{type(error).__name__}: {error}".replace(path, "it")[:200].replace("{", "(").replace("}", ")")
        send(Stop("undecodable", f"{{key}} is no readable video ({words}); upload it again or export it anew").told)


def send(told: dict[str, Any], pixels: Pixels | None = None) -> None:
    """Write one message."""
    data = b"" if pixels is None else pixels.tobytes()
    sys.stdout.buffer.write(json.dumps(told | {"bytes": len(data)}).encode() + b"\n" + data)
    sys.stdout.buffer.flush()


def read(path: str, options: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Pixels | None]]:
    """Yield the messages of a video."""
    restricted = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    with av.open(path, options=restricted, metadata_errors="replace") as container:
        stream = _stream(container)
        _check(container, stream, options)
        rate = stream.average_rate or stream.guessed_rate
        context = stream.codec_context
        yield (
            {
                "kind": "video",
                "codec": context.name,
                "fps": round(float(rate), 3) if rate else None,
                "width": context.width,
                "height": context.height,
            },
            None,
        )
        shots = _shots(container, stream, rate, options)
        if options["items"] == "frames":
            yield from _frames(shots, options)
        else:
            yield from _clips(shots, options, _seconds(container, stream))


def _stream(container: Any) -> Any:
    """The first stream of moving pictures; the cover of a piece of music is none."""
    moving = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None
    ]
    if not moving:
        held = ", ".join(stream.type for stream in container.streams) or "nothing"
        raise Stop("no_frames", f"{{key}} has no moving pictures; it holds: {held}")
    moving[0].codec_context.thread_count = 1
    moving[0].codec_context.thread_type = "NONE"
    return moving[0]


def _check(container: Any, stream: Any, options: dict[str, Any]) -> None:
    context = stream.codec_context
    _check_size(context.width, context.height, options)
    seconds = _seconds(container, stream)
    if seconds is not None and seconds > options["max_seconds"]:
        limit = f"at most {options['max_seconds']:g} s are read (video.max_seconds)"
        raise Stop("too_long", f"{{key}} lasts {seconds:.0f} s by its header, {limit}")


def _check_size(width: int, height: int, options: dict[str, Any]) -> None:
    if width * height > options["max_pixels"]:
        limit = f"at most {options['max_pixels']:,} are decoded (max_pixels)"
        raise Stop("too_many_pixels", f"{{key}} has frames of {width} x {height} pixels, {limit}")


def _seconds(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration else None


def _shots(container: Any, stream: Any, rate: Fraction | None, options: dict[str, Any]) -> Iterator[Shot]:
    """Yield the frames in the order they are shown; times that are missing follow from the rate."""
    count, packets, first, last = 0, 0, None, -1.0
    for packet in container.demux(stream):
        packets += packet.size > 0
        for frame in _decoded(packet, count):
            _check_size(frame.width, frame.height, options)
            if frame.pts is not None and frame.time_base:
                time = float(frame.pts * frame.time_base)
            elif rate:
                time = count / float(rate) + (first or 0.0)
            else:
                raise Stop("unsupported", "{key} says neither when its frames are shown nor how many a second")
            first = time if first is None else first
            time -= first
            count += 1
            if count > options["max_frames"]:
                limit = f"at most {options['max_frames']:,} are read (video.max_frames)"
                raise Stop("too_long", f"{{key}} has more frames than allowed, {limit}")
            if time > options["max_seconds"]:
                limit = f"at most {options['max_seconds']:g} s are read (video.max_seconds)"
                raise Stop("too_long", f"{{key}} goes on after {time:.0f} s, {limit}")
            if time > last:  # what goes back in time has been shown
                last = time
                yield Shot(time, frame)
    if not count:
        raise Stop("no_frames", "{key} has a stream of pictures without a single one")
    _check_whole(container, stream, packets, last)


def _decoded(packet: Any, count: int) -> list[Any]:
    try:
        return packet.decode()
    except FFmpegError as error:
        if isinstance(error, NothingLeft):
            return []
        words = str(error)[:120].replace("{", "(").replace("}", ")")
        raise Stop("undecodable", f"{{key}} is damaged after frame {count} ({words}); upload it again") from None


def _check_whole(container: Any, stream: Any, packets: int, last: float) -> None:
    """Complain where the header promises more than came."""
    if stream.frames:
        if packets < stream.frames - 2:
            message = f"{{key}} ends after {packets} of {stream.frames} frames; upload it whole"
            raise Stop("truncated", message)
        return
    seconds = _seconds(container, stream)
    if seconds is not None and last < 0.8 * seconds - 2:
        raise Stop("truncated", f"{{key}} ends after {last:.1f} of {seconds:.1f} s; upload it whole")


def _frames(shots: Iterator[Shot], options: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Pixels]]:
    """One frame in `every` seconds, or the first one of each scene."""
    every, due, before = options["every_seconds"], 0.0, None
    for shot in shots:
        if options["scenes"]:
            thumbnail = shot.thumbnail()
            wanted, before = _is_new_scene(before, thumbnail, options), thumbnail
        else:
            wanted = shot.time >= due - 1e-6
        if wanted:
            due = (int(shot.time / every + 1e-6) + 1) * every
            pixels = shot.pixels()
            yield {"kind": "frame", "time": shot.time, "height": pixels.shape[0], "width": pixels.shape[1]}, pixels


def _clips(
    shots: Iterator[Shot], options: dict[str, Any], seconds: float | None
) -> Iterator[tuple[dict[str, Any], Pixels]]:
    """Stretches of `clip_seconds`, with evenly spaced frames; with `scenes` they end where a scene does.

    The frames of a video that is shorter lie as close as it is short, where it tells how long it is.
    """
    length, most = options["clip_seconds"], options["frames_per_clip"]
    spacing = min(length, seconds or length) / most
    start, due, end, before = 0.0, 0.0, 0.0, None
    chosen: list[Pixels] = []
    size: tuple[int, ...] | None = None
    for shot in shots:
        thumbnail = shot.thumbnail() if options["scenes"] else None
        cut = thumbnail is not None and before is not None and _is_new_scene(before, thumbnail, options)
        before = thumbnail
        if chosen and (cut or shot.time >= start + length - 1e-6):
            yield _clip(start, shot.time if cut else start + length, chosen)
            start = shot.time if options["scenes"] else int(shot.time / length + 1e-6) * length
            chosen, due = [], start
        if shot.time >= due - 1e-6 and len(chosen) < most:
            pixels = shot.pixels(options["side"])
            size = size if chosen else pixels.shape
            if pixels.shape != size:
                raise Stop("unsupported", "{key} changes its size in the middle of a clip; export it anew")
            chosen.append(pixels)
            due = start + (int((shot.time - start) / spacing + 1e-6) + 1) * spacing
        step = shot.frame.duration * shot.frame.time_base if shot.frame.duration and shot.frame.time_base else 0
        end = shot.time + float(step)
    if chosen:
        yield _clip(start, min(max(end, start + 0.001), start + length), chosen)


def _clip(start: float, end: float, chosen: list[Pixels]) -> tuple[dict[str, Any], Pixels]:
    frames = np.stack(chosen)
    count, height, width = frames.shape[:3]
    return {"kind": "clip", "start": start, "end": end, "frames": count, "height": height, "width": width}, frames


def _is_new_scene(before: NDArray[np.float32] | None, now: NDArray[np.float32], options: dict[str, Any]) -> bool:
    """Whether two frames differ by more than `scene_threshold`: the mean change of brightness, 0..1, at 32 x 32."""
    return before is None or float(np.abs(now - before).mean()) > options["scene_threshold"]


if __name__ == "__main__":
    main()
