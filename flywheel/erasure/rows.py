"""Which rows of which tables speak of what is erased, told by their columns, and the tables without them.

Every table of `records.SCHEMAS` is walked, so that one added later is covered as long as its columns are named alike.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from flywheel.raw.erased import placeholder
from flywheel.records import PARTITION, SCHEMAS, TEXTS
from flywheel.tables import Tables

if TYPE_CHECKING:
    from flywheel.erasure.plan import Plan

PARALLEL = {("neighbors", "ids"): "similarities"}  # lists whose places belong together
MENTIONS = ("message", "part")  # where a row about another object may name an erased one
_ENDS = r"(?<![\w./-]){}(?![\w/-])"


def condition(columns: Sequence[str], plan: "Plan", table: str = "") -> pl.Expr:
    """Return which rows with these columns go."""
    tests: list[pl.Expr] = [pl.lit(value=False)]
    if "item_id" in columns:
        tests.append(pl.col("item_id").is_in(plan.items))
    if "content_id" in columns:
        tests.append(pl.col("content_id").is_in(plan.contents))
    if "cluster_id" in columns and "content_id" not in columns:
        tests.append(pl.col("cluster_id").is_in(plan.clusters))
    if {"source", "key"} <= set(columns):
        tests += _named(columns, plan)
    if "message" in columns:
        tests.append(pl.col("message").is_in(plan.messages))
    if "subject_id" in columns and plan.subject is not None:
        mine = pl.col("subject_id") == plan.subject
        tests.append(mine & (pl.col("source") == plan.source) if plan.source else mine)
    return pl.any_horizontal(test.fill_null(value=False) for test in tests)


def list_condition(columns: Sequence[str], plan: "Plan") -> pl.Expr:
    """Return which rows have a list of ids that loses some."""
    gone = [*plan.items, *plan.contents]
    tests = [pl.col(name).list.eval(pl.element().is_in(gone)).list.any() for name in columns]
    return pl.any_horizontal(pl.lit(value=False), *(test.fill_null(value=False) for test in tests))


def affected(tables: Tables, table: str, plan: "Plan") -> tuple[int, int]:
    """Return how many rows of a table go, and how many others have lists that change."""
    going, changing = condition(list(SCHEMAS[table]), plan), list_condition(_lists(table), plan)
    counted = tables.scan(table).select(gone=going.sum(), changed=(changing & ~going).sum()).collect()
    return int(counted["gone"][0] or 0), int(counted["changed"][0] or 0)


def remove_rows(tables: Tables, table: str, plan: "Plan") -> None:
    """Rewrite the partitions that hold rows of the plan without them, one at a time; others are not touched."""
    going, changing = condition(list(SCHEMAS[table]), plan), list_condition(_lists(table), plan)
    column = PARTITION[table]
    parts = tables.scan(table).filter(going | changing).select(pl.col(column).unique()).collect()
    for value in parts[column].sort().to_list():
        rows = tables.read(table, None, **{column: value})
        left = rows.filter(~going & ~changing)
        left = pl.concat([left, _without_ids(table, rows.filter(~going & changing), plan)])
        if table == "objects":
            left = pl.concat([left, _placeholders(rows.filter(going), plan)])
        tables.rewrite(table, left, **{column: value})


def orphan_clusters(tables: Tables, contents: Sequence[str]) -> list[str]:
    """Return the clusters that hold nothing but these contents: their centers are their contents' own."""
    ours = pl.col("content_id").is_in(list(contents))
    sizes = tables.scan("clusters").group_by("cluster_id").agg(left=(~ours).sum(), ours=ours.sum())
    return sizes.filter(pl.col("left") == 0, pl.col("ours") > 0).collect()["cluster_id"].sort().to_list()


def mentions(rows: pl.DataFrame, plan: "Plan") -> pl.DataFrame:
    """Return the rows of a frame with source and key that name an erased object of their source in words."""
    keys = [key for _, key in plan.objects]
    texts = [name for name in MENTIONS if name in rows.columns]
    if not keys or not texts or "source" not in rows.columns:
        return rows.clear()
    likely = rows.filter(
        pl.any_horizontal(pl.col(name).str.contains_any(keys).fill_null(value=False) for name in texts)
    )
    named = {source: [key for other, key in plan.objects if other == source] for source, _ in plan.objects}
    hits = [
        any(re.search(_ENDS.format(re.escape(key)), row[name] or "") for key in named.get(row["source"], ()))
        for row in likely.iter_rows(named=True)
        for name in texts
    ]
    wide = [any(hits[at : at + len(texts)]) for at in range(0, len(hits), len(texts))]
    return likely.filter(pl.Series(wide, dtype=pl.Boolean))


def _placeholders(rows: pl.DataFrame, plan: "Plan") -> pl.DataFrame:
    """Return rows of objects that tell nothing but that something was there: arrivals are counted by their rows."""
    keys = [placeholder(plan.salt, *name) for name in rows.select("source", "key").iter_rows()]
    return rows.with_columns(
        key=pl.Series(keys, dtype=pl.String),
        version=pl.lit(""),
        size=pl.lit(0, pl.Int64),
        modified_at=pl.lit(datetime.fromisoformat(plan.started_at), rows.schema["modified_at"]),
        state=pl.lit("deleted"),
    )


def _named(columns: Sequence[str], plan: "Plan") -> list[pl.Expr]:
    """Tests by source and key; rows about a missing object name it as their part."""
    tests = [pl.struct("source", "key").is_in(_pairs(plan.objects, ("source", "key")))]
    if "part" in columns:
        tests.append(pl.struct("source", "key", "part").is_in(_pairs(plan.parts, ("source", "key", "part"))))
        tests.append(pl.struct("source", "part").is_in(_pairs(plan.objects, ("source", "part"))))
    return tests


def _pairs(names: Sequence[Sequence[str]], fields: Sequence[str]) -> pl.Series:
    schema = pl.Struct(dict.fromkeys(fields, pl.String))
    return pl.Series([dict(zip(fields, name, strict=True)) for name in names], dtype=schema).implode()


def _lists(table: str) -> list[str]:
    return [name for name, kind in SCHEMAS[table].items() if kind == TEXTS]


def _without_ids(table: str, rows: pl.DataFrame, plan: "Plan") -> pl.DataFrame:
    gone = {*plan.items, *plan.contents}
    for name in _lists(table):
        beside = PARALLEL.get((table, name))
        stays = [[one not in gone for one in ids or ()] for ids in rows[name].to_list()]
        for column in filter(None, (name, beside)):
            kept = [
                None if values is None else [value for value, keep in zip(values, flags, strict=True) if keep]
                for values, flags in zip(rows[column].to_list(), stays, strict=True)
            ]
            rows = rows.with_columns(pl.Series(column, kept, dtype=rows.schema[column]))
    return rows
