"""Judges one arrival by every suite that speaks of its items."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from flywheel.objects import Source
from flywheel.raw.expectations.columns import join_measures, spread_items
from flywheel.raw.expectations.great import build_expectation
from flywheel.raw.expectations.judge import Verdict, judge_suite
from flywheel.raw.expectations.measures import measure_items
from flywheel.raw.expectations.suites import Suite
from flywheel.raw.markdown import markdown_table
from flywheel.tables import Tables

log = logging.getLogger("flywheel.raw")


@dataclass(frozen=True)
class Validation:
    """What the suites say about one arrival."""

    arrival: str
    verdicts: tuple[Verdict, ...]

    def failed(self, *, blocking: bool) -> tuple[Verdict, ...]:
        """Return the statements that do not hold: those that stop what is downstream, or those that only warn."""
        return tuple(verdict for verdict in self.verdicts if not verdict.passed and verdict.blocking == blocking)

    def markdown(self, *, blocking: bool) -> str:
        """Return the blocking statements, or the warning ones, as a Markdown table; what does not hold comes first."""
        chosen = sorted((one for one in self.verdicts if one.blocking == blocking), key=lambda one: one.passed)
        if not chosen:
            return "*(no such expectation speaks of these items)*"
        header = ("", "suite", "of", "expectation", "found", "judged by")
        return markdown_table(header, (_row(verdict) for verdict in chosen))


def validate_arrival(
    tables: Tables, sources: Mapping[str, Source], suites: Sequence[Suite], arrival: str, *, now: datetime
) -> Validation:
    """Judge the active items of a registered arrival by the suites.

    A suite without items of its modality and source in this arrival says nothing. Everything is computed by polars in
    one pass over the arrival's items; Great Expectations sees aggregates and a drawn sample (`draw_rows`), and a few
    texts are read (`measure_items`).

    Args:
        tables: the wheel's tables.
        sources: the sources by id.
        suites: what should be true, from `load_suites`.
        arrival: the arrival's name.
        now: the present time, UTC: what lies after it is in the future.

    Raises:
        ConfigError: a suite names an expectation that there is not, or arguments that it does not take.
    """
    for suite in suites:
        for statement in suite.statements:  # a mistake shows at the first arrival, whatever is in it
            build_expectation(statement, statement.arguments)
    items = tables.read("items", arrival=arrival, status="active")
    verdicts = [verdict for suite in suites for verdict in _judged(suite, items, sources, now)]
    failed = sum(not verdict.passed for verdict in verdicts)
    log.info("%s: %d expectations judged, %d do not hold", arrival, len(verdicts), failed)
    return Validation(arrival, tuple(verdicts))


def _judged(suite: Suite, items: pl.DataFrame, sources: Mapping[str, Source], now: datetime) -> list[Verdict]:
    mine = items.filter(
        pl.lit(True) if suite.modality is None else pl.col("modality") == suite.modality,
        pl.lit(True) if suite.source is None else pl.col("source") == suite.source,
    )
    if mine.is_empty():
        return []
    columns = spread_items(mine, now=now)
    if any(not columns.matching(name) for name in _named(suite)):
        columns = join_measures(columns, measure_items(sources, mine))
    return judge_suite(suite, columns, _scope(suite))


def _named(suite: Suite) -> list[str]:
    names = (statement.arguments.get("column") for statement in suite.statements)
    return [str(name) for name in names if name is not None]


def _scope(suite: Suite) -> str:
    where = f" of {suite.source}" if suite.source else ""
    return f"{suite.modality or 'all items'}{where}"


def _row(verdict: Verdict) -> list[str]:
    examples = f": {', '.join(verdict.examples)}" if verdict.examples else ""
    drawn = f"{verdict.judged:,} of " if verdict.judged < verdict.rows else ""
    mark = "✓" if verdict.passed else "✗"
    found = verdict.found + examples
    return [mark, verdict.suite, verdict.scope, verdict.statement, found, f"{drawn}{verdict.rows:,} rows"]
