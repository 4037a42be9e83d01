"""Reads CSV, JSON lines and Parquet into plain rows; a broken row is reported and the others go on."""

import codecs
import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast

from flywheel.raw.parquet import parquet_rows
from flywheel.raw.reasons import BAD_ENCODING, EMPTY, MALFORMED_ROW, Refusal, Refused, shown

Scalar = str | int | float | bool | None

TABLE_ENDINGS = (".csv", ".jsonl", ".parquet")

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_NOTHING = {"", "nan", "null", "none", "na", "n/a"}  # in a column of numbers; elsewhere "none" is a word
_NO_VALUE = {"", "nan", "null", "na", "n/a"}
_INFINITE = {"inf", "-inf", "+inf", "infinity", "-infinity"}
_VERBATIM = {"key", "text"}
_WORDS = {"id", "subject", "label", "split"}  # never numbers: "1.10" is not "1.1"


@dataclass(frozen=True, slots=True)
class Row:
    """One good row: its number among the data rows, from 1, and its values."""

    number: int
    values: dict[str, Scalar]
    infinite: tuple[str, ...] = ()  # columns that are None because they held infinities

    @property
    def name(self) -> str:
        """What the row is called where it has no id."""
        return row_name(self.number)


def row_name(number: int) -> str:
    """Name a row by its number."""
    return f"row-{number}"


def read_rows(
    content: bytes, key: str, needed: str | None = None, words: Container[str] = ()
) -> Iterator[Row | Refusal]:
    """Yield the rows of a table file in their order; broken ones as refusals that name the row.

    In CSV with texts or keys an attribute column whose values all are numbers becomes numbers, any other stays text
    (codes like "007" too). In CSV of records each field that is a number becomes one, so that a row is read the same
    whatever other rows hold. JSON and Parquet values keep their type. NaN, infinities and, in CSV, empty fields
    become None. Nested values become JSON text.

    Args:
        content: the file's bytes.
        key: its key; the ending says what it is.
        needed: a column the table must have, if any.
        words: columns that are never numbers, besides id, subject, label and split: "1.10" is not "1.1".

    Raises:
        Refused: the file as a whole cannot be used.
    """
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise Refused(EMPTY, f"{key} is empty; expected rows" + (f" with a column '{needed}'" if needed else ""))
    ending = key.lower().rpartition(".")[2]
    if ending == "csv":
        rows = _csv(content, key, needed, words)
    else:
        rows = {"jsonl": _jsonl, "parquet": _parquet}[ending](content, key, needed)
    found = False
    for row in rows:
        found = True
        yield row
    if not found:
        raise Refused(EMPTY, f"{key} has a header and no rows; expected at least one")


def text_problem(text: str) -> str | None:
    """Say why a text cannot be stored as UTF-8 text, or return None."""
    if "\0" in text:
        return "it holds NUL characters"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "it holds unpaired surrogates, which are no characters"
    return None


def decode_utf8(content: bytes, what: str) -> str:
    """Return the text of UTF-8 bytes, without a byte order mark.

    Raises:
        Refused: it is not UTF-8, or holds NUL characters.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            BAD_ENCODING, f"{what} is not UTF-8 (byte {content[error.start]:#04x} at {error.start}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise Refused(BAD_ENCODING, f"{what} holds NUL characters; save it as UTF-8 text")
    return text


def _csv(content: bytes, key: str, needed: str | None, words: Container[str]) -> Iterator[Row | Refusal]:
    text = decode_utf8(content, key)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    nothing: list[str] = []
    try:
        header = [name.strip() for name in next((fields for fields in reader if fields), nothing)]  # after blank lines
    except csv.Error as error:
        raise Refused(MALFORMED_ROW, f"the header of {key} is broken: {error}; write it as plain CSV") from None
    check_header(header, key, needed)
    rows = _csv_rows(reader, len(header), key)
    yield from _csv_columns(header, rows) if _VERBATIM & set(header) else _csv_records(header, rows, words)


def _csv_records(
    header: list[str], rows: Iterator[tuple[int, list[str]] | Refusal], words: Container[str]
) -> Iterator[Row | Refusal]:
    """Read each field by itself: another row may not change what this one says."""
    plain = [name in _WORDS or name in words for name in header]
    for values in rows:
        if isinstance(values, Refusal):
            yield values
            continue
        number, fields = values
        row = {
            name: (field if field.strip() else None) if word else _cell(field)
            for name, field, word in zip(header, fields, plain)
        }
        infinite = tuple(name for name, value in row.items() if isinstance(value, float) and math.isinf(value))
        yield Row(number, row | dict.fromkeys(infinite), infinite)


def _cell(field: str) -> Scalar:
    """Read a field as an integer, a number (infinite ones too) or text; None where it says nothing."""
    text = field.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) or text.lower() in _INFINITE:
        return float(text)
    return None if text.lower() in _NO_VALUE or text == "None" else field  # "none" is a word


def _csv_columns(header: list[str], rows: Iterator[tuple[int, list[str]] | Refusal]) -> Iterator[Row | Refusal]:
    """Read the whole file, to know which columns are numbers."""
    found = list(rows)
    good = [values for values in found if not isinstance(values, Refusal)]
    readers = [_column_reader(name, [fields[index] for _, fields in good]) for index, name in enumerate(header)]
    for values in found:
        if isinstance(values, Refusal):
            yield values
        else:
            number, fields = values
            yield Row(number, {name: read(field) for name, read, field in zip(header, readers, fields)})


def _csv_rows(reader: Any, width: int, key: str) -> Iterator[tuple[int, list[str]] | Refusal]:
    number = 0
    while True:
        try:
            fields = cast(list[str], next(reader))
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield _malformed(number, key, f"is broken: {error}; check its quotes")
            continue
        if not fields:  # a blank line
            continue
        number += 1
        if len(fields) != width:
            yield _malformed(number, key, f"has {len(fields)} fields, expected {width}; quote fields with commas")
        else:
            yield number, fields


def _column_reader(name: str, values: list[str]) -> Callable[[str], Scalar]:
    """Choose how a CSV column is read: as integers, as numbers, or as text."""
    if name in _VERBATIM:
        return lambda field: field if field.strip() else None
    told = [] if name in _WORDS else [value.strip() for value in values if not _is_nothing(value)]
    if told and all(_INTEGER.fullmatch(value) for value in told):
        return lambda field: None if _is_nothing(field) else int(field)
    if told and all(_NUMBER.fullmatch(value) or value.lower() in ("inf", "-inf") for value in told):
        return lambda field: None if _is_nothing(field) else _finite(float(field))
    return lambda field: None if field.strip().lower() in ("", "nan") else field


def _is_nothing(field: str) -> bool:
    return field.strip().lower() in _NOTHING


def _jsonl(content: bytes, key: str, needed: str | None) -> Iterator[Row | Refusal]:
    number = 0
    for line in content.removeprefix(codecs.BOM_UTF8).split(b"\n"):
        if not line.strip():
            continue
        number += 1
        try:
            yield _json_row(number, line, key)
        except Refused as refused:
            yield Refusal(refused.refusal.reason, refused.refusal.message, row_name(number))


def _json_row(number: int, line: bytes, key: str) -> Row:
    where = f"row {number} of {key}"
    text = decode_utf8(line, where)
    try:
        values = json.loads(text, parse_constant=float)  # NaN and infinities
    except (ValueError, RecursionError) as error:
        raise Refused(MALFORMED_ROW, f"{where} is not JSON: {error}; write one JSON object a line") from None
    if not isinstance(values, dict):
        raise Refused(MALFORMED_ROW, f"{where} is a JSON {type(values).__name__}; expected an object")
    return typed_row(number, cast(dict[str, Any], values), where)


def _parquet(content: bytes, key: str, needed: str | None) -> Iterator[Row | Refusal]:
    for number, values in parquet_rows(content, key, lambda header: check_header(header, key, needed)):
        try:
            yield typed_row(number, values, f"row {number} of {key}")
        except Refused as refused:
            yield Refusal(refused.refusal.reason, refused.refusal.message, row_name(number))


def check_header(header: list[str], key: str, needed: str | None) -> None:
    """Refuse a table that has a column twice, or lacks the one that is needed."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise Refused(MALFORMED_ROW, f"{key} has the columns {shown(twice)} twice; rename or drop one of each")
    if needed is not None and needed not in header:
        raise Refused(MALFORMED_ROW, f"{key} has no column '{needed}'; found {shown(header, 200)}; add or rename it")


def typed_row(number: int, values: Mapping[str, Any], where: str) -> Row:
    """Return a row of plain values.

    Raises:
        Refused: a value has no plain form, or a text is none.
    """
    row = {name: _scalar(value, name, where) for name, value in values.items()}
    for name, value in row.items():
        for text in (name, value):
            if isinstance(text, str) and (problem := text_problem(text)):
                raise Refused(BAD_ENCODING, f"{where}: {shown(text)} is no UTF-8 text, {problem}")
    infinite = tuple(name for name, value in values.items() if isinstance(value, float) and math.isinf(value))
    return Row(number, row, infinite)


def _scalar(value: Any, name: str, where: str) -> Scalar:
    """Bring a value of JSON or Parquet to one of the plain types."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, (float, Decimal)):
        return _finite(float(value))
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (list, dict)):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    raise Refused(MALFORMED_ROW, f"{where}: column '{name}' holds {type(value).__name__}; expected text or numbers")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _malformed(number: int, key: str, problem: str) -> Refusal:
    return Refusal(MALFORMED_ROW, f"row {number} of {key} {problem}", row_name(number))


def as_text(value: Scalar) -> str | None:
    """Read an id, subject, label or split: text without white space around it; None for nothing.

    Numbers are written plainly (3.0, as tables with gaps store an integer, as "3").
    """
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFC", str(value)).strip() or None
