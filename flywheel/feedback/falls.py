"""Falls of metrics: our own evaluations and reported ones, each against its base line, in the order of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from flywheel.feedback.metrics import OUTSIDE, reported_at
from flywheel.tables import Tables
from flywheel.turns import Turn, read_turn

LOWER_IS_BETTER = frozenset({"error", "error_rate", "loss", "log_loss", "ece", "calibration_error", "brier"})
WATCHED = ("accuracy", "macro_f1")  # of our own evaluations; every reported metric is watched


@dataclass(frozen=True)
class Fall:
    """One metric, once: how much worse than its base line (negative: better), in the metric's own units."""

    trigger: str  # metric:<name>@<slice>, the word a turn that it starts is marked with
    at: datetime
    size: float
    words: str


def falls_since(tables: Tables, turn: Turn, every: bool = False) -> list[Fall]:
    """Return what metrics say since a turn was opened: each metric's newest, or `every` one; largest fall first.

    Our own evaluation of a turn counts from the moment the turn was closed, a reported one from the time it names.
    """
    found = [fall for fall in _own(tables) if fall.at > turn.opened_at]
    found += [fall for fall in _reported(tables) if fall.at > turn.opened_at]
    if not every:
        newest = {fall.trigger: fall for fall in sorted(found, key=lambda fall: (fall.at, fall.size))}
        found = list(newest.values())
    return sorted(found, key=lambda fall: (-fall.size, fall.trigger, fall.at))


def _own(tables: Tables) -> Iterator[Fall]:
    rows = tables.scan("evaluations").filter(
        ~pl.col("origin").str.starts_with(OUTSIDE),
        pl.col("arm") == "deployed",
        pl.col("slice") == "all",
        pl.col("metric").is_in(list(WATCHED)),
        pl.col("baseline").is_not_null(),
    )
    for row in rows.sort("turn", "metric").collect().iter_rows(named=True):
        closed = read_turn(tables, row["turn"]).closed_at
        if closed is not None:
            yield _fall(row, row["baseline"], closed, f"turn {row['turn']}")


def _reported(tables: Tables) -> Iterator[Fall]:
    rows = tables.scan("evaluations").filter(pl.col("origin").str.starts_with(OUTSIDE))
    for row in rows.sort("origin", "slice", "metric").collect().iter_rows(named=True):
        baseline = row["baseline"] if row["baseline"] is not None else _our_value(tables, row)
        if baseline is not None:
            at = reported_at(row["origin"])
            yield _fall(row, baseline, at, f"the report of {at:%Y-%m-%d %H:%M} UTC")


def _our_value(tables: Tables, row: dict[str, Any]) -> float | None:
    """The deployed model's own value on the same slice, as it was when the report came."""
    own = tables.scan("evaluations").filter(
        ~pl.col("origin").str.starts_with(OUTSIDE),
        pl.col("arm") == "deployed",
        pl.col("slice") == row["slice"],
        pl.col("metric") == row["metric"],
        pl.col("turn") <= row["turn"],
    )
    values = own.sort("turn").select("value").collect()["value"]
    return float(values[-1]) if len(values) else None


def _fall(row: dict[str, Any], baseline: float, at: datetime, whose: str) -> Fall:
    sign = -1 if row["metric"] in LOWER_IS_BETTER else 1
    size = sign * (baseline - row["value"])
    words = f"{row['metric']} on '{row['slice']}' went from {baseline:.3f} to {row['value']:.3f} in {whose}"
    return Fall(f"metric:{row['metric']}@{row['slice']}", at, size, words)
