"""What became of one object or item: reads every table that speaks of it, writes none.

Versions of an object stand in `objects`, what each became in `items` and `quarantine`, what was said about its
contents in `annotation_events` and `labels`, and which turns used it in `batches`, `training_sets` and `predictions`.
"""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from flywheel.errors import DataError
from flywheel.raw.arrivals import NUMBER
from flywheel.raw.erased import PLACEHOLDER, read_erased
from flywheel.tables import Tables

Row = dict[str, Any]

ITEM_ID = re.compile(r"[0-9a-f]{32}")
NEAR = 5  # keys that are suggested for one that was never seen
COMPARED = 20_000  # keys that are compared letter by letter at most
TOLD = ("content_id", "status", "split", "subject_id", "modality", "attributes", "license", "provenance")


@dataclass(frozen=True)
class Found:
    """What a key or an item id means: its rows in `objects`, `items` and `quarantine`, every version of them."""

    objects: pl.DataFrame
    items: pl.DataFrame
    quarantine: pl.DataFrame


@dataclass(frozen=True)
class ItemHistory:
    """One item: what stood for it, oldest first, what was said about its contents, and where it was used."""

    item_id: str
    source: str
    key: str
    part: str
    versions: tuple[Row, ...]  # each with `changed`: column -> (before, now)
    events: tuple[Row, ...]
    labels: tuple[Row, ...]
    turns: tuple[Row, ...]


@dataclass(frozen=True)
class History:
    """Everything known about one object or item, oldest first."""

    objects: tuple[Row, ...]
    items: tuple[ItemHistory, ...]
    refusals: tuple[Row, ...]

    def as_json(self) -> Row:
        """Return plain values."""
        return asdict(self)


def find_rows(tables: Tables, target: str, source: str | None = None) -> Found:
    """Return what `target` means: a key, `key#part` for a row of a table file, or an item id.

    Args:
        source: only look in this source; by default in all.

    Raises:
        DataError: nothing of that name was ever seen; the message names keys that are like it.
    """
    wanted = [pl.col("source") == source] if source else []
    items = _matching(tables.scan("items").filter(*wanted), target)
    if ITEM_ID.fullmatch(target) and items.height:
        key, part = items["key"][0], items["part"][0]
        wanted.append(pl.col("source") == items["source"][0])
    else:
        key, part = _split(target, items)
    named = pl.col("key") == key
    objects = tables.scan("objects").filter(*wanted, named).collect().sort("source", NUMBER)
    refused = tables.scan("quarantine").filter(*wanted, named | (pl.col("part") == key)).collect()
    if part:
        refused = refused.filter(pl.col("part") == part)
    if objects.is_empty() and items.is_empty() and refused.is_empty():
        raise _unknown(tables, target, source)
    return Found(objects, items.sort("source", "key", "part", NUMBER), refused.sort("source", NUMBER, "part"))


def read_history(tables: Tables, target: str, source: str | None = None) -> History:
    """Return the history of a key or an item id; see `find_rows`. Linear in the tables it reads; no vectors are."""
    found = find_rows(tables, target, source)
    ids: list[str] = found.items["item_id"].unique(maintain_order=True).to_list()
    contents: list[str] = found.items["content_id"].unique().to_list()
    said = {
        "events": _rows(tables, "annotation_events", pl.col("content_id").is_in(contents), "at", "event_id"),
        "labels": _rows(tables, "labels", pl.col("content_id").is_in(contents), "turn", "field"),
        "turns": _uses(tables, ids, contents),
    }
    items = tuple(_item(found.items.filter(pl.col("item_id") == item), said) for item in ids)
    return History(_plain(found.objects), items, _plain(found.quarantine))


def _matching(items: pl.LazyFrame, target: str) -> pl.DataFrame:
    key, _, part = target.rpartition("#")
    row = (pl.col("key") == key) & (pl.col("part") == part)
    return items.filter((pl.col("item_id") == target) | (pl.col("key") == target) | row).collect()


def _split(target: str, items: pl.DataFrame) -> tuple[str, str]:
    """Tell key and part apart; a key may hold a "#" itself."""
    key, mark, part = target.rpartition("#")
    whole = items.is_empty() or (items["key"] == target).any()
    return (target, "") if whole or not mark else (key, part)


def _unknown(tables: Tables, target: str, source: str | None) -> DataError:
    scope = [pl.col("source") == source] if source else []
    objects = tables.scan("objects").filter(*scope).select("source", "key").unique().collect()
    erased, (key, _, part) = read_erased(tables), target.rpartition("#")
    if any(erased.has_datum(name, target, "") or erased.has_datum(name, key, part) for name in set(objects["source"])):
        return DataError(
            f"'{target}' was erased for good; the proof is among the wheel's files, in erasures/", (target,)
        )
    keys = objects["key"].filter(~objects["key"].str.contains(PLACEHOLDER)).unique()
    name = target.rpartition("/")[2]
    likely = keys.filter(keys.str.ends_with(name) | keys.str.contains(name, literal=True))
    near = difflib.get_close_matches(target, likely.head(COMPARED).to_list(), NEAR, 0.0)
    near = near or difflib.get_close_matches(target, keys.sort().head(COMPARED).to_list(), NEAR)
    like = f"; did you mean {', '.join(near)}?" if near else "; give a key as its source lists it, or an item id"
    where = f"source '{source}'" if source else "any source"
    return DataError(f"'{target}' was never seen in {where}{like}", (target,))


def _item(rows: pl.DataFrame, said: dict[str, list[Row]]) -> ItemHistory:
    first = rows.row(0, named=True)
    contents = set(rows["content_id"])
    return ItemHistory(
        item_id=first["item_id"],
        source=first["source"],
        key=first["key"],
        part=first["part"],
        versions=tuple(_versions(rows.sort(NUMBER).iter_rows(named=True))),
        events=tuple(row for row in said["events"] if row["content_id"] in contents),
        labels=tuple(row for row in said["labels"] if row["content_id"] in contents),
        turns=tuple(row for row in said["turns"] if row["content_id"] in contents),
    )


def _versions(rows: Iterable[Row]) -> Iterable[Row]:
    """Yield an item's rows with what each changed about the one before."""
    before: Row | None = None
    for row in rows:
        old: Row = before or row
        changed: dict[str, tuple[Any, Any]] = {name: (old[name], row[name]) for name in TOLD if old[name] != row[name]}
        if "attributes" in changed:
            changed |= _changed_attributes(*changed.pop("attributes"))
        yield {**row, "attributes": json.loads(row["attributes"] or "{}"), "changed": changed}
        before = row


def _changed_attributes(old: str, new: str) -> dict[str, tuple[Any, Any]]:
    before: Row = json.loads(old or "{}")
    now: Row = json.loads(new or "{}")
    names = sorted(before.keys() | now.keys())
    return {f"attr.{name}": (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def _uses(tables: Tables, ids: Sequence[str], contents: Sequence[str]) -> list[Row]:
    """Return what turns did with the contents: chosen, trained, evaluated, predicted."""
    ours = pl.col("content_id").is_in(contents)
    chosen = tables.scan("batches").filter(pl.col("item_id").is_in(ids)).collect()
    taught = tables.scan("training_sets").filter(ours).collect()
    answered = tables.scan("predictions").filter(ours).collect()
    rows = [
        *(_use("chosen", row, arm=row["arm"], why=row["reason"] or row["strategy"]) for row in _plain(chosen)),
        *(_use(_role(row["split"]), row, arm=row["arm"], why=row["label"]) for row in _plain(taught)),
        *(_use("predicted", row, arm=row["arm"], why=_answer(row)) for row in _plain(answered)),
    ]
    steps = ("chosen", "trained", "evaluated", "predicted")
    return sorted(rows, key=lambda row: (row["turn"], steps.index(row["use"]), row["arm"], row["content_id"]))


def _use(use: str, row: Row, *, arm: str, why: str) -> Row:
    return {"turn": row["turn"], "use": use, "arm": arm, "why": why, "content_id": row["content_id"]}


def _role(split: str) -> str:
    return "evaluated" if split == "eval" else "trained"


def _answer(row: Row) -> str:
    return f"{row['predicted']} ({row['confidence']:.2f}) by {row['model_id']}"


def _rows(tables: Tables, table: str, condition: pl.Expr, *order: str) -> list[Row]:
    return tables.scan(table).filter(condition).collect().sort(*order).to_dicts()


def _plain(rows: pl.DataFrame) -> tuple[Row, ...]:
    return tuple(rows.to_dicts())
