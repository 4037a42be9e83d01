"""The Dagster instance the wheel is turned with in this process: its history is what `flywheel dev` shows later."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from filelock import FileLock, Timeout

from flywheel.config import WheelConfig
from flywheel.errors import ConfigError

SETTINGS = Path(__file__).resolve().parent.parent / ".dagster" / "dagster.yaml"
DRIVER = "flywheel/driver"  # tag of the runs that were started here: the wheel's cache folder
# What steps print stays on this process's own output; capturing it takes two processes per step.
IN_PROCESS: Any = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}
UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def dagster_home(config: WheelConfig) -> Path:
    """Return where the wheel's Dagster history lies: DAGSTER_HOME, or `dagster` in the wheel's cache.

    One wheel, one home: partitions of two wheels have the same names.
    """
    home = os.environ.get("DAGSTER_HOME")
    return Path(home) if home else config.cache / "dagster"


@contextlib.contextmanager
def open_instance(config: WheelConfig) -> Iterator[dg.DagsterInstance]:
    """Open the wheel's instance for one driver at a time; runs that a killed driver left behind are marked as failed.

    Raises:
        ConfigError: another process turns this wheel.
    """
    home = dagster_home(config)
    home.mkdir(parents=True, exist_ok=True)
    config.cache.mkdir(parents=True, exist_ok=True)
    if not (home / SETTINGS.name).exists():
        shutil.copyfile(SETTINGS, home / SETTINGS.name)
    lock = FileLock(config.cache / "driver.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"another process turns this wheel (it holds {lock.lock_file}); wait until it is done"
        ) from None
    try:
        with dg.DagsterInstance.local_temp(str(home), overrides=IN_PROCESS) as instance:
            _bury(instance, config)
            yield instance
    finally:
        lock.release()


def driver_tags(config: WheelConfig) -> dict[str, str]:
    """Return the tags of runs started by this wheel's driver: it repeats what was cut off, so no daemon shall."""
    return {DRIVER: str(config.cache), "dagster/max_retries": "0"}


def _bury(instance: dg.DagsterInstance, config: WheelConfig) -> None:
    """A killed process leaves its run 'in progress' for ever, and automation waits for what is in progress."""
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED, tags={DRIVER: str(config.cache)})):
        instance.report_run_failed(run, "the process that ran it was killed; the next one repeated its work")
    _free_pools(instance)


def _free_pools(instance: dg.DagsterInstance) -> None:
    """A run that was killed within a pool keeps its slot, and the next step in that pool would wait for ever."""
    storage = instance.event_log_storage
    for run_id in storage.get_concurrency_run_ids():
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            storage.free_concurrency_slots_for_run(run_id)
