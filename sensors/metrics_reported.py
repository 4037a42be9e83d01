"""metrics_reported: others measured the model in use; their reports become evaluations, which `turn_due` looks at."""

import dagster as dg

from assets.modeling import model_eval
from flywheel.config import WheelConfig
from flywheel.feedback import Taken, take_metrics
from flywheel.tables import Tables
from sensors.common import default_status, pace


@dg.sensor(
    minimum_interval_seconds=pace(60),
    default_status=default_status(),
    description="Reports landed in the inbox: good ones become evaluations, others are set aside with a reason.",
)
def metrics_reported(
    context: dg.SensorEvaluationContext, wheel: dg.ResourceParam[WheelConfig], tables: dg.ResourceParam[Tables]
) -> dg.SensorResult:
    inbox = wheel.triggers.inbox
    if not inbox:
        return dg.SensorResult(skip_reason="no inbox is configured (triggers.inbox)", cursor=context.cursor)
    taken = take_metrics(tables, inbox)
    if not taken.origins and not taken.refused:
        return dg.SensorResult(skip_reason=f"no report waits in {inbox}", cursor=context.cursor)
    for name, reason in taken.refused.items():
        context.log.warning("the report %s was set aside: %s", name, reason)
    return dg.SensorResult(
        skip_reason=None if taken.origins else f"{len(taken.refused)} reports were set aside, none could be used",
        asset_events=[_observation(taken)] if taken.origins else [],
        cursor=taken.origins[-1] if taken.origins else context.cursor,
    )


def _observation(taken: Taken) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key=model_eval.key,
        description="metrics were reported from outside",
        metadata={"reports": len(taken.origins), "set aside": len(taken.refused)},
    )
