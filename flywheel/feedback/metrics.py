"""Metrics that others report: JSON files in an inbox become `evaluations` rows; unusable ones are set aside.

A report names what it measured, when, and on how many items:

    {"metric": "accuracy", "value": 0.91, "at": "2026-11-22T08:00:00Z", "n": 1200,
     "slice": "night shift", "predicate": "taken after 20:00", "baseline": 0.94, "model_id": "…"}

`metric`, `value` and `at` are needed; `baseline` is what is normal (by default our own value on that slice).
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from flywheel.identity import digest
from flywheel.records import SCHEMAS
from flywheel.tables import Tables
from flywheel.turns import latest_turn

log = logging.getLogger("flywheel.feedback.metrics")

OUTSIDE = "outside-"
REFUSED = "refused"  # folder in the inbox
TAKEN = "taken"
STAMP = "%Y%m%dT%H%M%S"
MOST_BYTES = 1_000_000


class Report(BaseModel):
    """One reported metric; numbers are finite, a share's interval may be left out."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    metric: str = Field(min_length=1, max_length=100)
    value: float
    at: AwareDatetime
    slice: str = Field(default="all", min_length=1, max_length=200)
    predicate: str = Field(default="", max_length=1000)
    n: int = Field(default=0, ge=0)
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    model_id: str = Field(default="", max_length=200)


@dataclass(frozen=True)
class Taken:
    """What one look into the inbox found: origins that became rows, and the names of files set aside, with reasons."""

    origins: tuple[str, ...]
    refused: dict[str, str]


def waiting_metrics(inbox: str) -> list[Path]:
    """Return the report files in the inbox, sorted by name; a missing inbox holds none."""
    folder = Path(inbox)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob("*.json") if path.is_file() and not path.is_symlink())


def take_metrics(tables: Tables, inbox: str, most: int = 200) -> Taken:
    """Turn up to `most` waiting reports into `evaluations` rows and move their files to `taken/` or `refused/`.

    The row is named after the report's time and content, so a file that is read twice (after a kill, or sent
    again) leaves one row. A refused file gets a neighbor `<name>.reason.txt`.
    """
    origins: list[str] = []
    refused: dict[str, str] = {}
    for path in waiting_metrics(inbox)[:most]:
        report = _read(path)
        if isinstance(report, str):
            refused[path.name] = report
            _set_aside(path, REFUSED, report)
            log.warning("the report %s is set aside: %s", path, report)
            continue
        origins.append(_write(tables, report))
        _set_aside(path, TAKEN)
    return Taken(tuple(origins), refused)


def reported_at(origin: str) -> datetime:
    """Return the time of a report from its origin."""
    return datetime.strptime(origin.removeprefix(OUTSIDE).split("-")[0], STAMP).replace(tzinfo=UTC)


def _read(path: Path) -> Report | str:
    """The report, or why it cannot be used."""
    if path.stat().st_size > MOST_BYTES:
        return f"larger than {MOST_BYTES} bytes"
    try:
        return Report.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        return "; ".join(_explained(error))
    except (ValueError, RecursionError) as error:
        return f"not valid JSON: {error}"


def _explained(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        yield f"{'.'.join(str(step) for step in problem['loc']) or 'report'}: {problem['msg']}"


def _write(tables: Tables, report: Report) -> str:
    at = report.at.astimezone(UTC)
    origin = f"{OUTSIDE}{at.strftime(STAMP)}-{digest('metric', report.model_dump_json())}"
    if tables.read("evaluations", origin=origin).is_empty():
        turn = latest_turn(tables)
        values = report.model_dump(exclude={"at"}) | {"origin": origin, "turn": -1 if turn is None else turn}
        row = pl.DataFrame([values | {"arm": "outside"}], schema=SCHEMAS["evaluations"])
        tables.replace("evaluations", row, origin=origin)
    return origin


def _set_aside(path: Path, folder: str, reason: str = "") -> None:
    target = path.parent / folder / path.name
    target.parent.mkdir(exist_ok=True)
    if reason:
        target.with_name(f"{target.name}.reason.txt").write_text(reason + "\n", "utf-8")
    path.replace(target)
