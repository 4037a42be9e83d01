"""Reads tables that are joined to a subject table: as they are, in any order, whatever is wrong with single rows.

Nothing here is a loop over rows: files are scanned, and only what is summarized is held.
"""

import csv
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from flywheel.config import JoinedTableConfig, RecordsConfig
from flywheel.raw.opened import Opened
from flywheel.raw.parquet import decode_parquet
from flywheel.raw.possible import AHEAD, limits_of
from flywheel.raw.reasons import (
    BAD_ENCODING,
    BAD_VALUE,
    DATE_IN_FUTURE,
    FIELD_TOO_LARGE,
    IMPOSSIBLE_VALUE,
    MALFORMED_ROW,
    MISSING_SUBJECT,
    NOT_FINITE,
    UNDECODABLE,
    UNKNOWN_SUBJECT,
    UNKNOWN_TYPE,
    Refusal,
    Refused,
    shown,
)
from flywheel.raw.rows import check_header, decode_utf8

NAMED_ROWS = 5  # rows that a refusal names; it says how many more there are
LONGEST_NAME = 200  # characters
HEADER_BYTES = 1_000_000
LARGEST = 1e18  # of a value: sums are kept exactly, as decimals

_OVER = "\0over"  # no column can be called so


@dataclass(frozen=True)
class Columns:
    """Which columns of a joined table mean what; None where it has none."""

    subject: str
    time: str | None
    name: str | None
    value: str | None

    @classmethod
    def of(cls, table: JoinedTableConfig, config: RecordsConfig) -> "Columns":
        """Return the columns of a configured table."""
        return cls(table.subject or config.subject, table.time, table.name, table.value)

    def roles(self) -> dict[str, str]:
        """Return the column of each role that has one."""
        roles = {"subject": self.subject, "time": self.time, "name": self.name, "value": self.value}
        return {role: column for role, column in roles.items() if column is not None}


def open_joined(
    stack: ExitStack, opened: Opened, columns: Columns, subjects: pl.DataFrame, config: RecordsConfig, joined_to: str
) -> tuple[pl.LazyFrame, list[Refusal]]:
    """Return the judged rows of a table file, to be used while `stack` is open, and what is wrong with them.

    Args:
        stack: keeps the file.
        opened: the table.
        columns, subjects, config: see `judge_rows`.
        joined_to: key of the subject table.

    Raises:
        Refused: the file as a whole cannot be used.
        StoreUnavailable: the store cannot be reached.
    """
    written_at = opened.modified_at()

    def read(mended: bool) -> tuple[pl.LazyFrame, list[Refusal]]:
        rows = stack.enter_context(scan_joined(opened, columns, mended=mended))
        judged = judge_rows(rows, columns, subjects, config, written_at)
        return judged, refuse_rows(judged, opened.key, joined_to)

    try:
        try:
            return read(mended=False)
        except pl.exceptions.ComputeError:  # one broken quote, and polars gives up the whole file
            return read(mended=True)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        told = shown(str(error).split("\n")[0], 150)
        raise Refused(UNDECODABLE, f"{opened.key} cannot be read as a table ({told}); write it again") from None


@contextmanager
def scan_joined(opened: Opened, columns: Columns, *, mended: bool = False) -> Generator[pl.LazyFrame]:
    """Give the rows of a table file as text: `row` from 1, a column for each role, `over` where a row is broken.

    Args:
        opened: the table.
        columns: which roles it has.
        mended: of a CSV file, first make a copy in which broken quotes are rows of their own; slow.

    Raises:
        Refused: the file as a whole cannot be used.
        StoreUnavailable: the store cannot be reached.
    """
    roles, ending = columns.roles(), opened.key.lower().rpartition(".")[2]
    with opened.file() as path, tempfile.TemporaryDirectory(prefix="flywheel-") as folder:
        if ending == "csv":
            yield _scan_csv(_mended(path, Path(folder)) if mended else path, opened.key, roles)
        elif ending == "jsonl":
            yield _scan_jsonl(path, roles)
        elif ending == "parquet":
            yield _scan_arrow(decode_parquet(path, opened.key, Path(folder)), opened.key, roles)
        else:
            raise Refused(UNKNOWN_TYPE, f"{opened.key} cannot be joined; expected .csv, .jsonl or .parquet")


def _scan_csv(path: Path, key: str, roles: Mapping[str, str]) -> pl.LazyFrame:
    with path.open("rb") as file:
        skipped, line = 1, file.readline(HEADER_BYTES)
        while line and not line.strip():
            skipped, line = skipped + 1, file.readline(HEADER_BYTES)
    fields = next(csv.reader([decode_utf8(line, f"the header of {key}")]), list[str]())
    header = [name.strip() for name in fields]
    check_header(header, key, None)
    for column in roles.values():
        check_header(header, key, column)
    frame = pl.scan_csv(
        path,
        has_header=False,
        skip_lines=skipped,
        schema=dict.fromkeys([*header, _OVER], pl.String),
        missing_columns="insert",
        truncate_ragged_lines=True,
        empty_string_is_null=False,
        encoding="utf8-lossy",
        row_index_name="row",
        row_index_offset=1,
        glob=False,
    )
    blank = pl.all_horizontal(pl.exclude("row").fill_null("").str.strip_chars() == "")
    over = pl.col(_OVER).fill_null("") != ""
    return frame.filter(~blank).select("row", *_texts(roles), over=over)


def _mended(path: Path, folder: Path) -> Path:
    """Copy a CSV file; a row with broken quotes becomes one that is too long."""
    target = folder / "mended.csv"
    with (
        path.open(encoding="utf-8-sig", errors="replace", newline="") as source,
        target.open("w", encoding="utf-8", newline="") as file,
    ):
        reader, writer, width = csv.reader(source, strict=True), csv.writer(file, lineterminator="\n"), 0
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return target
            except csv.Error:
                fields = ["broken"] * (width + 1)
            width = width or len(fields)
            writer.writerow(fields)


def _scan_jsonl(path: Path, roles: Mapping[str, str]) -> pl.LazyFrame:
    lines = pl.scan_lines(path, row_index_name="row", row_index_offset=1, glob=False)
    fields = [pl.col("line").str.json_path_match(f"$['{column}']").alias(role) for role, column in roles.items()]
    return lines.filter(pl.col("line").str.strip_chars() != "").select("row", *fields, over=pl.lit(False))


def _scan_arrow(path: Path, key: str, roles: Mapping[str, str]) -> pl.LazyFrame:
    frame = pl.scan_ipc(path, row_index_name="row", row_index_offset=1)
    schema = frame.collect_schema()
    for role, column in roles.items():
        check_header(schema.names(), key, column)
        if schema[column].is_nested() or schema[column] == pl.Binary:
            raise Refused(BAD_VALUE, f"{key}: column '{column}' ({role}) holds {schema[column]}; expected plain values")
    whole = {role: column for role, column in roles.items() if role == "subject" and schema[column].is_float()}
    rest = {role: column for role, column in roles.items() if role not in whole}
    # as tables with gaps store an integer
    ids = [_whole(pl.col(column)).alias(role) for role, column in whole.items()]
    return frame.select("row", *ids, *_texts(rest), over=pl.lit(False))


def _whole(column: pl.Expr) -> pl.Expr:
    return pl.coalesce(
        pl.when(column == column.floor()).then(column.cast(pl.Int64, strict=False).cast(pl.String)),
        column.cast(pl.String),
    )


def _texts(roles: Mapping[str, str]) -> list[pl.Expr]:
    return [pl.col(column).cast(pl.String).alias(role) for role, column in roles.items()]


def judge_rows(
    rows: pl.LazyFrame, columns: Columns, subjects: pl.DataFrame, config: RecordsConfig, written_at: datetime
) -> pl.LazyFrame:
    """Say of each row what it means, and what is wrong with it.

    Args:
        rows: see `scan_joined`.
        columns: which roles the table has.
        subjects: `subject` (text), `as_of` (a number; for dates days since 1970; null where it is not known),
            `dated` (whether `as_of` is a date; null where there is none at all).
        config: limits of values, and the columns whose dates may lie ahead.
        written_at: when the table was written.

    Returns:
        `row`, `subject`, `name`, `time`, `value`, `as_of`, `problem` (a reason code, or null), and `counts`: whether
        there is none and the row lies before its subject's as-of time.
    """
    frame = rows.with_columns(
        subject=_trimmed("subject"),
        name=_trimmed("name") if columns.name else pl.lit(None, pl.String),
        time=pl.col("time").str.strip_chars() if columns.time else pl.lit(None, pl.String),
        value=pl.col("value").str.strip_chars() if columns.value else pl.lit(None, pl.String),
    ).join(subjects.lazy().with_columns(known=pl.lit(True)), on="subject", how="left")
    number = pl.col("time").cast(pl.Float64, strict=False)
    day = _days(pl.col("time"))
    frame = frame.with_columns(
        number=number,
        day=day,
        measured=pl.col("value").cast(pl.Float64, strict=False),
    ).with_columns(when=pl.when("dated").then("day").when(~pl.col("dated")).then("number").otherwise(_either()))
    before = pl.lit(True) if config.as_of is None else (pl.col("when") < pl.col("as_of")).fill_null(False)
    problem = _problem(columns, config, written_at)
    named = ("row", "subject", "name", "as_of")
    judged = frame.select(*named, time="when", value="measured", problem=problem, before=before)
    return judged.with_columns(counts=pl.col("problem").is_null() & pl.col("before")).drop("before")


def _either() -> pl.Expr:
    """The time of a row where nothing says whether it is a date."""
    return pl.coalesce("number", "day")


def _trimmed(role: str) -> pl.Expr:
    text = pl.col(role).str.strip_chars().str.normalize("NFC")
    return pl.when(text != "").then(text)


def _days(text: pl.Expr) -> pl.Expr:
    """ISO dates and times as days since 1970, UTC; null for anything else."""
    plain = text.str.replace("T", " ", literal=True).str.replace(r"(Z|[+]00:?00)$", "")
    forms = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
    parsed = pl.coalesce(plain.str.to_datetime(form, strict=False, time_unit="us") for form in forms)
    return parsed.cast(pl.Int64) / 86_400_000_000


def _problem(columns: Columns, config: RecordsConfig, written_at: datetime) -> pl.Expr:
    broken = pl.any_horizontal(
        pl.col(role).str.contains("[\\x00\\x{FFFD}]").fill_null(False) for role in ("subject", "name")
    )
    cases = [
        (pl.col("over"), MALFORMED_ROW),
        (pl.col("subject").is_null(), MISSING_SUBJECT),
        (broken, BAD_ENCODING),
        (pl.col("known").is_null(), UNKNOWN_SUBJECT),
    ]
    if columns.name:
        cases += [
            (pl.col("name").is_null(), BAD_VALUE),
            (pl.col("name").str.len_chars() > LONGEST_NAME, FIELD_TOO_LARGE),
        ]
    if columns.time:
        cases += [(~pl.col("when").is_finite().fill_null(False), BAD_VALUE)]
        if columns.time not in config.plans:
            latest = (written_at + AHEAD).timestamp() / 86_400
            cases += [(pl.col("day") > latest, DATE_IN_FUTURE)]
    if columns.value:
        absent = pl.col("value").fill_null("").str.to_lowercase().is_in(["", "na", "n/a", "null", "none"])
        cases += [
            (pl.col("measured").is_null() & ~absent, BAD_VALUE),
            (~pl.col("measured").is_finite().fill_null(False), NOT_FINITE),
            (pl.col("measured").abs() > LARGEST, IMPOSSIBLE_VALUE),
            *_limit_cases(config, columns),
        ]
    problem = pl.lit(None, pl.String)
    for wrong, reason in reversed(cases):
        problem = pl.when(wrong).then(pl.lit(reason)).otherwise(problem)
    return problem


def _limit_cases(config: RecordsConfig, columns: Columns) -> list[tuple[pl.Expr, str]]:
    limits, named = limits_of(config), pl.col("name").str.to_lowercase()
    if columns.name is None:
        limits = {str(columns.value).lower(): limits[str(columns.value).lower()]} if columns.value in limits else {}
        named = pl.lit(str(columns.value).lower())
    return [
        ((named == name) & ~pl.col("measured").is_between(low, high), IMPOSSIBLE_VALUE)
        for name, (low, high) in sorted(limits.items())
    ]


WORDS = {
    MALFORMED_ROW: "more fields than the header",
    MISSING_SUBJECT: "no subject",
    BAD_ENCODING: "a subject or name that is not UTF-8 text",
    UNKNOWN_SUBJECT: "a subject that {subjects} does not have",
    BAD_VALUE: "no name, a time that is not the kind of 'as_of', or a value that is no number",
    FIELD_TOO_LARGE: f"a name of more than {LONGEST_NAME} characters",
    NOT_FINITE: "no finite value",
    IMPOSSIBLE_VALUE: "a value outside what is possible (`limits`)",
    DATE_IN_FUTURE: "a time after the table was written",
}


def refuse_rows(judged: pl.LazyFrame, key: str, subjects: str) -> list[Refusal]:
    """Return one refusal for each thing that is wrong with rows of a table, however many they are.

    Args:
        judged: see `judge_rows`.
        key: of the table; the refusals' part.
        subjects: key of the subject table.
    """
    counted = (
        judged.filter(pl.col("problem").is_not_null())
        .group_by("problem")
        .agg(count=pl.len(), rows=pl.col("row").bottom_k(NAMED_ROWS), subjects=pl.col("subject").n_unique())
        .sort("problem")
        .collect(engine="streaming")
    )
    return [
        Refusal(reason, _told(reason, count, sorted(rows), whom, key, subjects), key)
        for reason, count, rows, whom in counted.select("problem", "count", "rows", "subjects").iter_rows()
    ]


def _told(reason: str, count: int, rows: list[int], whom: int, key: str, subjects: str) -> str:
    named = ", ".join(str(row) for row in rows) + (", …" if count > len(rows) else "")
    words = WORDS[reason].format(subjects=shown(subjects))
    of = f"{whom:,} {'subject' if whom == 1 else 'subjects'}; " if reason == UNKNOWN_SUBJECT else ""
    has = "row has" if count == 1 else "rows have"
    return f"{count:,} {has} {words} ({of}row {named} of {key}); left out, correct and upload again"
