"""batch_approved: a person said yes to a turn's batch (`flywheel approve`), so its job may be ordered.

The only way, in a running Dagster, to an order that costs money. An empty batch needs no approval and goes through.
"""

import dagster as dg

from assets.labeling import labeling_job
from flywheel.config import WheelConfig
from flywheel.feedback import Waiting, open_turns, waiting_for
from flywheel.selection import batch_id
from flywheel.tables import Tables
from flywheel.turns import turn_key
from sensors.common import default_status, missing_partitions, pace


@dg.sensor(
    target=dg.AssetSelection.assets(labeling_job),
    minimum_interval_seconds=pace(30),
    default_status=default_status(),
    description="A batch was approved, needs no approval, or is empty: its job can be ordered.",
)
def batch_approved(
    context: dg.SensorEvaluationContext, wheel: dg.ResourceParam[WheelConfig], tables: dg.ResourceParam[Tables]
) -> dg.SensorResult:
    states = {turn: waiting_for(tables, wheel, turn) for turn in open_turns(tables)}
    ready = [turn for turn, state in states.items() if state is Waiting.job]
    if not ready:
        unapproved = [str(turn) for turn, state in states.items() if state is Waiting.approval]
        reason = f"waiting for `flywheel approve` of turn {', '.join(unapproved)}" if unapproved else "no batch waits"
        return dg.SensorResult(skip_reason=reason, cursor=context.cursor)
    requests = [
        dg.RunRequest(run_key=f"{turn_key(turn)}:job:{_batch(tables, turn)}", partition_key=turn_key(turn))
        for turn in ready
    ]
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=missing_partitions(context, [turn_key(turn) for turn in ready]),
        cursor=requests[-1].run_key,
    )


def _batch(tables: Tables, turn: int) -> str:
    return batch_id(tables.read("batches", turn=turn))
