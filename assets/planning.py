"""Plans arrivals, one planner at a time: two at once could give one name to different groups of objects."""

from collections.abc import Mapping
from datetime import UTC, datetime

from filelock import FileLock, Timeout

from flywheel.config import WheelConfig
from flywheel.errors import ConfigError
from flywheel.objects import Source
from flywheel.raw import plan_arrivals
from flywheel.tables import Tables

PATIENCE = 40.0  # seconds; a sensor's look must be over in 60


def plan(tables: Tables, sources: Mapping[str, Source], config: WheelConfig) -> list[str]:
    """Compare the sources with the tables, as the wheel's triggers say; return all arrivals, oldest first.

    The lock holds for this machine. Let one machine plan a wheel.

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
            )
    except Timeout:
        raise ConfigError(f"another process is still comparing the sources (it holds {lock.lock_file})") from None
