"""What the sensors share: whether they run by themselves, and how a turn's run is asked for."""

import os

import dagster as dg

from assets.partitions import turns

SWITCH = "FLYWHEEL_SENSORS"  # "on" (as `flywheel dev` sets it): sensors run as soon as Dagster does


def default_status() -> dg.DefaultSensorStatus:
    """Return whether sensors start by themselves: only where the environment says so."""
    on = os.environ.get(SWITCH, "").lower() == "on"
    return dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED


def missing_partitions(
    context: dg.SensorEvaluationContext, wanted: list[str], partitions: dg.DynamicPartitionsDefinition = turns
) -> list[dg.AddDynamicPartitionsRequest]:
    """Return the request that adds those of `wanted` which Dagster does not know yet; none if it knows all."""
    known = set(context.instance.get_dynamic_partitions(str(partitions.name)))
    absent = [key for key in wanted if key not in known]
    return [partitions.build_add_request(absent)] if absent else []
