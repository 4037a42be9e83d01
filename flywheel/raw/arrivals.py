"""Arrivals by name, and the inventory: what was seen of each source.

Reads `objects`. The inventory is a table because no cursor string holds a million keys.
"""

from collections.abc import Sequence

import polars as pl

from flywheel.errors import DataError
from flywheel.tables import Tables

PREFIX = "arrival-"
NUMBER = pl.col("arrival").str.strip_prefix(PREFIX).cast(pl.Int64)  # orders arrivals; names are for people


def arrival_name(number: int) -> str:
    """Name the n-th arrival, from 1."""
    return f"{PREFIX}{number:05d}"


def arrival_number(name: str) -> int:
    """Read the number off an arrival's name.

    Raises:
        DataError: it is no arrival's name.
    """
    digits = name.removeprefix(PREFIX)
    if not name.startswith(PREFIX) or not digits.isdecimal():
        raise DataError(f"'{name}' is no arrival; expected a name like '{arrival_name(1)}'", (name,))
    return int(digits)


def count_arrivals(tables: Tables) -> int:
    """Return how many arrivals there are; they are numbered from 1 without holes."""
    return tables.scan("objects").select(pl.col("arrival").n_unique()).collect().item()


def inventory(objects: pl.DataFrame) -> pl.DataFrame:
    """Return the latest row of each object, sorted by source and key."""
    latest = objects.sort(NUMBER).unique(["source", "key"], keep="last", maintain_order=True)
    return latest.sort("source", "key")


def known_objects(
    tables: Tables, source: str, keys: pl.Series | None = None, columns: Sequence[str] = ()
) -> pl.DataFrame:
    """Return what is known of each object of a source, of all of them or of these keys, in any order.

    Columns: `key`, `version`, `size` (bytes), `active` (whether it was there), `number` (of the arrival that said so
    last) and those asked for. About 120 bytes an object, and some times that while it is read.
    """
    rows = tables.scan("objects").filter(pl.col("source") == source)
    if keys is not None:
        rows = rows.filter(pl.col("key").is_in(keys.implode()))
    always = ["key", "version", "size", (pl.col("state") == "active").alias("active"), NUMBER.alias("number")]
    return rows.select(*always, *columns).sort("number").unique("key", keep="last").collect()
