"""Schema drift: how the columns of an arrival differ from what the source brought before, column by column.

Reads `items`. Columns are the attributes of the items of one source and modality, and their size in bytes.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.raw.arrivals import NUMBER, arrival_number
from flywheel.raw.attributes import spread_attributes
from flywheel.raw.markdown import markdown_table
from flywheel.tables import Tables

log = logging.getLogger("flywheel.raw")

MOST_ROWS = 20_000  # drawn of each side
FEWEST = 30  # rows of each side from which shares are compared
MOST_CATEGORIES = 50  # distinct values up to which a text column holds categories
BINS = 10
SHIFTED = 0.2  # population stability index from which a distribution counts as shifted (0.1 to 0.25 is usual)
SURE = 1e-4  # chance that so large an index comes about although nothing changed
MISSED = 0.05  # difference of the shares of missing values that counts
LISTED = 5


@dataclass(frozen=True)
class Change:
    """One way in which one column differs."""

    column: str
    kind: (
        str  # new column, vanished column, other type, missing values, new range, new values, vanished values, shifted
    )
    before: str
    now: str
    evidence: str


@dataclass(frozen=True)
class SourceDrift:
    """The changes of one source's items of one modality."""

    source: str
    modality: str
    rows: int  # in the arrival
    before: int  # rows they are compared with; 0 where there were none
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class DriftReport:
    """How one arrival differs from what came before it."""

    arrival: str
    parts: tuple[SourceDrift, ...]

    @property
    def changes(self) -> int:
        """How many changes there are; 0 means that the schema is stable."""
        return sum(len(part.changes) for part in self.parts)

    @property
    def markdown(self) -> str:
        """The changes as a Markdown table."""
        if not self.changes:
            return "*(as before)*" if any(part.before for part in self.parts) else "*(nothing came before)*"
        header = ("source", "items", "column", "change", "before", "now", "evidence")
        rows = (
            [part.source, part.modality, one.column, one.kind, one.before, one.now, one.evidence]
            for part in self.parts
            for one in part.changes
        )
        return markdown_table(header, rows)


def report_drift(tables: Tables, arrival: str, *, most: int = MOST_ROWS) -> DriftReport:
    """Compare the active items of an arrival with those that its sources brought before.

    What came before is what the latest earlier arrivals brought, as many of them as make up `most` items: one small
    arrival is no measure. The first arrival of a source has nothing to compare with.

    Args:
        tables: the wheel's tables.
        arrival: the arrival's name.
        most: items drawn of each side, always the same ones.

    Raises:
        DataError: it is no arrival's name.
    """
    number = arrival_number(arrival)
    active = tables.scan("items").filter(pl.col("status") == "active")
    own = active.filter(pl.col("arrival") == arrival)
    sizes = own.group_by("source", "modality").len("rows").sort("source", "modality").collect()
    parts = [_part(active, number, source, modality, rows, most) for source, modality, rows in sizes.iter_rows()]
    report = DriftReport(arrival, tuple(parts))
    log.info("%s: %d changes of the schema", arrival, report.changes)
    return report


def compare_schemas(before: pl.DataFrame, now: pl.DataFrame) -> list[Change]:
    """Return how the columns of two frames differ, by column name.

    Columns without any value count as not there. Shares are compared from 30 rows on each side. Missing values: the
    shares differ by 0.05 and by four standard errors. Categories: a text or yes-or-no column with at most 50 values;
    one vanished if its absence would be an accident less often than once in 10,000. Numbers and categories have
    shifted if the population stability index over ten quantile bins (or the categories) is at least 0.2 and, as n m /
    (n + m) times the index is about chi-squared (Yurdakul 2018), above what 9,999 of 10,000 unchanged columns have.
    """
    old, new = (_with_values(frame) for frame in (before, now))
    changes: list[Change] = []
    for name in sorted({*old, *new}):
        if name not in old:
            changes.append(Change(name, "new column", "", _type(new[name]), _given(new[name])))
        elif name not in new:
            changes.append(Change(name, "vanished column", _type(old[name]), "", _given(old[name])))
        elif _type(old[name]) != _type(new[name]):
            changes.append(Change(name, "other type", _type(old[name]), _type(new[name]), _samples(new[name])))
        elif min(before.height, now.height) >= FEWEST:
            changes += _compared(name, old[name], new[name])
    return changes


def stability_index(before: NDArray[np.int64], now: NDArray[np.int64]) -> tuple[float, float]:
    """Return the population stability index of two histograms over the same bins, and its p-value.

    Args:
        before: (b,) counts. now: (b,) counts. Half a count is added to each bin, so that an empty one is no infinity.

    Returns:
        the index, 0 for the same shares and larger the more they differ, and the chance of one as large by accident.
    """
    n, m = float(before.sum()), float(now.sum())
    p = (before + 0.5) / (n + 0.5 * before.size)
    q = (now + 0.5) / (m + 0.5 * now.size)
    index = float(((p - q) * np.log(p / q)).sum())
    from scipy.special import chdtrc  # the upper tail of chi-square; scipy takes longer to load than most steps take

    return index, float(chdtrc(max(1, before.size - 1), index * n * m / (n + m)))


def _part(active: pl.LazyFrame, number: int, source: str, modality: str, rows: int, most: int) -> SourceDrift:
    mine = active.filter(pl.col("source") == source, pl.col("modality") == modality)
    earlier = mine.filter(number > NUMBER).group_by("arrival").len("rows").sort(NUMBER, descending=True).collect()
    enough = earlier.filter(earlier["rows"].cum_sum() - earlier["rows"] < most)
    if enough.is_empty():
        return SourceDrift(source, modality, rows, 0, ())
    before = _columns(mine.filter(pl.col("arrival").is_in(enough["arrival"].to_list())), most)
    now = _columns(mine.filter(number == NUMBER), most)
    return SourceDrift(source, modality, rows, int(enough["rows"].sum()), tuple(compare_schemas(before, now)))


def _columns(items: pl.LazyFrame, most: int) -> pl.DataFrame:
    drawn = items.select("item_id", "size", "attributes").bottom_k(most, by="item_id").collect()
    attributes = spread_attributes(drawn["attributes"])
    if "size" in attributes.columns:
        return attributes
    return drawn.select(pl.col("size").cast(pl.Float64)).hstack(attributes)


def _with_values(frame: pl.DataFrame) -> dict[str, pl.Series]:
    return {column.name: column for column in frame if column.null_count() < column.len()}


def _compared(name: str, old: pl.Series, new: pl.Series) -> list[Change]:
    changes = _missing(name, old, new)
    old, new = old.drop_nulls(), new.drop_nulls()
    if min(old.len(), new.len()) < FEWEST:
        return changes
    if old.dtype.is_numeric():
        return changes + _numbers(name, old.to_numpy(), new.to_numpy())
    if old.cast(pl.String).n_unique() <= MOST_CATEGORIES:
        return changes + _categories(name, old.cast(pl.String), new.cast(pl.String))
    return changes


def _missing(name: str, old: pl.Series, new: pl.Series) -> list[Change]:
    p, q = old.null_count() / old.len(), new.null_count() / new.len()
    pooled = (old.null_count() + new.null_count()) / (old.len() + new.len())
    error = math.sqrt(pooled * (1 - pooled) * (1 / old.len() + 1 / new.len()))
    if abs(p - q) < MISSED or abs(p - q) < 4 * error:
        return []
    return [Change(name, "missing values", f"{p:.1%}", f"{q:.1%}", f"of {old.len():,} and {new.len():,} rows")]


def _numbers(name: str, old: NDArray[Any], new: NDArray[Any]) -> list[Change]:
    edges = np.unique(np.quantile(old, np.linspace(0, 1, BINS + 1)[1:-1]))
    index, chance = stability_index(_histogram(old, edges), _histogram(new, edges))
    changes: list[Change] = []
    if index >= SHIFTED and chance < SURE:
        told = f"stability index {index:.2f}, at least {SHIFTED} is a shift"
        changes.append(Change(name, "shifted", f"median {np.median(old):.4g}", f"median {np.median(new):.4g}", told))
    low, high = float(old.min()), float(old.max())
    outside = int(((new < low) | (new > high)).sum())
    by_accident = 2 * new.size / (old.size + 1)
    if outside > 5 + 10 * by_accident:
        span = f"{new.min():.4g} to {new.max():.4g}"
        told = f"{outside:,} of {new.size:,} values lie outside of the range before"
        changes.append(Change(name, "new range", f"{low:.4g} to {high:.4g}", span, told))
    return changes


def _histogram(values: NDArray[Any], edges: NDArray[Any]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=edges.size + 1)


def _categories(name: str, old: pl.Series, new: pl.Series) -> list[Change]:
    before, now = _counts(old), _counts(new)
    changes: list[Change] = []
    if added := [value for value in now if value not in before]:
        many = f"{sum(now[value] for value in added):,} of {new.len():,} rows"
        changes.append(Change(name, "new values", _many(before), _list(added), many))
    gone = [value for value in before if value not in now and _surely(before[value] / old.len(), new.len())]
    if gone:
        share = sum(before[value] for value in gone) / old.len()
        told = f"{share:.1%} of the rows before"
        changes.append(Change(name, "vanished values", _list(gone), _many(now), told))
    known = [*before, *added[:MOST_CATEGORIES]]
    index, chance = stability_index(*(np.array([side.get(value, 0) for value in known]) for side in (before, now)))
    if index >= SHIFTED and chance < SURE and not added and not gone:
        told = f"stability index {index:.2f}, at least {SHIFTED} is a shift"
        changes.append(Change(name, "shifted", _largest(before), _largest(now), told))
    return changes


def _many(counts: dict[str, int]) -> str:
    return f"{len(counts)} value{'' if len(counts) == 1 else 's'}"


def _surely(share: float, rows: int) -> bool:
    """Whether a value of this share would have been among so many rows but for an accident."""
    return (1 - share) ** rows < SURE


def _counts(column: pl.Series) -> dict[str, int]:
    counted = column.alias("value").value_counts(name="rows").sort(["rows", "value"], descending=[True, False])
    return dict(counted.iter_rows())


def _largest(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{_short(value)} {count / total:.1%}" for value, count in list(counts.items())[:LISTED])


def _list(values: Sequence[str]) -> str:
    more = f" and {len(values) - LISTED} more" if len(values) > LISTED else ""
    return ", ".join(_short(value) for value in values[:LISTED]) + more


def _short(value: str) -> str:
    return value if len(value) <= 40 else value[:39] + "…"


def _type(column: pl.Series) -> str:
    if column.dtype.is_numeric():
        return "numbers"
    return "yes or no" if column.dtype == pl.Boolean else "text"


def _given(column: pl.Series) -> str:
    return f"{1 - column.null_count() / column.len():.1%} of {column.len():,} rows have it: {_samples(column)}"


def _samples(column: pl.Series) -> str:
    return "such as " + _list([str(value) for value in column.drop_nulls().unique(maintain_order=True).head(3)])
