"""Expectation suites: what should be true of the data, as YAML with Great Expectations' own names.

Built-in suites lie beside this module, one per modality. A wheel's own lie in its `expectations` folder and under
`sources[].expectations` of its configuration; all are written in the same way:

    name: street scenes
    modality: image          # judge only items of this modality (default: all)
    source: cameras          # judge only items of this source (default: all)
    blocking: false          # whether a failure stops what is downstream (default: it only warns)
    expectations:
      - type: expect_column_values_to_be_between
        column: file.width   # a name, or a pattern like *_date or * for several columns
        min_value: 64
        mostly: 0.99
        blocking: true       # overrules the suite
        why: smaller pictures show no faces
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from pydantic import Field, ValidationError

from flywheel.config import Name, Section, SourceConfig, WheelConfig
from flywheel.errors import ConfigError

BUILT_IN = Path(__file__).parent / "builtin"
OURS = ("type", "blocking", "why")  # keys of an expectation that are not Great Expectations' own

Values = dict[str, Any]


class SuiteConfig(Section):
    """One suite as it is written."""

    name: str = Field(min_length=1, max_length=100)
    modality: Literal["image", "text", "record", "signal", "video"] | None = None
    source: Name | None = None
    blocking: bool = False
    expectations: tuple[dict[str, Any], ...] = Field(min_length=1)


class ExpectationConfig(Section):
    """The part of one expectation that is ours; the rest are arguments of Great Expectations."""

    type: str = Field(pattern=r"^expect_[a-z_]+$")
    blocking: bool | None = None
    why: str = ""
    column: str | None = Field(default=None, min_length=1)


@dataclass(frozen=True)
class Statement:
    """One expectation of a suite."""

    type: str  # Great Expectations' name, like expect_column_values_to_be_between
    arguments: Values = field(hash=False)  # column, min_value, mostly, …
    blocking: bool
    why: str
    where: str  # file and place, for errors


@dataclass(frozen=True)
class Suite:
    """What should be true of the items of one modality, one source, both, or all."""

    name: str
    modality: str | None
    source: str | None
    statements: tuple[Statement, ...]
    built_in: bool = False  # a built-in suite says nothing about columns that are not there


def load_suites(config: WheelConfig) -> tuple[Suite, ...]:
    """Return the built-in suites, then those of the wheel's folder by file name, then those of its sources.

    Raises:
        ConfigError: a suite is written wrong; the message names file, place, what was found and what was expected.
    """
    folder = Path(config.expectations)
    own = [_checked(suite, config) for path in _files(folder) for suite in [load_suite(path)]]
    return (*built_in_suites(), *own, *(_of_source(source) for source in config.sources if source.expectations))


@lru_cache(maxsize=1)
def built_in_suites() -> tuple[Suite, ...]:
    """Return the suites that come with the flywheel, by modality."""
    return tuple(load_suite(path, built_in=True) for path in sorted(BUILT_IN.glob("*.yaml")))


def load_suite(path: Path, *, built_in: bool = False) -> Suite:
    """Read one suite.

    Raises:
        ConfigError: see `load_suites`.
    """
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not a readable YAML file: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path}: found {type(raw).__name__} at the top; expected the keys name and expectations, "
            "see docs/expectations.md"
        )
    return parse_suite(cast(Values, raw), where=str(path), built_in=built_in)


def parse_suite(raw: Values, where: str, *, built_in: bool = False) -> Suite:
    """Check a suite given as plain values; `where` names it in errors.

    Raises:
        ConfigError: see `load_suites`.
    """
    try:
        written = SuiteConfig.model_validate(raw)
    except ValidationError as error:
        raise _wrong(where, "", error, SuiteConfig) from None
    statements = _statements(written.expectations, written.blocking, where, "expectations")
    return Suite(written.name, written.modality, written.source, statements, built_in)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in (".yaml", ".yml")) if folder.is_dir() else []


def _checked(suite: Suite, config: WheelConfig) -> Suite:
    known = [source.id for source in config.sources]
    if suite.source is not None and suite.source not in known:
        where = suite.statements[0].where.partition(":")[0]
        raise ConfigError(f"{where}: source: found {suite.source!r}; expected one of {', '.join(known)}")
    return suite


def _of_source(source: SourceConfig) -> Suite:
    where = f"flywheel.yaml: sources '{source.id}'"
    return Suite(f"source {source.id}", None, source.id, _statements(source.expectations, False, where, "expectations"))


def _statements(written: Sequence[Values], blocking: bool, where: str, place: str) -> tuple[Statement, ...]:
    return tuple(_statement(raw, blocking, where, f"{place}[{number}]") for number, raw in enumerate(written))


def _statement(raw: Values, blocking: bool, where: str, place: str) -> Statement:
    ours = {name: value for name, value in raw.items() if name in ExpectationConfig.model_fields}
    try:
        known = ExpectationConfig.model_validate(ours)
    except ValidationError as error:
        raise _wrong(where, f"{place}.", error, ExpectationConfig) from None
    arguments = {name: value for name, value in raw.items() if name not in OURS}
    stops = blocking if known.blocking is None else known.blocking
    return Statement(known.type, arguments, stops, known.why, f"{where}: {place}")


def _wrong(where: str, place: str, error: ValidationError, section: type[Section]) -> ConfigError:
    lines = [f"{where} has mistakes:"]
    for problem in error.errors(include_url=False):
        name = ".".join(str(step) for step in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"  {place}{name}: unknown key; expected one of {', '.join(section.model_fields)}")
        else:
            lines.append(f"  {place}{name}: {problem['msg']} (found {problem.get('input')!r:.80})")
    return ConfigError("\n".join(lines))
