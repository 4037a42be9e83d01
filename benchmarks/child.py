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

    `cpu_seconds` (user and system, imports included) and `seconds` are added.
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
    return {**found, "cpu_seconds": round(used.ru_utime + used.ru_stime, 3), "seconds": round(seconds, 3)}


def report(**found: object) -> None:
    """Print what a step found, with the peak of its resident memory in MB; its last act.

    The kernel's account of a child (`ru_maxrss`) would begin with what its parent held.
    """
    status = Path("/proc/self/status").read_text("utf-8")
    peak = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({**found, "peak_mb": round(peak, 1)}))
