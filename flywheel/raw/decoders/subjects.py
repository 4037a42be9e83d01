"""Subjects: each row of a subject table, with what joined tables say about it as of a time, is one record.

What a record holds depends on its own subject's rows only: a row of somebody else changes nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime

import polars as pl

from flywheel.config import JoinedTableConfig, RecordsConfig
from flywheel.raw.datum import Datum
from flywheel.raw.decoders.records import record_of_row
from flywheel.raw.joined import Columns, open_joined
from flywheel.raw.opened import Opened
from flywheel.raw.patterns import fill, is_plain, named_parts, stem_of
from flywheel.raw.possible import read_date
from flywheel.raw.reasons import BAD_VALUE, DUPLICATE_ID, MISSING_SUBJECT, Refusal, Refused, shown
from flywheel.raw.rows import Row, Scalar, as_text, read_rows
from flywheel.raw.summaries import Summaries, summarize_rows

DAY = 86_400.0

AsOf = tuple[float | None, bool | None]  # a number, or days since 1970 where the second is true; None: not known


def decode_subjects(opened: Opened, contents: bool) -> Iterator[Datum | Refusal]:
    """Decode a subject table, in its order; refusals of joined tables come first, with the table's key as their part.

    Raises:
        Refused: the subject table as a whole cannot be used.
        StoreUnavailable: a table cannot be read.
    """
    config = opened.config.records
    rule = _as_of_rule(config)
    subjects = _as_of_frame(opened, config, rule)
    tables: list[Summaries] = []
    for table in config.tables:
        summaries, refusals = _summarize(opened, table, config, subjects)
        tables.append(summaries)
        yield from refusals
    apart = (rule,) if isinstance(rule, str) else ()
    seen: dict[str, int] = {}
    for row in _rows(opened, config):
        if isinstance(row, Refusal):
            yield row
            continue
        subject = as_text(row.values.get(config.subject))
        problem = _subject_problem(row, subject, seen, opened.key, config)
        if problem or subject is None:
            yield from (problem,) if problem else ()
            continue
        seen[subject] = row.number
        if isinstance(rule, str) and _as_of(row.values.get(rule), rule)[0] is None:
            yield _no_as_of(row, subject, rule, opened.key)
        try:
            beside = _beside(subject, tables, row.values)
            yield from record_of_row(row, subject, opened, contents, subject=subject, beside=beside, apart=apart)
        except Refused as refused:
            yield Refusal(refused.refusal.reason, refused.refusal.message, subject)


def joined_keys(opened: Opened, table: JoinedTableConfig) -> list[str]:
    """Return the keys of the files of a joined table, for the subject table that is opened, sorted."""
    pattern = fill(table.match, named_parts(opened.config.records.subjects, opened.key))
    return [pattern] if is_plain(pattern) else opened.others(pattern)


def _as_of_rule(config: RecordsConfig) -> float | datetime | str | None:
    """Return a number, a time, the column of the subject table that holds one of them, or None."""
    as_of = config.as_of
    if isinstance(as_of, str):
        return read_date(as_of) or as_of
    if isinstance(as_of, date):
        return datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC)
    return as_of


def _as_of(value: Scalar, rule: float | datetime | str | None) -> AsOf:
    """Return the as-of time of a subject whose row holds `value` in the column, if the rule is one."""
    told = value if isinstance(rule, str) else rule
    if isinstance(told, str):
        told = read_date(told)
    if isinstance(told, datetime):
        return told.timestamp() / DAY, True
    if isinstance(told, (int, float)) and not isinstance(told, bool):
        return float(told), False
    return None, None


def _rows(opened: Opened, config: RecordsConfig) -> Iterator[Row | Refusal]:
    return read_rows(opened.content(), opened.key, needed=config.subject, words=(config.id, config.subject))


def _as_of_frame(opened: Opened, config: RecordsConfig, rule: float | datetime | str | None) -> pl.DataFrame:
    """Return `subject`, `as_of`, `dated` for each subject of the table; of two rows the first counts."""
    known: dict[str, AsOf] = {}
    for row in _rows(opened, config):
        subject = as_text(row.values.get(config.subject)) if isinstance(row, Row) else None
        if subject is not None and isinstance(row, Row) and subject not in known:
            known[subject] = _as_of(row.values.get(rule) if isinstance(rule, str) else None, rule)
    return pl.DataFrame(
        {
            "subject": list(known),
            "as_of": [as_of for as_of, _ in known.values()],
            "dated": [dated for _, dated in known.values()],
        },
        schema={"subject": pl.String, "as_of": pl.Float64, "dated": pl.Boolean},
    )


def _summarize(
    opened: Opened, table: JoinedTableConfig, config: RecordsConfig, subjects: pl.DataFrame
) -> tuple[Summaries, list[Refusal]]:
    """Summarize the files of one joined table; a file that cannot be used is refused, the others go on."""
    columns, frames, refusals = Columns.of(table, config), list[pl.LazyFrame](), list[Refusal]()
    with ExitStack() as stack:
        for key in joined_keys(opened, table):
            try:
                judged, problems = open_joined(stack, opened.other(key), columns, subjects, config, opened.key)
                frames.append(judged)
                refusals += problems
            except Refused as refused:
                refusals.append(Refusal(refused.refusal.reason, refused.refusal.message, key))
        measured = columns.value is not None
        rows = pl.concat(frames) if frames else None
        summary = summarize_rows(rows, measured=measured, most_names=config.most_names)
    return Summaries(summary, stem_of(table.match), measured=measured), refusals


def _beside(subject: str, tables: list[Summaries], own: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return what the joined tables say of a subject; a name that is taken gets the table's in front."""
    values: dict[str, Scalar] = {}
    for table in tables:
        for name, value in table.of(subject):
            values[f"{table.stem}_{name}" if name in own or name in values else name] = value
    return values


def _subject_problem(
    row: Row, subject: str | None, seen: Mapping[str, int], key: str, config: RecordsConfig
) -> Refusal | None:
    where = f"row {row.number} of {key}"
    if subject is None:
        return Refusal(MISSING_SUBJECT, f"{where} has no '{config.subject}'; fill it in", row.name)
    if subject in seen:
        message = f"{where} has the {config.subject} {shown(subject)} of row {seen[subject]}; the first row counts"
        return Refusal(DUPLICATE_ID, message, row.name)
    return None


def _no_as_of(row: Row, subject: str, column: str, key: str) -> Refusal:
    return Refusal(
        BAD_VALUE,
        f"row {row.number} of {key} has {shown(row.values.get(column))} in '{column}', expected a number or an ISO "
        f"date; nothing of the joined tables counts for {shown(subject)}",
        subject,
    )
