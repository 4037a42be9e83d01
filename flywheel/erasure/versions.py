"""Old table versions: removes them from tables that held what is erased, and looks at every file that is left.

A Delta table keeps the files of its old versions, and a log whose entries tell each file's smallest and largest value.
"""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from flywheel.erasure.rows import condition, list_condition, mentions
from flywheel.objects import ObjectStore
from flywheel.tables import Tables

if TYPE_CHECKING:
    from flywheel.erasure.plan import Plan

LOG = "_delta_log"
STATISTIC = 32  # characters of a text that a log entry keeps at most
_NUMBERED = re.compile(r"(\d{20})\.")


def remove_versions(tables: Tables, folder: ObjectStore, table: str) -> int:
    """Remove all versions of a table but the newest, with their log entries; return its number.

    Linear in the number of files. Killed and repeated it goes on: files first, then the log before a checkpoint.
    """
    version = tables.forget_versions(table)
    for info in list(folder.list(f"{table}/{LOG}/")):
        name = info.key.rpartition("/")[2]
        numbered = _NUMBERED.match(name)
        if (numbered and int(numbered[1]) < version) or name.endswith(".tmp"):
            folder.delete(info.key)
    return version


def find_traces(tables: Tables, folder: ObjectStore, table: str, plan: "Plan") -> list[str]:
    """Return the files under a table's folder, data and log, live and dead, that show what is erased.

    Data files are read column by column without vectors and judged as the table itself is; of log files every text
    in them is compared.
    """
    names = _names(tables, plan)
    found: list[str] = []
    for info in list(folder.list(f"{table}/")):
        inside = info.key.removeprefix(f"{table}/")
        if inside.startswith(f"{LOG}/"):
            hit = any(text in names for text in _log_texts(folder.read(info.key), inside))
        else:
            hit = inside.endswith(".parquet") and _shows(tables.scan_file(info.key), plan)
        if hit:
            found.append(info.key)
    return found


def _shows(rows: pl.LazyFrame, plan: "Plan") -> bool:
    schema = rows.collect_schema()
    texts = [name for name, kind in schema.items() if kind == pl.String]
    lists = [name for name, kind in schema.items() if kind == pl.List(pl.String)]
    ids = [*plan.items, *plan.contents]
    anywhere = pl.any_horizontal(
        pl.lit(value=False), *(pl.col(name).is_in(ids).fill_null(value=False) for name in texts)
    )
    hits = rows.filter(condition(list(schema), plan) | list_condition(lists, plan) | anywhere)
    if hits.select(pl.len()).collect().item():
        return True
    if not {"source", "message"} <= set(schema):
        return False
    return mentions(rows.select(texts).collect(), plan).height > 0


def _names(tables: Tables, plan: "Plan") -> set[str]:
    """Ids and names that a log must not show; names that live rows of other sources have too are let be."""
    keys = {key for _, key in plan.objects}
    still = tables.scan("objects").filter(pl.col("key").is_in(list(keys))).select(pl.col("key").unique()).collect()
    names = {*plan.items, *plan.contents, *(keys - set(still["key"]))}
    if plan.subject is not None and not plan.source:
        names.add(plan.subject)
    return names | {name[:STATISTIC] for name in names if len(name) > STATISTIC}


def _log_texts(content: bytes, name: str) -> Iterator[str]:
    if name.endswith(".parquet"):
        for row in pl.read_parquet(content).iter_rows(named=True):
            yield from _texts(row)
        return
    for line in content.decode("utf-8", "replace").splitlines():
        yield from _texts(line)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text inside a value, those inside JSON texts included."""
    if isinstance(value, dict):
        for name, inner in cast(dict[str, Any], value).items():
            yield from _texts(name)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in cast(list[Any], value):
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
        if value[:1] in ("{", "["):
            try:
                parsed = json.loads(value)
            except ValueError:
                return
            yield from _texts(parsed)
