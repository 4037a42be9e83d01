"""What becomes of runs whose process was ended: Dagster starts its own again, the driver repeats its own."""

from pathlib import Path

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run

from assets.instance import driver_tags, open_instance
from tests.assets.tiny_wheel import build_wheel


def test_a_run_that_was_cut_off_is_started_again_but_not_one_that_failed_for_a_reason(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path / "wheel")
    with open_instance(wheel.config) as instance:
        run = dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.FAILURE)
        instance.add_run(run)
        assert auto_reexecution_should_retry_run(instance, run, RunFailureReason.UNEXPECTED_TERMINATION)
        assert auto_reexecution_should_retry_run(instance, run, RunFailureReason.RUN_EXCEPTION)
        assert not auto_reexecution_should_retry_run(instance, run, RunFailureReason.STEP_FAILURE)


def test_nobody_but_the_driver_repeats_the_drivers_runs(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path / "wheel")
    with open_instance(wheel.config) as instance:
        run = dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.FAILURE, tags=driver_tags(wheel.config))
        instance.add_run(run)
        assert not auto_reexecution_should_retry_run(instance, run, RunFailureReason.UNEXPECTED_TERMINATION)
