"""What joined tables say about each subject, as of a time: rows at or after it do not count."""

from collections.abc import Iterator

import polars as pl

from flywheel.raw.rows import Scalar

SCALE = 12  # decimal places that sums are exact to, so that no order of the rows shows in a mean
DIGITS = 6  # significant ones of a mean

Values = dict[str, Scalar]


def summarize_rows(judged: pl.LazyFrame | None, *, measured: bool, most_names: int) -> pl.DataFrame:
    """Return what one table says: a row for each subject and name, sorted by both.

    Of each subject's names those with the most rows stay, in alphabetical order where as many; what other subjects
    have does not matter. The last value is that of the latest time, of several then the largest: the order of rows
    does not matter either. Memory is that of the result, not of the rows.

    Args:
        judged: see `joined.judge_rows`; None where there is no such table.
        measured: whether rows have values.
        most_names: names that are kept of a subject.

    Returns:
        `subject`, `name` (null where rows have none), `count`, `ago` (time between the latest row and `as_of`,
        null where there is none); with values also `last`, `mean`, `min`, `max`.
    """
    if judged is None:
        return pl.DataFrame(schema={"subject": pl.String, "name": pl.String})
    value, time = pl.col("value"), pl.col("time")
    numbers = [
        value.max_by(pl.struct(time.fill_null(0), "value")).alias("last"),
        value.cast(pl.Decimal(38, SCALE)).sum().alias("sum"),
        value.min().alias("min"),
        value.max().alias("max"),
    ]
    grouped = (
        judged.filter(pl.col("problem").is_null(), pl.col("counts"))
        .group_by("subject", "name")
        .agg(
            pl.len().alias("count"),
            (pl.col("as_of").first() - time.max()).round(6).alias("ago"),
            *(numbers if measured else ()),
        )
        .collect(engine="streaming")
    )
    if measured:
        mean = (pl.col("sum").cast(pl.Float64) / pl.col("count")).round_sig_figs(DIGITS)
        grouped = grouped.with_columns(mean=mean).drop("sum")
    order = grouped.sort("subject", "count", "name", descending=[False, True, False])
    return order.group_by("subject", maintain_order=True).head(most_names).sort("subject", "name")


class Summaries:
    """Looks up what one table says of a subject."""

    def __init__(self, frame: pl.DataFrame, stem: str, *, measured: bool):
        self._frame = frame
        self.stem = stem
        self._measured = measured
        runs = frame.with_row_index("at").group_by("subject").agg(pl.col("at").min(), pl.len())
        self._runs: dict[str, tuple[int, int]] = {subject: (at, count) for subject, at, count in runs.iter_rows()}

    def of(self, subject: str) -> Iterator[tuple[str, Scalar]]:
        """Yield what is said of a subject as names and values; nothing where nothing is."""
        at, count = self._runs.get(subject, (0, 0))
        for row in self._frame.slice(at, count).iter_rows(named=True):
            name = row["name"] or self.stem
            if self._measured:
                yield from ((f"{name}_{what}", _plain(row[what])) for what in ("last", "mean", "min", "max"))
            else:
                yield name, True
            yield f"{name}_count", int(row["count"])
            if row["ago"] is not None:
                yield f"{name}_ago", _plain(row["ago"])


def _plain(number: float) -> int | float:
    """Write whole numbers as integers, so that the same value has one form."""
    return int(number) if number.is_integer() and abs(number) < 1e15 else number
