"""Feeds damaged files of every kind to decoders and registration: `python -m tests.fuzzing --seed 7 --seconds 60`.

Whatever the bytes, each object ends as items or as refusals with a known reason, within a time limit and without
exhausting memory. Run as a process of its own, so that a crash or a hang in a library is seen from outside; its last
line says what was being read.
"""

import argparse
import faulthandler
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from flywheel.raw import CATALOGUE
from flywheel.raw.datum import Datum
from flywheel.raw.decoders import ENDINGS, decode
from flywheel.raw.opened import Opened
from tests.raw_world import World, csv, folder_world, image, jsonl, parquet
from tests.unit.signal_files import RATE, beats, edf, npz, wfdb_record
from tests.unit.video_files import video

OBJECT_SECONDS = 20  # for one object; generous, as the machine may be busy
MOST_MEGABYTES = 2_000
PER_ARRIVAL = 60  # objects registered together
ROWS = [{"id": f"r{number}", "text": f"Grüße number {number}", "age": 30 + number, "ok": True} for number in range(30)]

# one good file of each ending that is read
MAKERS: dict[str, Callable[[], bytes]] = {
    ".jpg": lambda: image(1, "JPEG", size=(90, 70)),
    ".jpeg": lambda: image(2, "JPEG", size=(64, 64), progressive=True),
    ".png": lambda: image(3, "PNG", "RGBA", size=(50, 40)),
    ".gif": lambda: image(4, "GIF", "P", size=(40, 40)),
    ".tif": lambda: image(5, "TIFF", size=(40, 30), compression="tiff_lzw"),
    ".tiff": lambda: image(6, "TIFF", "L", size=(40, 30), compression="tiff_adobe_deflate"),
    ".webp": lambda: image(7, "WEBP", size=(60, 40)),
    ".txt": lambda: "Grüße, wie geht es?\r\nSehr gut.\n".encode() * 20,
    ".csv": lambda: csv("id,text,age", *[f'{row["id"]},"a, {row["text"]}",{row["age"]}' for row in ROWS]),
    ".jsonl": lambda: jsonl(*ROWS),
    ".parquet": lambda: parquet(ROWS),
    ".npz": lambda: npz(beats(25)),
    ".edf": lambda: _written(lambda folder: edf(folder, 100 * beats(25), (RATE, RATE), ("I", "II"))),
    ".hea": lambda: _written(lambda folder: wfdb_record(folder, beats(25), RATE, ("I", "II"))[0]),
    ".mp4": lambda: video(2),
    ".m4v": lambda: video(1),
    ".mov": lambda: video(2, form="mov"),
    ".mkv": lambda: video(2, form="matroska"),
    ".webm": lambda: video(2, form="webm", codec="libvpx-vp9"),
    ".avi": lambda: video(2, form="avi", codec="mpeg4"),
}


def _written(write: Callable[[Path], bytes]) -> bytes:
    """Return what a writer that needs a folder writes."""
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder))


@cache
def good_file(ending: str) -> bytes:
    """Return the good file of an ending."""
    return MAKERS[ending]()


def flip(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Turn a few bits, rather near the beginning: that is where headers are."""
    for _ in range(int(draw.integers(1, 12))):
        content[int(len(content) * draw.random() ** 3)] ^= 1 << int(draw.integers(8))
    return content


def truncate(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Cut the end off."""
    return content[: int(draw.integers(0, len(content)))]


def insert(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Push random bytes, or the file itself, into the middle."""
    place = int(draw.integers(0, len(content)))
    more = bytes(content) if draw.random() < 0.3 else draw.bytes(int(draw.integers(1, 200)))
    return content[:place] + more + content[place:]


def blank(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Overwrite a stretch with zeros or with ones."""
    start = int(draw.integers(0, len(content)))
    length = min(len(content) - start, int(draw.integers(1, 64)))
    content[start : start + length] = bytes([int(draw.choice([0, 255]))]) * length
    return content


def swap_head(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Put the beginning of another kind of file before this one's rest."""
    other = good_file(str(draw.choice(sorted(MAKERS))))
    length = int(draw.integers(1, 64))
    return bytearray(other[:length]) + content[length:]


def enlarge(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Write huge numbers where headers keep sizes."""
    place = int(draw.integers(0, max(1, min(len(content) - 8, 120))))
    content[place : place + 4] = (2 ** int(draw.integers(16, 32)) - 1).to_bytes(4, str(draw.choice(["big", "little"])))  # type: ignore[arg-type]
    return content


MUTATIONS = (flip, truncate, insert, blank, swap_head, enlarge)


def mutate(content: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    """Return a damaged copy, and what was done to it."""
    damaged, done = bytearray(content), list[str]()
    for _ in range(int(draw.integers(1, 4))):
        if damaged:
            mutation = MUTATIONS[int(draw.integers(len(MUTATIONS)))]
            damaged = mutation(damaged, draw)
            done.append(mutation.__name__)
    return bytes(damaged), "-".join(done)


def feed(folder: Path, seed: int, seconds: float) -> int:
    """Feed damaged files for so long; return how many."""
    draw, until, count = np.random.default_rng(seed), time.monotonic() + seconds, 0
    world = folder_world(folder, max_pixels=2_000_000, max_bytes=2_000_000)
    while time.monotonic() < until or count == 0:
        for _ in range(PER_ARRIVAL):
            ending = str(draw.choice(sorted(MAKERS)))
            content, done = mutate(good_file(ending), draw)
            key = f"{count:06d}-{done}{ending}"
            count += 1
            world.put(key, content)
            print(f"seed {seed}: {key}, {len(content)} bytes", flush=True)
            faulthandler.dump_traceback_later(OBJECT_SECONDS, exit=True)
            found = list(decode(Opened(world.sources["photos"], key)))
            faulthandler.cancel_dump_traceback_later()
            assert found, f"nothing was said about {key}"
            wrong = [
                one for one in found if not isinstance(one, Datum) and not (one.reason in CATALOGUE and one.message)
            ]
            assert not wrong, wrong
        check_arrival(world, count)
    return count


def check_arrival(world: World, count: int) -> None:
    """Register what landed: each object has an item or a row."""
    faulthandler.dump_traceback_later(OBJECT_SECONDS * 6, exit=True)
    report = world.land()
    faulthandler.cancel_dump_traceback_later()
    tables = world.tables
    answered = {key for name in ("items", "quarantine") for key in tables.read(name, arrival=report.arrival)["key"]}
    landed = set(tables.read("objects", arrival=report.arrival)["key"])
    assert answered == landed, f"no item and no row: {sorted(landed - answered)}"
    print(f"{count} objects fed, {report.items} items, {report.quarantined} refusals", flush=True)


def peak_megabytes() -> float:
    """Return the most memory this process has held; `ru_maxrss` begins with that of the parent it was forked from."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Feed damaged files until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    faulthandler.enable()
    assert set(ENDINGS) <= set(MAKERS), f"no good file to damage for {sorted(set(ENDINGS) - set(MAKERS))}"
    with tempfile.TemporaryDirectory() as folder:
        count = feed(Path(folder), given.seed, given.seconds)
    peak = peak_megabytes()
    assert peak < MOST_MEGABYTES, f"{peak:.0f} MB at the peak"
    print(f"done: {count} damaged files, {peak:.0f} MB at the peak", flush=True)


if __name__ == "__main__":
    main()
