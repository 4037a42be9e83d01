"""Erasure: removes an item, an object or a subject for good. Retiring is the rule, this is the exception.

Reads and writes every table, the index, the wheel's files and caches. First a plan and the digests that keep the names
out are written, then rows go, then old versions, then everything else, then every file is looked at, and the proof
is written. Killed at any moment, the same call finishes what was begun: each step finds by itself what is left to do.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from flywheel.config import WheelConfig
from flywheel.erasure.places import forget_alerts, forget_copies, forget_files, forget_tasks, forget_vectors
from flywheel.erasure.plan import Plan as Plan
from flywheel.erasure.plan import forget_plan, is_about, plan_erasure, read_plans, write_plan
from flywheel.erasure.proof import Proof as Proof
from flywheel.erasure.proof import out_of_reach, write_proof
from flywheel.erasure.rows import remove_rows
from flywheel.erasure.versions import find_traces, remove_versions
from flywheel.errors import DataError
from flywheel.index import VectorIndex
from flywheel.objects import ObjectStore
from flywheel.records import SCHEMAS
from flywheel.tables import Tables
from flywheel.turns import repin_open_turns

log = logging.getLogger("flywheel.erasure")


@dataclass(frozen=True)
class Wheel:
    """Where what is erased may lie."""

    config: WheelConfig
    tables: Tables
    table_files: ObjectStore  # the files under the tables' root
    files: ObjectStore  # the wheel's own
    index: VectorIndex  # not entered


def prepare_erasure(
    wheel: Wheel,
    target: str,
    *,
    source: str | None = None,
    subject: bool = False,
    author: str,
    reason: str,
    now: datetime,
) -> Plan:
    """Return what an erasure would remove, or the plan of the one that was begun and cut off. Writes nothing.

    Args:
        target: a key, `key#part`, an item id, or with `subject` a subject's id.
        source: only in this source; by default in all.

    Raises:
        DataError: nothing of that name was ever seen, or it is a manifest.
    """
    for begun in read_plans(wheel.files):
        if is_about(begun, target, source, subject=subject):
            return begun
    return plan_erasure(
        wheel.tables,
        wheel.config,
        target,
        source=source,
        subject=subject,
        author=author,
        reason=reason,
        started_at=now.isoformat(),
    )


def erase(wheel: Wheel, plan: Plan, *, now: datetime) -> Proof:
    """Remove everything of a plan, look whether it is gone, and write the proof.

    Nothing else may write to the wheel meanwhile: the caller holds its locks. Linear in the tables it touches; one
    partition of a table is in memory at a time.

    Raises:
        DataError: something is left, or the plan of another erasure that was cut off has to be finished first.
    """
    tables = wheel.tables
    others = [begun.erasure_id for begun in read_plans(wheel.files) if begun.erasure_id != plan.erasure_id]
    if others:
        raise DataError(f"erasure {others[0]} was cut off; finish it first, with the words it was begun with")
    write_plan(wheel.files, plan)
    _remember(tables, plan, "begun")
    _move_approvals(tables, plan)
    _note(wheel, plan, "tasks", forget_tasks(tables, wheel.config, plan))
    for table in SCHEMAS:
        remove_rows(tables, table, plan)
    versions = _remove_old(wheel, plan)
    turns = repin_open_turns(tables)
    _note(wheel, plan, "vectors", forget_vectors(wheel.index, plan.items))
    _note(wheel, plan, "files", forget_files(wheel.files, plan))
    _note(wheel, plan, "files", forget_copies(wheel.config))
    _note(wheel, plan, "alerts", forget_alerts(wheel.config, plan))
    left = [path for table in SCHEMAS for path in _traces(wheel, table, plan)]
    proof = Proof(
        erasure_id=plan.erasure_id,
        kind=plan.kind,
        reason=plan.reason,
        author=plan.author,
        started_at=plan.started_at,
        finished_at=now.isoformat(),
        digests=[digest for _, digest in plan.digests],
        rows_removed=plan.counts,
        lists_changed=plan.lists,
        shared_contents_kept=plan.shared,
        versions_removed=versions,
        vectors_removed=plan.done["vectors"],
        files_removed=plan.done["files"],
        tasks_removed=plan.done["tasks"],
        alerts_removed=plan.done["alerts"],
        turns_pinned_anew=turns,
        left=left,
        verified=not left,
        out_of_reach=out_of_reach(plan, server=wheel.config.index.kind == "server"),
        beyond=plan.beyond,
    )
    where = write_proof(wheel.files, proof)
    if left:
        raise DataError(f"{len(left)} files still show what was to be erased, see {where}; run the same again", ())
    _remember(tables, plan, "done")
    forget_plan(wheel.files, plan)
    return proof


def _note(wheel: Wheel, plan: Plan, what: str, removed: Any) -> None:
    """Add to what was removed so far, for the proof of an erasure that takes several calls."""
    plan.done[what] = plan.done.get(what, type(removed)()) + removed
    write_plan(wheel.files, plan)


def _remember(tables: Tables, plan: Plan, state: str) -> None:
    """Write the digests that keep the names out."""
    orders = json.dumps([row for row in plan.batches if row["job_id"]])
    common: Mapping[str, Any] = {
        "erasure_id": plan.erasure_id,
        "salt": plan.salt,
        "state": state,
        "reason": plan.reason,
        "author": plan.author,
        "erased_at": datetime.fromisoformat(plan.started_at),
        "orders": orders,
    }
    rows = [{**common, "kind": kind, "digest": digest} for kind, digest in plan.digests]
    tables.replace("erasures", pl.DataFrame(rows, schema=SCHEMAS["erasures"]), erasure_id=plan.erasure_id)


def _move_approvals(tables: Tables, plan: Plan) -> None:
    """Let a person's word about a batch hold for what is left of it."""
    for batch in plan.batches:
        rows = tables.read("approvals", turn=batch["turn"])
        moved = rows.with_columns(pl.col("batch_id").replace({batch["old"]: batch["batch_id"]}))
        tables.replace("approvals", moved, turn=batch["turn"])


def _remove_old(wheel: Wheel, plan: Plan) -> dict[str, int]:
    """Remove the old versions of every table that held something, or whose older versions did."""
    versions: dict[str, int] = {}
    for table in SCHEMAS:
        if table in plan.counts or table in plan.lists or _traces(wheel, table, plan):
            versions[table] = remove_versions(wheel.tables, wheel.table_files, table)
            log.info("%s: only version %d is left", table, versions[table])
    return versions


def _traces(wheel: Wheel, table: str, plan: Plan) -> list[str]:
    if wheel.tables.version(table) is None:
        return []
    return find_traces(wheel.tables, wheel.table_files, table, plan)
