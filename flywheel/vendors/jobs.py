"""labeling_job: reads `batches`, `approvals`, `items`; writes `jobs`. Nothing is paid twice.

The intent row is written, then the vendor is asked whether it knows our key, then it is ordered, then the answer row
is written. A crash anywhere in between is repaired by doing the same again: the key is derived from the batch.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from flywheel.config import WheelConfig
from flywheel.errors import BudgetExceeded, DataError, NotApproved
from flywheel.identity import digest
from flywheel.objects import Source
from flywheel.raw import current_items, read_contents
from flywheel.raw.erased import order_of
from flywheel.records import SCHEMAS
from flywheel.selection import batch_id, is_approved
from flywheel.tables import Tables
from flywheel.turns import turn_key
from flywheel.vendors.protocol import AnnotationVendor, Job, LabelSpec, Task

log = logging.getLogger("flywheel.vendors")


@dataclass(frozen=True)
class JobReport:
    """What became of a turn's batch."""

    turn: int
    job_id: str  # "" where the batch is empty
    state: str  # none | submitted | returned
    native_id: str
    tasks: int
    votes: int
    cost: float  # money
    created: bool  # whether this call ordered it
    left_out: int  # items of the batch that have changed or gone since they were chosen


def label_spec(config: WheelConfig) -> LabelSpec:
    """Return what the wheel asks about an item."""
    spec = config.label_spec
    return LabelSpec(spec.field, spec.version, spec.modality, spec.classes, spec.instructions)


def job_id(config: WheelConfig, turn: int, batch: pl.DataFrame) -> str:
    """Return the identity of the order of exactly this batch under this label spec; also its key at the vendor."""
    spec = config.label_spec
    return digest("job", config.name, turn_key(turn), batch_id(batch), spec.field, spec.version, *spec.classes)


def order_id(tables: Tables, config: WheelConfig, turn: int, batch: pl.DataFrame) -> str:
    """Return the identity of a turn's order: that of its batch, or of what the batch was before items were erased."""
    return order_of(tables, turn, batch_id(batch)) or job_id(config, turn, batch)


def task_uid(job_id: str, item_id: str) -> str:
    """Return our name of the question about one item in one job; it travels through the vendor and back."""
    return digest("task", job_id, item_id)


def submit_job(
    tables: Tables, sources: Mapping[str, Source], config: WheelConfig, vendor: AnnotationVendor, turn: int
) -> JobReport:
    """Order the labels of a turn's batch, once; an order that stands is found again and not paid again.

    Raises:
        NotApproved: nobody approved exactly this batch, and `budget.auto_approve` is off.
        BudgetExceeded: the order costs more than the turn may spend, or than may be open at once.
        DataError: the turn has already ordered another batch, or nothing of its batch can be read any more.
        VendorBusy: come back later; the intent stands.
        VendorError: the vendor refused it, and why.
    """
    batch = tables.read("batches", turn=turn)
    if batch.is_empty():
        return JobReport(turn, "", "none", "", 0, config.budget.votes, 0.0, created=False, left_out=0)
    key = order_id(tables, config, turn, batch)
    jobs = _jobs_beside(tables, vendor, turn, key)
    if jobs.height and jobs["state"].item() != "intent":
        return _report(jobs.row(0, named=True), batch, created=False)
    native_id = vendor.find(key)
    created = native_id is None
    row = jobs.row(0, named=True) if jobs.height else _row(config, vendor, turn, key)
    if native_id is None:
        _check_approval(tables, config, turn)
        job = _readable_job(tables, sources, config, batch, key)
        row |= _sizes(config, job)
        _check_money(tables, config, row)
        _write(tables, row)
        log.info("ordering %d tasks from '%s' for %.2f", row["tasks"], vendor.name, row["cost"])
        native_id = vendor.submit(job)
    elif jobs.is_empty():
        row |= _sizes(config, build_job(config, key, config.budget.votes, _tasks(job_tasks(tables, batch, key))))
    row |= {"state": "submitted", "native_id": native_id, "updated_at": datetime.now(UTC)}
    _write(tables, row)
    return _report(row, batch, created=created)


def job_tasks(tables: Tables, batch: pl.DataFrame, job_id: str) -> pl.DataFrame:
    """Return what a job asks: the batch's items with `uid`, `name`, `prelabel`; one row per content, by item_id.

    An item that several arms chose, and contents that are byte for byte the same, are asked and paid once; so is
    what an earlier turn has ordered (the control arm may draw an item that was chosen before). A pre-label is left
    out as soon as one arm withholds it. What has changed or gone since the choice is left out.
    """
    withheld = (pl.col("prelabel").fill_null("") == "").any().over("content_id")
    chosen = (
        batch.with_columns(
            prelabel=pl.when(withheld).then(pl.lit("")).otherwise(pl.col("prelabel")),
            prelabel_confidence=pl.when(withheld).then(0.0).otherwise(pl.col("prelabel_confidence").fill_null(0.0)),
        )
        .sort("item_id", "arm", "position")
        .unique("item_id", keep="first", maintain_order=True)
        .join(_ordered_before(tables, batch), on="content_id", how="anti")
    )
    standing = current_items(tables).select("item_id", "content_id", "source", "key", "part", "modality")
    tasks = chosen.select("item_id", "content_id", "prelabel", "prelabel_confidence").join(
        standing, on=["item_id", "content_id"], how="inner"
    )
    tasks = tasks.sort("item_id").unique("content_id", keep="first", maintain_order=True)
    uids = [task_uid(job_id, item_id) for item_id in tasks["item_id"]]
    part = pl.when(pl.col("part") == "").then(pl.lit("")).otherwise(pl.lit("#") + pl.col("part"))
    return tasks.with_columns(uid=pl.Series(uids, dtype=pl.String), name=pl.col("key") + part)


def _ordered_before(tables: Tables, batch: pl.DataFrame) -> pl.DataFrame:
    """Return the `content_id`s that turns before the batch's have ordered."""
    before = pl.col("turn") < batch["turn"].min()
    ordered = tables.scan("jobs").filter(before, pl.col("state") != "intent").select("turn").unique()
    return tables.scan("batches").join(ordered, on="turn", how="semi").select("content_id").unique().collect()


def build_job(config: WheelConfig, job_id: str, votes: int, tasks: Iterable[Task]) -> Job:
    """Return the job that asks `tasks`, under the wheel's label spec."""
    return Job(job_id, job_id, label_spec(config), votes, tuple(tasks))


def _tasks(rows: pl.DataFrame, contents: Mapping[str, bytes] | None = None) -> Iterator[Task]:
    """Yield tasks of `job_tasks`; those whose bytes `contents` lacks are left out, without `contents` none has any."""
    for row in rows.iter_rows(named=True):
        if contents is None or row["content_id"] in contents:
            yield Task(
                uid=row["uid"],
                item_id=row["item_id"],
                content_id=row["content_id"],
                data=(contents or {}).get(row["content_id"], b""),
                name=row["name"],
                prelabel=row["prelabel"],
                prelabel_confidence=row["prelabel_confidence"],
            )


def _readable_job(
    tables: Tables, sources: Mapping[str, Source], config: WheelConfig, batch: pl.DataFrame, key: str
) -> Job:
    """Return the job over what can still be read and shown to people.

    Raises:
        DataError: that is nothing.
    """
    tasks = job_tasks(tables, batch, key)
    items = current_items(tables).filter(pl.col("content_id").is_in(tasks["content_id"].to_list()))
    contents = {content.content_id: content.data for content in read_contents(sources, items)}
    if not contents:
        ids = tuple(batch["item_id"].unique().sort())
        raise DataError(f"none of the {len(ids)} chosen items can be read any more; are the sources in place?", ids)
    return build_job(config, key, config.budget.votes, _tasks(tasks, contents))


def _jobs_beside(tables: Tables, vendor: AnnotationVendor, turn: int, key: str) -> pl.DataFrame:
    """Return the row of this very job, if there is one; a turn orders once, so any other one must be void."""
    jobs = tables.read("jobs", turn=turn)
    for other in jobs.filter(pl.col("job_id") != key).iter_rows(named=True):
        if other["state"] != "intent" or vendor.find(other["idempotency_key"]) is not None:
            raise DataError(
                f"turn {turn} has already ordered another batch (job {other['job_id']}, {other['tasks']} tasks); "
                "a turn orders once: choose these items in the next turn",
                (other["job_id"],),
            )
    return jobs.filter(pl.col("job_id") == key)


def _check_approval(tables: Tables, config: WheelConfig, turn: int) -> None:
    if not config.budget.auto_approve and not is_approved(tables, turn):
        raise NotApproved(
            f"nobody approved the batch of turn {turn} as it stands; look at it, then run `flywheel approve {turn}`"
        )


def _check_money(tables: Tables, config: WheelConfig, row: Mapping[str, Any]) -> None:
    budget = config.budget
    if row["cost"] > budget.money_per_turn:
        raise BudgetExceeded(
            f"{row['tasks']} tasks x {row['votes']} votes cost {row['cost']:.2f}, but turn {row['turn']} may spend "
            f"{budget.money_per_turn:.2f}; lower labels_per_turn or votes, or raise budget.money_per_turn"
        )
    others = tables.read("jobs").filter(pl.col("job_id") != row["job_id"], pl.col("state") != "returned")
    open_money = float(others["cost"].sum())
    if open_money + row["cost"] > budget.open_money:
        raise BudgetExceeded(
            f"{open_money:.2f} are ordered and not yet returned; {row['cost']:.2f} more would exceed budget.open_money "
            f"({budget.open_money:.2f}); wait for labels to return, or raise it"
        )


def _row(config: WheelConfig, vendor: AnnotationVendor, turn: int, key: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "turn": turn,
        "job_id": key,
        "vendor": vendor.name,
        "idempotency_key": key,
        "state": "intent",
        "native_id": "",
        "created_at": now,
        "updated_at": now,
    }


def _sizes(config: WheelConfig, job: Job) -> dict[str, Any]:
    """Return what of a job's row follows from its tasks."""
    tasks = len(job.tasks)
    return {"tasks": tasks, "votes": job.votes, "cost": round(tasks * job.votes * config.vendor.price, 6)}


def _write(tables: Tables, row: Mapping[str, Any]) -> None:
    tables.replace("jobs", pl.DataFrame([row], schema=SCHEMAS["jobs"]), turn=row["turn"])


def _report(row: Mapping[str, Any], batch: pl.DataFrame, *, created: bool) -> JobReport:
    return JobReport(
        turn=row["turn"],
        job_id=row["job_id"],
        state=row["state"],
        native_id=row["native_id"],
        tasks=row["tasks"],
        votes=row["votes"],
        cost=row["cost"],
        created=created,
        left_out=batch["content_id"].n_unique() - row["tasks"],
    )
