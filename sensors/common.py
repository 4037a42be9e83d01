"""What the sensors share: whether they run by themselves, how often they look, how a turn's run is asked for."""

import os

import dagster as dg

from assets.partitions import turns
from flywheel.errors import ConfigError

SWITCH = "FLYWHEEL_SENSORS"  # "on" (as `flywheel dev` sets it): sensors run as soon as Dagster does
PACE = "FLYWHEEL_SENSOR_SECONDS"  # seconds between two looks of every sensor, instead of its own


def default_status() -> dg.DefaultSensorStatus:
    """Return whether sensors start by themselves: only where the environment says so."""
    on = os.environ.get(SWITCH, "").lower() == "on"
    return dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED


def pace(seconds: int) -> int:
    """Return how many seconds lie between two looks: `seconds`, unless the environment says otherwise.

    Raises:
        ConfigError: the environment does not say a whole number of at least one second.
    """
    asked = os.environ.get(PACE, "").strip() or str(seconds)
    if not asked.isdecimal() or int(asked) < 1:
        raise ConfigError(f"{PACE} must be a whole number of seconds, at least 1; found '{asked}'")
    return int(asked)


def missing_partitions(
    context: dg.SensorEvaluationContext, wanted: list[str], partitions: dg.DynamicPartitionsDefinition = turns
) -> list[dg.AddDynamicPartitionsRequest]:
    """Return the request that adds those of `wanted` which Dagster does not know yet; none if it knows all."""
    known = set(context.instance.get_dynamic_partitions(str(partitions.name)))
    absent = [key for key in wanted if key not in known]
    return [partitions.build_add_request(absent)] if absent else []
