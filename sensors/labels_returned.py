"""labels_returned: a vendor answered a whole job, so the turn goes on: annotations, labels, training, evaluation."""

import dagster as dg
import polars as pl

from assets.labeling import annotations
from assets.modeling import model, model_eval, training_set
from assets.quality import label_quality
from flywheel.config import WheelConfig
from flywheel.errors import VendorBusy
from flywheel.feedback import Waiting, open_turns, waiting_for
from flywheel.identity import digest_of_ids
from flywheel.objects import Source
from flywheel.tables import Tables
from flywheel.turns import turn_key
from flywheel.vendors import AnnotationVendor, collect_answers
from sensors.common import default_status, missing_partitions, pace

TARGET = dg.AssetSelection.assets(annotations, label_quality, training_set, model, model_eval)


@dg.sensor(
    target=TARGET,
    minimum_interval_seconds=pace(60),
    default_status=default_status(),
    description="All answers to a turn's job are back, so the turn goes on to its evaluation.",
)
def labels_returned(
    context: dg.SensorEvaluationContext,
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    sources: dg.ResourceParam[dict[str, Source]],
    annotation_vendor: dg.ResourceParam[AnnotationVendor],
) -> dg.SensorResult:
    progress = [_look(turn, wheel, tables, sources, annotation_vendor) for turn in open_turns(tables)]
    ready = [turn for turn, state, _ in progress if state is Waiting.training]
    if not ready:
        waits = "; ".join(words for _, state, words in progress if state is Waiting.answers)
        return dg.SensorResult(skip_reason=waits or "no job is at the vendor", cursor=context.cursor)
    requests = [dg.RunRequest(run_key=run_key(tables, turn), partition_key=turn_key(turn)) for turn in ready]
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=missing_partitions(context, [turn_key(turn) for turn in ready]),
        cursor=requests[-1].run_key,
    )


def run_key(tables: Tables, turn: int) -> str:
    """Name the run after the answers it is for."""
    jobs = tables.read("jobs", turn=turn)["job_id"].to_list()
    events = tables.scan("annotation_events").filter(pl.col("origin").is_in(jobs)).select("event_id").collect()
    return f"{turn_key(turn)}:answers:{digest_of_ids(events['event_id'].to_list(), *jobs)}"


def _look(
    turn: int, wheel: WheelConfig, tables: Tables, sources: dict[str, Source], vendor: AnnotationVendor
) -> tuple[int, Waiting, str]:
    """Ask the vendor about a turn that waits for answers, and take in those that are there."""
    state = waiting_for(tables, wheel, turn)
    if state is not Waiting.answers:
        return turn, state, ""
    try:
        report = collect_answers(tables, vendor, wheel, sources, turn)
    except VendorBusy as busy:
        return turn, state, f"turn {turn}: the vendor is busy, back in {busy.retry_after:.0f} s ({busy})"
    words = f"turn {turn}: {report.done} of {report.total} tasks are answered"
    return turn, waiting_for(tables, wheel, turn), words
