"""Judges a suite over frames: aggregates over all rows reach Great Expectations as one number each, statements about
values as a drawn sample that holds all extremes (see `columns`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from flywheel.raw.expectations.columns import Columns, draw_rows
from flywheel.raw.expectations.great import (
    build_expectation,
    known_expectations,
    number_words,
    read_result,
    statement_words,
    validate_frame,
)
from flywheel.raw.expectations.suites import Statement, Suite, Values

# what is decided by a number over all rows, exactly
AGGREGATES: dict[str, Callable[[pl.Series], object]] = {
    "expect_column_max_to_be_between": lambda column: column.max(),
    "expect_column_mean_to_be_between": lambda column: column.mean(),
    "expect_column_median_to_be_between": lambda column: column.median(),
    "expect_column_min_to_be_between": lambda column: column.min(),
    "expect_column_proportion_of_non_null_values_to_be_between": lambda column: 1 - column.null_count() / column.len(),
    "expect_column_proportion_of_unique_values_to_be_between": lambda column: _distinct(column) / _given(column),
    "expect_column_stdev_to_be_between": lambda column: column.std(),
    "expect_column_sum_to_be_between": lambda column: column.sum(),
    "expect_column_unique_value_count_to_be_between": lambda column: _distinct(column),
}
ROW_COUNT = "expect_table_row_count_to_be_between"
BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")


@dataclass(frozen=True)
class Verdict:
    """One statement about the items of one scope, and whether it holds."""

    suite: str
    scope: str  # "image", "photos", "image of photos" or "all items"
    statement: str  # in words
    column: str
    passed: bool
    blocking: bool
    found: str  # what it was judged by, in words
    examples: tuple[str, ...]  # values that do not fit
    judged: int  # rows it was judged by
    rows: int  # rows of the scope
    why: str


@dataclass(frozen=True)
class _Case:
    """A statement about one column, ready to be judged."""

    statement: Statement
    arguments: Values
    expectation: Any  # Great Expectations' own object

    @property
    def column(self) -> str:
        return str(self.arguments.get("column", ""))

    @property
    def is_aggregate(self) -> bool:
        return self.statement.type in AGGREGATES or self.statement.type == ROW_COUNT


def judge_suite(suite: Suite, columns: Columns, scope: str) -> list[Verdict]:
    """Judge one suite over the items of its scope; in the order of its statements, then of its columns.

    A built-in suite says nothing about columns that are not there; in a wheel's own suite that is a failure.

    Args:
        suite: what should be true.
        columns: the scope's items; at least one row.
        scope: how to call the scope.

    Raises:
        ConfigError: Great Expectations has no such expectation, or it takes other arguments.
    """
    rows, verdicts, cases = columns.frame.height, dict[int, Verdict](), list[_Case]()
    for statement in suite.statements:
        for arguments in _expanded(statement, columns, suite.built_in):
            cases.append(_Case(statement, arguments, build_expectation(statement, arguments)))
    told = {"suite": suite.name, "scope": scope, "rows": rows}
    for number, case in enumerate(cases):
        problem = _unfit(case, columns.frame)
        if problem:
            verdicts[number] = _verdict(case, told, passed=False, found=problem, judged=rows)
        elif case.is_aggregate:
            value = _aggregate(case, columns.frame)
            passed = _aggregate_holds(case, value)
            verdicts[number] = _verdict(case, told, passed=passed, found=number_words(value), judged=rows)
    left = [number for number in range(len(cases)) if number not in verdicts]
    verdicts |= _judge_values({number: cases[number] for number in left}, columns.frame, told)
    return [verdicts[number] for number in sorted(verdicts)]


def _expanded(statement: Statement, columns: Columns, built_in: bool) -> list[Values]:
    """The arguments once per column the statement speaks of."""
    pattern = statement.arguments.get("column")
    if pattern is None:
        return [statement.arguments]
    names = columns.matching(str(pattern))
    if names or built_in:
        return [{**statement.arguments, "column": name} for name in names]
    return [statement.arguments]


def _unfit(case: _Case, frame: pl.DataFrame) -> str:
    """Say why a statement cannot be judged over this frame, or return ""."""
    name = case.arguments.get("column")
    if name is None or case.statement.type == "expect_column_to_exist":
        return ""
    if name not in frame.columns:
        return f"there is no column '{name}'; found {', '.join(frame.columns)}"
    needs_numbers = any(isinstance(case.arguments.get(bound), int | float) for bound in ("min_value", "max_value"))
    about_values = case.statement.type in ("expect_column_values_to_be_between", *_NUMERIC)
    if needs_numbers and about_values and frame[name].dtype == pl.String:
        return f"'{name}' holds text, like {frame[name].drop_nulls().head(1).to_list()}; expected numbers"
    return ""


_NUMERIC = tuple(name for name in AGGREGATES if not any(word in name for word in ("unique", "non_null")))


def _aggregate(case: _Case, frame: pl.DataFrame) -> object:
    if case.statement.type == ROW_COUNT:
        return frame.height
    return AGGREGATES[case.statement.type](frame[case.column])


def _aggregate_holds(case: _Case, value: object) -> bool:
    """Let Great Expectations judge one number."""
    kind = known_expectations()["expect_column_max_to_be_between"]
    bounds = {name: case.arguments[name] for name in BOUNDS if name in case.arguments}
    [result] = validate_frame({"value": [value]}, [kind(column="value", **bounds)], "aggregate")
    return bool(result.success)


def _judge_values(cases: Mapping[int, _Case], frame: pl.DataFrame, told: Values) -> dict[int, Verdict]:
    if not cases:
        return {}
    drawn = draw_rows(frame)
    values = {name: drawn[name].to_list() for name in drawn.columns}
    results = validate_frame(values, [case.expectation for case in cases.values()], told["suite"])
    verdicts: dict[int, Verdict] = {}
    for (number, case), result in zip(cases.items(), results, strict=True):
        found = read_result(result)
        judged = drawn.height if found.judged is None else found.judged
        passed = bool(result.success)
        verdicts[number] = _verdict(
            case, told, passed=passed, found=found.words, judged=judged, examples=found.examples
        )
    return verdicts


def _verdict(
    case: _Case, told: Values, *, passed: bool, found: str, judged: int, examples: tuple[str, ...] = ()
) -> Verdict:
    return Verdict(
        suite=told["suite"],
        scope=told["scope"],
        statement=statement_words(case.expectation),
        column=case.column,
        passed=passed,
        blocking=case.statement.blocking,
        found=found,
        examples=examples,
        judged=judged,
        rows=told["rows"],
        why=case.statement.why,
    )


def _distinct(column: pl.Series) -> int:
    return column.drop_nulls().n_unique()


def _given(column: pl.Series) -> int:
    return max(1, column.len() - column.null_count())
