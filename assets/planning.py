"""Plans arrivals, one planner at a time: two at once could give one name to different groups of objects."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from flywheel.config import WheelConfig
from flywheel.errors import ConfigError
from flywheel.objects import Source
from flywheel.raw import plan_arrivals
from flywheel.tables import Tables

PATIENCE = 10.0  # seconds; a sensor's look must be over in 60, and it has more to do than to wait


def sweeps_folder(config: WheelConfig) -> Path:
    """Return where sweeps keep their place between two looks."""
    return config.cache / "sweeps"


def plan(tables: Tables, sources: Mapping[str, Source], config: WheelConfig, *, complete: bool = False) -> list[str]:
    """Compare the sources with the tables, as the wheel's triggers say; return all arrivals, oldest first.

    A look ends after `triggers.tick_seconds` and goes on where the last one stopped; a `complete` one begins anew,
    sees the whole of every source, and lets nothing wait for its window. The lock holds for this machine. Let one
    machine plan a wheel.

    Raises:
        ConfigError: another process has been planning for too long.
    """
    config.cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(config.cache / "arrivals.lock", timeout=PATIENCE)
    try:
        with lock:
            return plan_arrivals(
                tables,
                sources,
                now=datetime.now(UTC),
                settle_seconds=config.triggers.settle_seconds,
                max_objects=config.triggers.max_arrival_items,
                window_seconds=config.triggers.window_seconds,
                tick_seconds=None if complete else config.triggers.tick_seconds,
                state=None if complete else sweeps_folder(config),
            )
    except Timeout:
        raise ConfigError(f"another process is still comparing the sources (it holds {lock.lock_file})") from None
