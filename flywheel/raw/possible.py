"""What a record's values cannot be: infinite, outside the limits of their column, dates after the data was written.

Such a value is left out and reported; the record stays.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from flywheel.config import RecordsConfig
from flywheel.raw.reasons import DATE_IN_FUTURE, IMPOSSIBLE_VALUE, NOT_FINITE, Refusal, shown
from flywheel.raw.rows import Row, Scalar

LIMITS = {"age": (0.0, 130.0)}
AHEAD = timedelta(days=1)  # clocks and time zones differ

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.,+Z-]+)?")


def limits_of(config: RecordsConfig) -> dict[str, tuple[float, float]]:
    """Return lowest and highest possible value of each column or measurement that has limits, names in lower case."""
    return LIMITS | {name.lower(): limits for name, limits in config.limits.items()}


def read_date(text: str) -> datetime | None:
    """Return the time an ISO date (2015-03-01, 2015-03-01T12:30:00Z) means, UTC where it does not say; else None."""
    if not _DATE.fullmatch(text.strip()):
        return None
    try:
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def possible_values(
    row: Row, where: str, part: str, config: RecordsConfig, written_at: Callable[[], datetime]
) -> tuple[Row, list[Refusal]]:
    """Return the row without its impossible values, and a refusal for each of these.

    Args:
        row: the row.
        where: what to call it in messages.
        part: what the refusals are about.
        config: limits, and the columns whose dates may lie ahead.
        written_at: says when the table was written; asked only if the row holds a date.
    """
    problems = [
        Refusal(NOT_FINITE, f"{where}: '{name}' is infinite; it is left out, leave unknown values empty", part)
        for name in row.infinite
    ]
    limits = limits_of(config)
    values = dict(row.values)
    for name, value in row.values.items():
        problem = _problem(name, value, limits, config, written_at)
        if problem:
            values[name] = None
            reason, words = problem
            problems.append(
                Refusal(reason, f"{where}: '{name}' is {shown(value)}, {words}; it is left out, correct it", part)
            )
    return Row(row.number, values), problems


def _problem(
    name: str,
    value: Scalar,
    limits: Mapping[str, tuple[float, float]],
    config: RecordsConfig,
    written_at: Callable[[], datetime],
) -> tuple[str, str] | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = limits.get(name.lower(), (None, None))
        if low is not None and high is not None and not low <= value <= high:
            return IMPOSSIBLE_VALUE, f"possible is {low:g} to {high:g}"
    if isinstance(value, str) and name not in config.plans and (date := read_date(value)) is not None:
        latest = written_at()
        if date > latest + AHEAD:
            return DATE_IN_FUTURE, f"and the table was written on {latest:%Y-%m-%d}"
    return None
