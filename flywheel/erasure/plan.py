"""What an erasure is about: reads all tables, writes the plan that a killed erasure is finished by."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from flywheel.config import WheelConfig
from flywheel.erasure.rows import affected, mentions, orphan_clusters
from flywheel.errors import DataError
from flywheel.history import Found, find_rows
from flywheel.identity import digest
from flywheel.objects import ObjectStore
from flywheel.raw.erased import OBJECT, PART, SUBJECT, name_digest, new_salt, read_erased
from flywheel.raw.patterns import is_manifest
from flywheel.records import SCHEMAS
from flywheel.selection import batch_id
from flywheel.tables import Tables

FOLDER = "erasures"


@dataclass(frozen=True)
class Plan:
    """Everything an erasure needs to be finished; it holds names and ids in plain and is removed at the end."""

    erasure_id: str
    kind: str  # object | part | subject
    salt: str
    source: str | None
    subject: str | None
    reason: str
    author: str
    started_at: str  # ISO 8601
    items: list[str]
    contents: list[str]  # that no other item has
    shared: int  # contents that another item has too: they stay
    objects: list[list[str]]  # source, key: erased whole
    parts: list[list[str]]  # source, key, part: rows of table files
    clusters: list[str]  # that hold nothing else
    messages: list[str]  # of refusals that name an erased object
    counts: dict[str, int]  # table -> rows that go
    lists: dict[str, int]  # table -> rows whose lists of ids lose some
    batches: list[dict[str, Any]]  # turn, old and new batch_id, job_id of what was ordered ("" where nothing was)
    beyond: dict[str, Any] = field(default_factory=dict[str, Any])  # what erasing cannot reach
    done: dict[str, Any] = field(default_factory=dict[str, Any])  # what was removed beside the tables so far

    @property
    def digests(self) -> list[tuple[str, str]]:
        """Kind and digest of every name that must not come back."""
        names = [(OBJECT, *name) for name in self.objects] + [(PART, *name) for name in self.parts]
        if self.subject is not None:
            names.append((SUBJECT, self.source or "", self.subject))
        return [(kind, name_digest(self.salt, kind, *name)) for kind, *name in names]


def plan_erasure(
    tables: Tables,
    config: WheelConfig,
    target: str,
    *,
    source: str | None = None,
    subject: bool = False,
    author: str,
    reason: str,
    started_at: str,
) -> Plan:
    """Find everything the tables hold of a key, `key#part`, item id or subject. Writes nothing.

    Raises:
        DataError: nothing of that name was ever seen, or it is a manifest.
    """
    salt = read_erased(tables).salt or new_salt()
    found = _of_subject(tables, target, source) if subject else find_rows(tables, target, source)
    _refuse_manifests(config, found)
    whole = _objects(found, target)
    parts = _parts(found, whole)
    items: list[str] = found.items["item_id"].unique().sort().to_list()
    own, shared = _contents(tables, found, items)
    kind = SUBJECT if subject else OBJECT if whole else PART
    name = [source or "", target] if subject else [*sorted(whole or parts)[0]]
    draft = Plan(
        erasure_id=digest("erasure", salt, kind, *name)[:16],
        kind=kind,
        salt=salt,
        source=source,
        subject=target if subject else None,
        reason=reason,
        author=author,
        started_at=started_at,
        items=items,
        contents=own,
        shared=len(shared),
        objects=[list(pair) for pair in sorted(whole)],
        parts=[list(row) for row in sorted(parts)],
        clusters=orphan_clusters(tables, own),
        messages=[],
        counts={},
        lists={},
        batches=[],
    )
    draft = replace(draft, messages=sorted(set(mentions(tables.read("quarantine"), draft)["message"])))
    counted = {table: affected(tables, table, draft) for table in SCHEMAS}
    counts = {table: rows for table, (rows, _) in counted.items() if rows}
    lists = {table: rows for table, (_, rows) in counted.items() if rows}
    known = {"counts": counts, "lists": lists, "batches": _batches(tables, items)}
    return replace(draft, **known, beyond=_beyond(tables, items, [*own, *shared]))


def write_plan(files: ObjectStore, plan: Plan) -> None:
    """Keep the plan until the erasure is done."""
    files.write(_path(plan.erasure_id), json.dumps(asdict(plan), ensure_ascii=False).encode())


def read_plans(files: ObjectStore) -> list[Plan]:
    """Return the plans of erasures that were begun and not finished."""
    pending = sorted(info.key for info in files.list(f"{FOLDER}/") if info.key.endswith(".pending.json"))
    return [Plan(**json.loads(files.read(key))) for key in pending]


def forget_plan(files: ObjectStore, plan: Plan) -> None:
    """Remove the plan: the last thing an erasure does."""
    files.delete(_path(plan.erasure_id))


def is_about(plan: Plan, target: str, source: str | None, *, subject: bool) -> bool:
    """Whether an unfinished erasure is the one asked for by these words."""
    if source is not None and plan.source != source:
        return False
    if subject:
        return plan.subject == target
    if plan.subject is not None:
        return False
    keys = {key for _, key in plan.objects} | {f"{key}#{part}" for _, key, part in plan.parts}
    return target in keys or plan.items == [target]


def _path(erasure_id: str) -> str:
    return f"{FOLDER}/{erasure_id}.pending.json"


def _of_subject(tables: Tables, subject: str, source: str | None) -> Found:
    scope = [pl.col("source") == source] if source else []
    items = tables.scan("items").filter(*scope, pl.col("subject_id") == subject).collect()
    if items.is_empty() and read_erased(tables).has_datum(source or "", "", "", subject):
        raise DataError(f"subject '{subject}' was erased for good; the proof is among the wheel's files, in erasures/")
    if items.is_empty():
        where = f"source '{source}'" if source else "any source"
        raise DataError(f"no item of a subject '{subject}' was ever seen in {where}; give the id as the data has it")
    return Found(tables.scan("objects").head(0).collect(), items, tables.scan("quarantine").head(0).collect())


def _refuse_manifests(config: WheelConfig, found: Found) -> None:
    patterns = {source.id: source.manifest for source in config.sources}
    for source, key in found.objects.select("source", "key").unique().iter_rows():
        if is_manifest(patterns.get(source), key):
            raise DataError(
                f"{key} is a manifest: it describes items and is none. Erase the items it speaks of, and take their "
                "rows out of it in the source",
                (key,),
            )


def _objects(found: Found, target: str) -> set[tuple[str, str]]:
    """Objects that go as a whole: named themselves, or a file that is one item."""
    frames = (found.objects, found.items, found.quarantine)
    rows = {row for frame in frames for row in frame.select("source", "key").iter_rows()}
    single = set(found.items.filter(pl.col("part") == "").select("source", "key").iter_rows())
    return {row for row in rows if row in single or row[1] == target}


def _parts(found: Found, whole: set[tuple[str, str]]) -> set[tuple[str, str, str]]:
    rows = found.items.filter(pl.col("part") != "").select("source", "key", "part").iter_rows()
    return {row for row in rows if row[:2] not in whole}


def _contents(tables: Tables, found: Found, items: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the contents into those nobody else has, and those another item has or had too."""
    contents = {content for content in [*found.items["content_id"], *found.quarantine["content_id"]] if content}
    others = tables.scan("items").filter(~pl.col("item_id").is_in(items), pl.col("content_id").is_in(list(contents)))
    shared = set(others.select(pl.col("content_id").unique()).collect()["content_id"])
    return sorted(contents - shared), sorted(contents & shared)


def _batches(tables: Tables, items: Sequence[str]) -> list[dict[str, Any]]:
    """Say what the batches of turns become: an approval and an order hold for what is left of them."""
    touched = tables.scan("batches").filter(pl.col("item_id").is_in(items)).select(pl.col("turn").unique()).collect()
    rows: list[dict[str, Any]] = []
    for turn in sorted(touched["turn"].to_list()):
        batch = tables.read("batches", turn=turn)
        left = batch.filter(~pl.col("item_id").is_in(items))
        jobs = tables.read("jobs", turn=turn).filter(pl.col("state") != "intent")["job_id"].to_list()
        job = jobs[0] if jobs else ""
        rows.append({"turn": turn, "old": batch_id(batch), "batch_id": batch_id(left), "job_id": job})
    return rows


def _beyond(tables: Tables, items: Sequence[str], contents: Sequence[str]) -> dict[str, Any]:
    """Return what an erasure knows of and cannot reach."""
    ours = pl.col("content_id").is_in(contents) | pl.col("item_id").is_in(items)
    taught = tables.scan("training_sets").filter(ours).select("turn", "split").unique().collect()
    turns: list[int] = taught.filter(pl.col("split") == "train")["turn"].unique().sort().to_list()
    models = tables.scan("models").filter(pl.col("turn").is_in(turns)).collect().sort("turn", "arm")
    answers = tables.scan("annotation_events").filter(pl.col("item_id").is_in(items)).collect()
    given = answers.join(tables.read("jobs"), left_on="origin", right_on="job_id", suffix="_of_job")
    at_vendors: list[dict[str, Any]] = (
        given.group_by("vendor", "origin", "native_id_of_job").agg(pl.col("native_id").unique().sort()).to_dicts()
    )
    return {
        "models": models.select("turn", "arm", "model_id", "path").to_dicts(),
        "answers at vendors": sorted(at_vendors, key=lambda row: str(row["origin"])),
        "turns that evaluated with it": taught.filter(pl.col("split") == "eval")["turn"].unique().sort().to_list(),
    }
