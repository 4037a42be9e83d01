"""Sweeps of a long listing: how long a tick takes, how long a whole sweep, and how much memory.

The long listing is generated in this process, a page at a time, each page as late as `latency_ms` says; what is
measured is everything else: comparing with the inventory, keeping the place, writing arrivals. A short listing comes
from a real SeaweedFS, and what a long one would take there is extrapolated from its keys per second, and named so.
Every listing is swept in a process of its own, a quarter of it first, so that the growth of memory shows.
"""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.registry import Benchmark, Rows
from flywheel.config import SourceConfig
from flywheel.objects import FolderStore, ObjectInfo, ObjectStore, Page, S3Store, Source
from flywheel.raw import plan_arrivals, sweeps_under_way
from flywheel.tables import Tables
from tests.servers import run_seaweedfs

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 1000
CHANGED = 100  # one key in so many changes between two sweeps


class GeneratedListing(FolderStore):
    """A listing of made-up keys like those of a fleet's bucket; nothing lies behind it."""

    def __init__(self, keys: int, latency: float):
        super().__init__(tempfile.gettempdir())
        self.keys, self.latency = keys, latency
        self.edition = 0  # raised when one key in a hundred is overwritten

    def pages(self, token: str | None = None) -> Iterator[Page]:
        for start in range(int(token or 0), self.keys, PAGE):
            time.sleep(self.latency)
            end = min(start + PAGE, self.keys)
            yield Page(tuple(self._info(n) for n in range(start, end)), str(end) if end < self.keys else None)

    def _info(self, n: int) -> ObjectInfo:
        key = f"site={n % 97:03d}/day={n // 5000 % 365:03d}/camera-{n % 11}/{n:09d}.jpg"
        edition = self.edition if n % CHANGED == 0 else 0
        return ObjectInfo(key, f"{n * 2654435761 % 2**64:016x}{edition:016x}", 100_000 + n % 1000, NOW)


def sweep(name: str, store: ObjectStore, tick_seconds: float, phases: tuple[str, ...]) -> Rows:
    """Sweep a listing in ticks, once a phase; `peak_mb` is that of the process up to then."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        tables, state = Tables(f"{folder}/tables"), Path(folder) / "sweeps"
        source = Source(SourceConfig(id="bench", root=name, manifest="manifest*"), store)
        for number, phase in enumerate(phases):
            if phase == "changed" and isinstance(store, GeneratedListing):
                store.edition += 1
            now = NOW + timedelta(hours=number + 1)
            ticks = list(_ticks(tables, source, now, tick_seconds, state))
            rows.append({"phase": phase, "ticks": len(ticks), "longest_tick_s": max(ticks), "seconds": sum(ticks)})
            rows[-1] |= {"objects": tables.read("objects").height, "peak_mb": _peak()}
    return rows


def _ticks(tables: Tables, source: Source, now: datetime, seconds: float, state: Path) -> Iterator[float]:
    """Tick until a sweep is complete; yield how long each took."""
    while True:
        started = time.perf_counter()
        plan_arrivals(tables, {"bench": source}, now=now, tick_seconds=seconds, state=state)
        yield time.perf_counter() - started
        if not sweeps_under_way(state, ["bench"]):
            return


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def sweep_generated(keys: int, latency_ms: int, tick_seconds: int) -> Rows:
    """Sweep a generated listing: all new, then nothing new, then one key in a hundred overwritten."""
    base = _peak()
    rows = sweep(
        "generated", GeneratedListing(keys, latency_ms / 1000), tick_seconds, ("first", "unchanged", "changed")
    )
    return [{"listing": "generated", "keys": keys, **row, "base_mb": base} for row in rows]


def sweep_stored(keys: int, tick_seconds: int) -> Rows:
    """Write small objects to a real server and sweep them."""
    base = _peak()
    with tempfile.TemporaryDirectory() as folder, run_seaweedfs(Path(folder) / "server") as server:
        root = server.new_root()
        store = S3Store(root, server.s3)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: store.write(f"day={n // 1000:03d}/{n:09d}.txt", b"x"), range(keys)))
        rows = sweep(root, store, tick_seconds, ("first", "unchanged"))
    return [{"listing": "seaweedfs", "keys": keys, **row, "base_mb": base} for row in rows]


def run(keys: int, stored: int, latency_ms: int, tick_seconds: int) -> Rows:
    """Sweep a quarter of the generated listing, all of it, and the stored objects."""
    jobs: list[tuple[Any, ...]] = [
        (sweep_generated, keys // 4, latency_ms, tick_seconds),
        (sweep_generated, keys, latency_ms, tick_seconds),
        (sweep_stored, stored, tick_seconds),
    ]
    rows: Rows = []
    for job in jobs:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows += pool.submit(*job).result()
    return rows


def figures(rows: Rows) -> dict[str, Any]:
    """Pick the longest tick, a first and an unchanged sweep of all keys, and how memory grows with them."""
    keys = max(row["keys"] for row in rows)
    whole = {row["phase"]: row for row in rows if row["listing"] == "generated" and row["keys"] == keys}
    quarter = [row for row in rows if row["listing"] == "generated" and row["keys"] < keys]
    stored = next(row for row in rows if row["listing"] == "seaweedfs" and row["phase"] == "unchanged")
    rate = stored["keys"] / stored["seconds"]
    return {
        "keys": keys,
        "longest_tick_s": round(max(row["longest_tick_s"] for row in whole.values()), 2),
        "full_sweep_s": round(whole["first"]["seconds"], 2),
        "unchanged_sweep_s": round(whole["unchanged"]["seconds"], 2),
        "changed_sweep_s": round(whole["changed"]["seconds"], 2),
        "peak_mb": max(row["peak_mb"] for row in whole.values()),
        "peak_mb_of_a_quarter": max(row["peak_mb"] for row in quarter),
        "seaweedfs_keys": stored["keys"],
        "seaweedfs_keys_per_s": round(rate),
        "seaweedfs_sweep_s_extrapolated": round(keys / rate, 1),
    }


BENCHMARK = Benchmark(
    name="sweep",
    summary="a tick and a whole sweep of a long listing",
    run=run,
    sizes={"keys": 1_000_000, "stored": 20_000, "latency_ms": 50, "tick_seconds": 30},
    figures=figures,
    quick={"latency_ms": 5, "stored": 5_000},
)
