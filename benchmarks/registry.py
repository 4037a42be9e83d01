"""Which benchmarks there are, and what every result carries with it."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

Sizes = Mapping[str, int]
Rows = list[dict[str, Any]]

PACKAGES = ("numpy", "polars", "torch", "faiss-cpu", "deltalake", "scikit-learn", "pillow", "simplejpeg", "boto3")


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: `run` takes sizes as keywords and returns one flat row per measurement.

    `figures` picks from the rows what the benchmark is about; `quick` are the sizes of `--quick`. Where these cut
    more than repeats, `quick_gates` is off and the figures say that they decide nothing.
    """

    name: str
    summary: str
    run: Callable[..., Rows]
    sizes: Sizes = field(default_factory=dict)  # every size, with its default
    figures: Callable[[Rows], dict[str, Any]] | None = None
    quick: Sizes = field(default_factory=dict)
    quick_gates: bool = True


def measure(benchmark: Benchmark, sizes: Sizes) -> dict[str, Any]:
    """Run a benchmark and return its rows with everything needed to read them later."""
    started = time.perf_counter()
    rows = benchmark.run(**sizes)
    return {
        "benchmark": benchmark.name,
        "sizes": dict(sizes),
        "rows": rows,
        "seconds": round(time.perf_counter() - started, 3),
        "machine": machine(),
        "commit": commit(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def summary(benchmark: Benchmark, rows: Rows, quick: bool) -> dict[str, Any]:
    """Return the benchmark's figures, with its name in front."""
    figures = benchmark.figures(rows) if benchmark.figures else {}
    cut = {"gate": False} if quick and not benchmark.quick_gates else {}
    return {"name": benchmark.name, **figures, **cut}


def machine() -> dict[str, Any]:
    """What the numbers were measured on, and how busy it was."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": sys.version.split()[0],
        "system": platform.platform(),
    }


def commit() -> str:
    """The commit that was measured, marked where the tree differs from it; "unknown" outside a checkout."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
