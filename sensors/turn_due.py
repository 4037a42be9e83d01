"""turn_due: enough is new, or a metric fell, so the wheel turns: a new turn is opened and its batch is prepared.

The way back from `model_eval` to the next `gap_report`. It goes as far as the batch; money waits for a person.
"""

from datetime import UTC, datetime

import dagster as dg

from assets.gaps import gap_report
from assets.labeling import labeling_batch
from flywheel.config import WheelConfig
from flywheel.feedback import Waiting, waiting_for
from flywheel.feedback import turn_due as decide
from flywheel.tables import Tables
from flywheel.turns import latest_turn, open_turn, read_turn, turn_key
from sensors.common import default_status, missing_partitions, pace

TARGET = dg.AssetSelection.assets(gap_report, labeling_batch)


@dg.sensor(
    target=TARGET,
    minimum_interval_seconds=pace(60),
    default_status=default_status(),
    description="Enough new data, drift, or a fallen metric makes a turn due; every start and refusal says why.",
)
def turn_due(
    context: dg.SensorEvaluationContext, wheel: dg.ResourceParam[WheelConfig], tables: dg.ResourceParam[Tables]
) -> dg.SensorResult:
    newest = latest_turn(tables)
    if newest is None or waiting_for(tables, wheel, newest) is not Waiting.batch:
        decision = decide(tables, wheel, datetime.now(UTC))
        if not decision.start:
            return dg.SensorResult(skip_reason=decision.reason, cursor=context.cursor)
        newest = 0 if newest is None else newest + 1
        open_turn(tables, newest, trigger=decision.trigger, reason=decision.reason, budget=wheel.budget.money_per_turn)
    return _request(context, tables, newest)


def _request(context: dg.SensorEvaluationContext, tables: Tables, turn: int) -> dg.SensorResult:
    """Ask for the turn's first half; a turn that was opened by a tick that died is asked for by the next one."""
    key, row = turn_key(turn), read_turn(tables, turn)
    run_key = f"{key}:batch:{row.opened_at.isoformat()}"
    if context.cursor == run_key:
        return dg.SensorResult(skip_reason=f"{key} is open and its batch was asked for", cursor=run_key)
    context.log.info("%s starts: %s", key, row.reason)
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=run_key, partition_key=key, tags={"flywheel/trigger": row.trigger})],
        dynamic_partitions_requests=missing_partitions(context, [key]),
        cursor=run_key,
    )
