"""Planning and registering killed at random moments, on a bucket: in the end the tables of an undisturbed wheel."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.checkout import ROOT
from tests.e2e.killable_arrivals import open_world
from tests.raw_world import World, csv, image
from tests.servers import SeaweedFS

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SEED_VARIABLE = "FLYWHEEL_KILL_SEED"
LEAST_KILLS = 30
MOST_WHEELS = 12
KILLS_PER_PORTION = 4
TABLES = ("objects", "items", "quarantine", "annotation_events")
TIMES = ("modified_at", "at", "seconds")  # of the second in which an object was written
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")} | {"POLARS_MAX_THREADS": "1"}

PORTIONS: list[dict[str, bytes | None]] = [
    {
        **{f"{number:02d}.png": image(number) for number in range(9)},
        "broken.png": b"broken",
        "rows.csv": csv("id,text", "x,one", "y,two"),
        "manifest.csv": csv("key,label", "00.png,cat", "03.png,dog"),
    },
    {"00.png": None, "01.png": image(90), "09.png": image(9), "rows.csv": csv("id,text", "y,two", "z,three")},
    {"00.png": image(0), "02.png": None, "broken.png": image(7), "manifest.csv": csv("key,label", "03.png,cat")},
]


@dataclass
class Wheel:
    """One wheel with a bucket of its own."""

    world: World
    request: dict[str, Any]

    def land(self, portion: dict[str, bytes | None]) -> None:
        for key, content in portion.items():
            if content is None:
                self.world.delete(key)
            else:
                self.world.put(key, content)

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        found = {name: self.world.tables.read(name).drop(TIMES, strict=False) for name in TABLES}
        return {name: frame.sort(pl.all()).to_dicts() for name, frame in found.items()}


class Server:
    """A process that takes in what landed, in children (see `tests.e2e.killable_arrivals`)."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self._process = process

    def take_in(self, wheel: Wheel, seconds: float | None) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        print(json.dumps({**wheel.request, "seconds": seconds}), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@contextmanager
def run_server() -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.e2e.killable_arrivals"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | ONE_THREAD, text=True, **pipes) as process:
        yield Server(process)
        assert process.stdin
        process.stdin.close()


def new_wheel(folder: Path, seaweedfs: SeaweedFS) -> Wheel:
    root = seaweedfs.new_root()
    request = {"folder": str(folder), "root": root, "endpoint": seaweedfs.endpoint}
    return Wheel(open_world(folder, root, seaweedfs.endpoint), request)


def live(server: Server, wheel: Wheel, longest: list[float], draw_from: random.Random) -> int:
    """Take in every portion, killed again and again; return how many kills struck."""
    kills = 0
    for portion, usual in zip(PORTIONS, longest):
        wheel.land(portion)
        for _ in range(KILLS_PER_PORTION):
            ended = server.take_in(wheel, draw_from.uniform(0.01, usual))
            if ended["code"] == 0:
                break
            assert ended["code"] == -signal.SIGKILL
            kills += 1
        else:
            assert server.take_in(wheel, None)["code"] == 0
    return kills


def test_killed_at_random_moments_the_tables_are_those_of_an_undisturbed_wheel(
    tmp_path: Path, seaweedfs: SeaweedFS
) -> None:
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(10**6))
    print(f"killing at random moments; to repeat them: {SEED_VARIABLE}={seed}")
    draw_from = random.Random(seed)
    with run_server() as server:
        calm, longest = new_wheel(tmp_path / "calm", seaweedfs), list[float]()
        for portion in PORTIONS:
            calm.land(portion)
            ended = server.take_in(calm, None)
            assert ended["code"] == 0
            longest.append(ended["seconds"])
        expected, kills = calm.rows(), 0
        assert [len(expected["objects"]), len(expected["quarantine"])] == [12 + 4 + 4, 1]
        for number in range(MOST_WHEELS):
            wheel = new_wheel(tmp_path / f"killed-{number}", seaweedfs)
            kills += live(server, wheel, longest, draw_from)
            assert wheel.rows() == expected
            if kills >= LEAST_KILLS:
                break
    print(f"{kills} kills on {number + 1} wheels")
    assert kills >= LEAST_KILLS
