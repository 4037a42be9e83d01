"""Plans arrivals as the wheel's triggers say."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from flywheel.config import WheelConfig
from flywheel.objects import Source
from flywheel.raw import one_planner, plan_arrivals
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
    with one_planner(config.cache, PATIENCE):
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
