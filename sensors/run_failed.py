"""run_failed: a run failed, and somebody should know: one line in the alerts file."""

from datetime import UTC, datetime

import dagster as dg

from flywheel.config import load_config
from flywheel.feedback import alerts_path, write_alert
from sensors.common import default_status, pace


def build_run_failed(config_path: str) -> dg.SensorDefinition:
    """Return the sensor that writes alerts for the wheel configured in `config_path`."""

    @dg.run_failure_sensor(
        name="run_failed",
        description="A run failed: one line is added to the alerts file.",
        default_status=default_status(),
        minimum_interval_seconds=pace(30),
    )
    def run_failed(context: dg.RunFailureSensorContext) -> None:
        write_alert(
            alerts_path(load_config(config_path)),
            run_id=context.dagster_run.run_id,
            job=context.dagster_run.job_name,
            message=context.failure_event.message or "no message",
            at=datetime.now(UTC),
        )

    return run_failed
