"""Runs one step of a benchmark in a process of its own, so that imports count and peak memory is that of the step."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def run_step(module: str, *arguments: object) -> dict[str, Any]:
    """Run `python -m MODULE ARGUMENTS…` and return what it printed, as JSON, with what it used.

    `cpu_seconds` (user and system, imports included), `seconds` and `peak_mb` (resident memory) are added.
    """
    command = [sys.executable, "-m", module, *(str(one) for one in arguments)]
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, cwd=Path(__file__).parents[1])
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        output.seek(0)
        printed = output.read().decode("utf-8")
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {child.returncode}:\n{printed}")
    found: dict[str, Any] = json.loads(printed.strip().rpartition("\n")[2])
    used_cpu = {"cpu_seconds": round(used.ru_utime + used.ru_stime, 3)}
    return {**found, **used_cpu, "seconds": round(seconds, 3), "peak_mb": round(used.ru_maxrss / 1024, 1)}
