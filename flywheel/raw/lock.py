"""One planner of arrivals at a time: two at once could give one name to different groups of objects."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flywheel.errors import ConfigError


@contextmanager
def one_planner(cache: Path, patience: float = 10.0) -> Generator[None]:
    """Hold the planner's lock. It holds for this machine: let one machine plan a wheel.

    Args:
        cache: the wheel's local folder.
        patience: seconds to wait for another planner.

    Raises:
        ConfigError: another process has been planning for too long.
    """
    cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / "arrivals.lock", timeout=patience)
    try:
        with lock:
            yield
    except Timeout:
        raise ConfigError(f"another process is still comparing the sources (it holds {lock.lock_file})") from None
