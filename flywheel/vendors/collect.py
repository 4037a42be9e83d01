"""annotations: reads `jobs`, `batches` and the vendor; writes `annotation_events` of the job, and the job's state.

The event log is append-only: an event that stands stays as it is. What changed at the vendor since we last looked
becomes a new event whose `parent` is the event it follows: an edit, or a reject where the answer was withdrawn.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from flywheel.config import WheelConfig
from flywheel.errors import DataError
from flywheel.identity import digest
from flywheel.objects import Source
from flywheel.records import SCHEMAS
from flywheel.tables import Tables
from flywheel.vendors.answers import usable_answers
from flywheel.vendors.jobs import build_job, order_id, task_uid
from flywheel.vendors.protocol import AnnotationVendor, Answer, Answers, Job, JobStatus, Refusal, Task

log = logging.getLogger("flywheel.vendors")

Event = dict[str, Any]


@dataclass(frozen=True)
class CollectReport:
    """What came back from a turn's job."""

    turn: int
    job_id: str  # "" where the turn ordered nothing
    state: str  # none | submitted | returned
    done: int  # tasks with all their votes
    total: int
    answers: int  # usable answers that stand at the vendor
    new_events: int
    refused: tuple[Refusal, ...]


def collect_answers(
    tables: Tables, vendor: AnnotationVendor, config: WheelConfig, sources: Mapping[str, Source], turn: int
) -> CollectReport:
    """Bring the answers to a turn's job into `annotation_events`; with nothing new, nothing is written.

    Args:
        sources: not read; given by every caller of a station.

    Raises:
        DataError: the job was ordered for another batch or under another label spec, or was never handed over.
        VendorBusy: come back later.
    """
    jobs = tables.read("jobs", turn=turn)
    if jobs.is_empty():
        return CollectReport(turn, "", "none", 0, 0, 0, 0, ())
    row = jobs.row(0, named=True)
    job = ordered_job(tables, config, row)
    status = vendor.status(job, row["native_id"])
    answers = vendor.fetch(job, row["native_id"])
    usable = usable_answers(job, answers, answers.refused)
    new = _append_events(tables, vendor, job, usable, price=config.vendor.price)
    if status.complete and row["state"] != "returned":
        row |= {"state": "returned", "updated_at": datetime.now(UTC)}
        tables.replace("jobs", pl.DataFrame([row], schema=SCHEMAS["jobs"]), turn=turn)
    for refusal in usable.refused:
        log.warning("job %s: refused an answer at %s: %s", job.job_id, refusal.where, refusal.reason)
    return CollectReport(turn, job.job_id, row["state"], status.done, status.total, len(usable), new, usable.refused)


def job_status(tables: Tables, vendor: AnnotationVendor, config: WheelConfig, turn: int) -> JobStatus | None:
    """Ask the vendor how far a turn's job is; None where the turn has handed nothing over.

    Raises:
        DataError: the job was ordered for another batch or under another label spec.
        VendorBusy: come back later.
    """
    jobs = tables.read("jobs", turn=turn).filter(pl.col("state") != "intent")
    if jobs.is_empty():
        return None
    row = jobs.row(0, named=True)
    return vendor.status(ordered_job(tables, config, row), row["native_id"])


def ordered_job(tables: Tables, config: WheelConfig, row: Mapping[str, Any]) -> Job:
    """Return the job of a row of `jobs`, rebuilt from its batch without bytes: enough to ask its vendor about it.

    Raises:
        DataError: it was ordered for another batch or label spec than stand now, or was never handed over.
    """
    batch = tables.read("batches", turn=row["turn"])
    if row["job_id"] != order_id(tables, config, row["turn"], batch):
        raise DataError(
            f"job {row['job_id']} of turn {row['turn']} was ordered for another batch or label spec than stand now; "
            "restore them to collect its answers",
            (row["job_id"],),
        )
    if row["state"] == "intent":
        raise DataError(f"job {row['job_id']} was never handed over; submit it again first", (row["job_id"],))
    asked = batch.unique("item_id").sort("item_id").select("item_id", "content_id")
    tasks = (Task(task_uid(row["job_id"], item), item, content, b"", "") for item, content in asked.iter_rows())
    return build_job(config, row["job_id"], row["votes"], tasks)


def _append_events(tables: Tables, vendor: AnnotationVendor, job: Job, answers: Answers, *, price: float) -> int:
    """Add an event for everything that changed since the events that stand; return how many."""
    stored = tables.read("annotation_events", origin=job.job_id)
    tips = _tips(stored)
    asked = {task.uid: task for task in job.tasks}
    new = [event for answer in answers if (event := _event(job, vendor, answer, asked, tips, price))]
    if vendor.capabilities.withdrawals:
        standing = {answer.annotation_uid for answer in answers}
        gone = (tip for uid, tip in tips.items() if uid not in standing and tip["action"] != "reject")
        new += [_withdrawn(tip, vendor) for tip in gone]
    if new:
        rows = pl.concat([stored, pl.DataFrame(new, schema=SCHEMAS["annotation_events"])])
        tables.replace("annotation_events", rows.sort("event_id"), origin=job.job_id)
    return len(new)


def _tips(events: pl.DataFrame) -> dict[str, Event]:
    """Return the last event of each annotation: the one that no other event follows."""
    followed = set(events["parent"])
    in_order = events.sort("at", "event_id").iter_rows(named=True)
    return {event["annotation_uid"]: event for event in in_order if event["event_id"] not in followed}


def _event(
    job: Job,
    vendor: AnnotationVendor,
    answer: Answer,
    asked: Mapping[str, Task],
    tips: Mapping[str, Event],
    price: float,
) -> Event | None:
    """Return the event that takes an answer from what stands to what the vendor says; None where nothing changed."""
    tip = tips.get(answer.annotation_uid) or tips.get(answer.parent)
    if tip and tip["annotation_uid"] == answer.annotation_uid and not _changed(tip, answer, vendor):
        return None
    task = asked[answer.task_uid]
    action, parent = ("edit", tip["event_id"]) if tip else ("create", "")
    return {
        "event_id": _event_id(answer.annotation_uid, action, answer.value, parent),
        "annotation_uid": answer.annotation_uid,
        "item_id": task.item_id,
        "content_id": task.content_id,
        "field": job.spec.field,
        "spec_version": job.spec.version,
        "value": answer.value,
        "action": action,
        "source": "simulated" if vendor.simulated else "human",
        "author": answer.author,
        "parent": parent,
        "seconds": answer.seconds,
        "cost": price if action == "create" else 0.0,
        "native_id": answer.native_id,
        "at": answer.at,
        "origin": job.job_id,
    }


def _changed(tip: Event, answer: Answer, vendor: AnnotationVendor) -> bool:
    """Whether the vendor says something else than what stands. An answer that somebody rejected stays rejected until
    it is changed; one that the vendor took back and gave again counts again."""
    returned = tip["action"] == "reject" and tip["author"] == _withdrawer(vendor)
    return returned or tip["value"] != answer.value


def _withdrawn(tip: Event, vendor: AnnotationVendor) -> Event:
    """Return the event that takes an answer out because it no longer stands at the vendor."""
    return tip | {
        "event_id": _event_id(tip["annotation_uid"], "reject", tip["value"], tip["event_id"]),
        "action": "reject",
        "author": _withdrawer(vendor),
        "parent": tip["event_id"],
        "seconds": 0.0,
        "cost": 0.0,
        "at": datetime.now(UTC),
    }


def _withdrawer(vendor: AnnotationVendor) -> str:
    return f"{vendor.name}:unknown"


def _event_id(annotation_uid: str, action: str, value: str, parent: str) -> str:
    return digest("event", annotation_uid, action, value, parent)
