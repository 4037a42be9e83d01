"""Alerts: one JSON line per failed run, in a file that anything can follow."""

import json
import os
from datetime import datetime
from pathlib import Path

from flywheel.config import WheelConfig


def alerts_path(config: WheelConfig) -> Path:
    """Return the file alerts are written to: `triggers.alerts`, or `alerts.jsonl` in the wheel's cache."""
    return Path(config.triggers.alerts) if config.triggers.alerts else config.cache / "alerts.jsonl"


def write_alert(path: Path, *, run_id: str, job: str, message: str, at: datetime) -> bool:
    """Append one alert unless this run's stands there already; return whether it was written.

    A single `write` of one line: lines of writers at the same time do not mix.
    """
    if run_id in _known(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    start = "" if _ends_whole(path) else "\n"
    line = start + json.dumps({"run_id": run_id, "job": job, "message": message, "at": at.isoformat()}, sort_keys=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, (line + "\n").encode())
    finally:
        os.close(handle)
    return True


def _ends_whole(path: Path) -> bool:
    """Whether the file is empty or ends with a line's end; a writer that was killed may have left half a line."""
    return not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")


def _known(path: Path) -> set[str]:
    """The run ids of the file; a line cut short by a kill names none."""
    known: set[str] = set()
    if not path.exists():
        return known
    for line in path.read_text("utf-8").splitlines():
        try:
            known.add(json.loads(line)["run_id"])
        except (ValueError, KeyError, TypeError):
            continue
    return known
