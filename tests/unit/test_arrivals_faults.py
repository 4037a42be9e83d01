"""Arrivals over a bad line, and from a server that stops in the middle: in the end the same tables."""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flywheel.config import S3
from flywheel.objects import S3Store, StoreUnavailable, s3
from flywheel.raw import plan_arrivals, sweeps, sweeps_under_way
from flywheel.tables import Tables
from tests.bad_line import FAULTS, bad_line
from tests.raw_world import NOW, World, csv, image
from tests.servers import KEYS, SeaweedFS, run_seaweedfs

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SEED_VARIABLE = "FLYWHEEL_FAULT_SEED"
TABLES = ("objects", "items", "quarantine", "annotation_events")
TIMES = ("modified_at", "at", "seconds")  # of the first look, or of the second in which the object was written


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sweeps, "BLOCK", 4)
    yield


def portions() -> list[dict[str, bytes | None]]:
    """What lands, is overwritten and goes away, in two portions."""
    first: dict[str, bytes | None] = {f"{number:02d}.png": image(number) for number in range(12)}
    first |= {"broken.png": b"broken", "rows.csv": csv("id,text", "x,one", "y,two")}
    first |= {"manifest.csv": csv("key,label", "00.png,cat", "03.png,dog")}
    second: dict[str, bytes | None] = {"00.png": None, "01.png": image(90), "12.png": image(12)}
    return [first, second]


def land(store: S3Store, portion: dict[str, bytes | None]) -> None:
    for key, content in portion.items():
        if content is None:
            store.delete(key)
        else:
            store.write(key, content)


def take_in(world: World, state: Path, most: int = 60) -> int:
    """Tick and register until all is done, however often the server cannot be reached; return how often."""
    failures = 0
    for _ in range(most):
        try:
            arrivals = plan_arrivals(world.tables, world.sources, now=NOW, tick_seconds=0, state=state)
            if not sweeps_under_way(state, ["photos"]):
                for arrival in arrivals:
                    world.register(arrival)
                return failures
        except StoreUnavailable:
            failures += 1
    raise AssertionError(f"not done after {most} ticks, {failures} of them failed")


def rows(tables: Tables) -> dict[str, list[dict[str, Any]]]:
    found = {name: tables.read(name).drop(TIMES, strict=False) for name in TABLES}
    return {name: frame.sort(pl.all()).to_dicts() for name, frame in found.items()}


def worlds(folder: Path, root: str, seaweedfs_s3: S3, line: S3) -> tuple[World, World]:
    """A world over a good line and one over a bad line, on the same bucket."""
    return (
        World(Tables(str(folder / "calm")), S3Store(root, seaweedfs_s3, page_size=4), root=root),
        World(Tables(str(folder / "bad")), S3Store(root, line, page_size=4), root=root),
    )


def test_a_bad_line_ends_in_the_same_tables(tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(10**6))
    print(f"spoiling requests at random; to repeat it: {SEED_VARIABLE}={seed}")
    with bad_line(seaweedfs.endpoint, seed=seed, share=0.25) as line:
        over = S3(endpoint=line.endpoint, timeout_seconds=0.5)
        calm, bad = worlds(tmp_path, seaweedfs.new_root(), seaweedfs.s3, over)
        for portion in portions():
            land(calm.store, portion)
            take_in(calm, tmp_path / "calm-sweeps")
            failures = take_in(bad, tmp_path / "bad-sweeps")
            print(f"{dict(line.met)}, {failures} ticks failed")
    assert rows(bad.tables) == rows(calm.tables)
    assert sum(line.met[fault] for fault in FAULTS) >= 5


@pytest.mark.parametrize("fault", FAULTS)
def test_every_kind_of_fault_is_got_over(tmp_path: Path, seaweedfs: SeaweedFS, fault: str) -> None:
    with bad_line(seaweedfs.endpoint, seed=1, share=0.0) as line:
        store = S3Store(seaweedfs.new_root(), S3(endpoint=line.endpoint, timeout_seconds=0.5))
        store.write("a.txt", b"0123456789")
        fates = iter(["passed", fault] * 3)
        line.fate = lambda: next(fates, "passed")
        next(fates)
        assert [info.key for page in store.pages() for info in page.infos] == ["a.txt"]
        assert store.read("a.txt") == b"0123456789"
        assert store.info("a.txt").size == 10
        assert list(fates) == []


def test_a_server_that_is_stopped_and_started_in_the_middle_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    for name, value in KEYS.items():  # they stay while no server runs
        monkeypatch.setenv(name, value)
    with ExitStack() as stack, bad_line(None, seed=0, share=0.0) as line:
        first = stack.enter_context(ExitStack())
        server = first.enter_context(run_seaweedfs(tmp_path / "server"))
        line.upstream = server.endpoint
        root, over = server.new_root(), S3(endpoint=line.endpoint, timeout_seconds=5)
        _, world = worlds(tmp_path, root, server.s3, over)
        land(world.store, portions()[0])
        for _ in range(2):
            plan_arrivals(world.tables, world.sources, now=NOW, tick_seconds=0, state=tmp_path / "sweeps")
        seen = sweeps_under_way(tmp_path / "sweeps", ["photos"])
        line.upstream = None
        first.close()
        with pytest.raises(StoreUnavailable):
            plan_arrivals(world.tables, world.sources, now=NOW, tick_seconds=0, state=tmp_path / "sweeps")
        assert sweeps_under_way(tmp_path / "sweeps", ["photos"]) == seen
        again = stack.enter_context(run_seaweedfs(tmp_path / "server"))
        line.upstream = again.endpoint
        take_in(world, tmp_path / "sweeps")
        calm, _ = worlds(tmp_path, root, again.s3, over)
        take_in(calm, tmp_path / "calm-sweeps")
        assert rows(world.tables) == rows(calm.tables)
        assert len(world.items()) == 12 + 2
