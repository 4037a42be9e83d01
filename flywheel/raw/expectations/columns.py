"""The columns expectations speak of: what stands in `items`, the attributes, and what is measured on a sample."""

from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

import polars as pl

from flywheel.raw.attributes import spread_attributes

CORE = ("item_id", "source", "key", "part", "subject_id", "modality", "split", "size", "license")
MOST_ROWS = 5_000  # drawn for one judgement, besides the extremes
MOST_CATEGORIES = 50
DATES = 0.9  # share of a column's values that must read as dates for it to be one
HEX_DIGITS = 16  # of an item id that order the draw


@dataclass(frozen=True)
class Columns:
    """One scope's items as a frame, and which of its columns are no core columns of `items`."""

    frame: pl.DataFrame
    free: tuple[str, ...]  # attributes and measures, sorted

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Return the column of this name, or the attributes and measures that fit a pattern (*, ?, [])."""
        if pattern in self.frame.columns:
            return (pattern,)
        return tuple(name for name in self.free if fnmatchcase(name, pattern))


def spread_items(items: pl.DataFrame, *, now: datetime) -> Columns:
    """Return `items` rows with one column per attribute, and columns derived from them.

    An attribute named like a core column becomes `attributes.<name>`. Derived are `days_ahead`, by how many days the
    latest ISO date among an item's attributes lies after `now` (negative: before), where there are dates; and for
    pictures `shorter_side` (pixels), `aspect_ratio` (longer by shorter side, from 1) and `bytes_per_pixel`.
    """
    attributes = spread_attributes(items["attributes"])
    attributes = attributes.rename({name: f"attributes.{name}" for name in attributes.columns if name in CORE})
    frame = items.select(CORE).hstack(attributes)
    ahead = [_days_ahead(attributes[name], now) for name in attributes.columns if _holds_dates(attributes[name])]
    if ahead and "days_ahead" not in frame.columns:
        frame = frame.with_columns(days_ahead=pl.max_horizontal(ahead))
    if {"file.width", "file.height"} <= set(frame.columns):
        frame = frame.with_columns(**_shape())
    return Columns(frame, tuple(sorted(set(frame.columns) - set(CORE))))


def join_measures(columns: Columns, measures: pl.DataFrame) -> Columns:
    """Add what was measured on some of the items (column `item_id` and the measures); attributes come first."""
    known = ["item_id", *(name for name in measures.columns if name not in columns.frame.columns)]
    frame = columns.frame.join(measures.select(known), on="item_id", how="left")
    return Columns(frame, tuple(sorted({*columns.free, *known[1:]})))


def draw_rows(frame: pl.DataFrame, *, most: int = MOST_ROWS, seed: int = 0) -> pl.DataFrame:
    """Return all rows of a small frame; of a larger one `most` drawn rows and those with extreme values.

    The draw is the same for the same items, in whatever order they stand. Of each column the rows with its smallest and
    largest value, its shortest and longest text, each of its few categories and one without value are always there,
    so that a statement about every row is decided as if all rows had been looked at.
    """
    if frame.height <= most:
        return frame
    order = pl.col("item_id").str.slice(seed % HEX_DIGITS, HEX_DIGITS)
    frame = frame.sort("item_id")  # of rows that are equally extreme always the same
    numbered = frame.with_row_index("_row")
    drawn = set(numbered.bottom_k(most, by=order)["_row"].to_list())
    for name in frame.columns:
        drawn |= _extremes(frame[name])
    return frame[sorted(drawn)]


def _shape() -> dict[str, pl.Expr]:
    width, height = pl.col("file.width"), pl.col("file.height")
    shorter, longer = pl.min_horizontal(width, height), pl.max_horizontal(width, height)
    return {
        "shorter_side": shorter,
        "aspect_ratio": longer / shorter,
        "bytes_per_pixel": pl.when(pl.col("modality") == "image").then(pl.col("size") / (width * height)),
    }


def _extremes(column: pl.Series) -> set[int]:
    found: set[int | None] = set()
    if column.null_count():
        found.add(column.is_null().arg_max())
    if column.dtype == pl.String:
        lengths = column.str.len_chars()
        found |= {lengths.arg_min(), lengths.arg_max()}
        if column.n_unique() <= MOST_CATEGORIES:
            found |= set(column.arg_unique().to_list())
    elif column.dtype.is_numeric() or column.dtype == pl.Boolean:
        found |= {column.arg_min(), column.arg_max()}
    return {row for row in found if row is not None}


def _holds_dates(column: pl.Series) -> bool:
    if column.dtype != pl.String:
        return False
    values = column.drop_nulls()
    return values.len() > 0 and _dates(values).drop_nulls().len() >= DATES * values.len()


def _dates(column: pl.Series) -> pl.Series:
    iso = column.str.extract(r"^(\d{4}-\d{2}-\d{2})(?:$|[T ])", 1)
    return iso.str.to_date("%Y-%m-%d", strict=False)


def _days_ahead(column: pl.Series, now: datetime) -> pl.Series:
    return (_dates(column) - pl.Series([now.date()])).dt.total_days().cast(pl.Float64)
