"""Great Expectations itself: in memory, silent, telling nobody. The only module that knows its interfaces.

It has no engine for polars and reads pandas frames, so what reaches it is small: see `judge`.
"""

import difflib
import importlib
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import Template
from typing import Any, cast

from flywheel.errors import ConfigError
from flywheel.raw.expectations.suites import Statement, Values

# what needs a database, another table, or all rows at once
LEFT_OUT = ("query", "other_table", "like_pattern", "unexpected_rows", "row_count_to_equal")
MOST_EXAMPLES = 5
_HIDDEN = frozenset(
    (
        *("id", "meta", "notes", "result_format", "description", "catch_exceptions", "rendered_content", "severity"),
        *("windows", "batch_id", "row_condition", "condition_parser"),
    )
)  # arguments that are not for suites


def build_expectation(statement: Statement, arguments: Values) -> Any:
    """Return Great Expectations' object for a statement.

    Raises:
        ConfigError: there is no such expectation, or it takes other arguments.
    """
    kinds = known_expectations()
    if statement.type not in kinds:
        near = difflib.get_close_matches(statement.type, kinds, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "docs/expectations.md lists what there is"
        raise ConfigError(f"{statement.where}.type: found '{statement.type}', which is not judged here; {hint}")
    severity = "critical" if statement.blocking else "warning"
    try:
        return kinds[statement.type](**arguments, severity=severity)
    except (TypeError, ValueError) as error:  # pydantic's errors are ValueErrors
        raise ConfigError(_mistakes(statement, arguments, kinds[statement.type], error)) from None


@lru_cache(maxsize=1)
def known_expectations() -> Mapping[str, Any]:
    """Return Great Expectations' classes by the names that suites may use."""
    core = cast(dict[str, Any], vars(great_expectations()[0].expectations))
    found: dict[str, Any] = {kind.expectation_type: kind for kind in core.values() if hasattr(kind, "expectation_type")}
    return {
        name: found[name]
        for name in sorted(found)
        if name.startswith("expect_") and not any(word in name for word in LEFT_OUT)
    }


@lru_cache(maxsize=1)
def great_expectations() -> tuple[Any, Any]:
    """Import and set up Great Expectations once. The import takes seconds."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells of its temporary folders
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its own imports
        import great_expectations as gx

    context = cast(Any, gx).get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("raw").add_dataframe_asset("arrival")
    return gx, asset.add_batch_definition_whole_dataframe("whole")


def validate_frame(columns: Mapping[str, Sequence[object]], expectations: Sequence[Any], name: str) -> list[Any]:
    """Return Great Expectations' results over one frame, in the order of the expectations.

    Args:
        columns: the values of each column, of equal number.
        expectations: its own objects; their `meta` is replaced.
        name: of the suite.
    """
    gx, batch = great_expectations()
    for number, expectation in enumerate(expectations):
        expectation.meta = {"number": number}
    frame = importlib.import_module("pandas").DataFrame(columns)
    suite = gx.ExpectationSuite(name=name, expectations=list(expectations))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas on what users' own expressions do; the verdict says what happened
        results = batch.get_batch(batch_parameters={"dataframe": frame}).validate(suite).results
    return sorted(results, key=lambda result: result.expectation_config.meta["number"])


@dataclass(frozen=True)
class Found:
    """What Great Expectations found."""

    words: str
    examples: tuple[str, ...] = ()  # values that do not fit
    judged: int | None = None  # rows with a value, where it looked at values


def read_result(result: Any) -> Found:
    """Read what was found off one result."""
    if result.exception_info.get("raised_exception") or not result.result:
        errors = [str(one.get("exception_message")) for one in _exceptions(result.exception_info)]
        return Found(f"it could not be judged: {'; '.join(errors) or 'no reason was given'}"[:300])
    details: dict[str, Any] = result.result
    if "unexpected_percent" not in details:
        return Found(number_words(details.get("observed_value")))
    unfit = [str(value)[:80] for value in details.get("partial_unexpected_list", ())]
    given = details["element_count"] - details.get("missing_count", 0)
    words = f"{details['unexpected_count']:,} of {given:,} do not fit ({details['unexpected_percent'] or 0.0:.1f} %)"
    return Found(words, tuple(dict.fromkeys(unfit))[:MOST_EXAMPLES], given)


def _exceptions(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in info.values() if isinstance(one, dict)] or [info]


def statement_words(expectation: Any) -> str:
    """Return what is expected in the words of Great Expectations' own renderer; else its name and arguments."""
    renderer = importlib.import_module("great_expectations.render.renderer.inline_renderer").InlineRenderer
    for block in renderer(render_object=expectation.configuration).get_rendered_content():
        value = block.value
        if getattr(value, "template", None):
            params: dict[str, Any] = value.params or {}
            given = {name: _parameter(found) for name, found in params.items()}
            return Template(value.template).safe_substitute(given)
    arguments = _shown(expectation.configuration.kwargs)
    return f"{expectation.configuration.type}({arguments})"


def _parameter(found: Any) -> str:
    value: Any = cast(Any, found)["value"] if isinstance(found, dict) else found.value
    return f"{value:g}" if isinstance(value, float) else str(value)


def _mistakes(statement: Statement, arguments: Values, kind: Any, error: Exception) -> str:
    known = getattr(error, "errors", None)
    problems: list[dict[str, Any]] = known() if known else [{"loc": ("__root__",), "msg": str(error)}]
    takes = [name for name in kind.__fields__ if name not in _HIDDEN]
    lines: dict[str, str] = {}
    for problem in problems:
        name = str(problem["loc"][0])
        if name == "__root__":
            lines.setdefault("", f"  {problem['msg']} (found {_shown(arguments)})")
        elif name not in arguments:
            lines.setdefault(name, f"  {name}: is missing")
        elif "extra" in problem["msg"]:
            lines.setdefault(name, f"  {name}: unknown argument; expected among {', '.join(takes)}")
        else:
            lines.setdefault(name, f"  {name}: {problem['msg']} (found {arguments[name]!r})")
    return "\n".join([f"{statement.where} ({statement.type}) has mistakes:", *lines.values()])


def _shown(arguments: Values) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())[:120]


def number_words(value: object) -> str:
    """Write a number that was found."""
    return f"{value:.4g}" if isinstance(value, float) else "nothing" if value is None else str(value)
