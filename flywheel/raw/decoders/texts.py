"""Texts: a file that is one, and the rows of tables with a column `text`.

`content_id` is a digest of the NFC characters with "\\n" between lines.
"""

import unicodedata
from collections.abc import Iterator

from flywheel.identity import content_id
from flywheel.raw.datum import Datum, Said, what_is_said
from flywheel.raw.kinds import kind_of
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import BAD_ENCODING, CONTENT_MISMATCH, EMPTY, MALFORMED_ROW, TOO_LARGE, Refusal, Refused
from flywheel.raw.rows import Row, as_text, decode_utf8, text_problem

TEXT_DECODER = "text-1"
TEXT_ENDINGS = (".txt",)


def decode_text(opened: Opened, contents: bool) -> Iterator[Datum | Refusal]:
    """Decode a file that is one text; see `flywheel.raw.decoders.Decoder`."""
    content = opened.content()
    try:
        text = canonical_text(decode_utf8(content, opened.key), opened.key)
    except Refused as refused:
        kind = kind_of(content) if refused.refusal.reason == BAD_ENCODING else None
        if kind is None:
            raise
        message = f"{opened.key} is {kind}, not a text; give it the ending of what it is"
        raise Refused(CONTENT_MISMATCH, message) from None
    yield _text_datum("", text, None, contents)


def canonical_text(text: str, where: str) -> str:
    """Return the text in NFC with "\\n" between lines.

    Raises:
        Refused: it holds nothing but white space, or characters that are none.
    """
    if problem := text_problem(text):
        raise Refused(BAD_ENCODING, f"{where} is no UTF-8 text: {problem}; save it as UTF-8")
    if not text.strip():
        raise Refused(EMPTY, f"{where} holds no text; expected at least one word")
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def text_of_row(row: Row, part: str, opened: Opened, contents: bool) -> Iterator[Datum | Refusal]:
    """Decode one row of a table with a column `text`; id, subject, label and split are known, the rest attributes.

    Raises:
        Refused: the row holds no text.
    """
    where, limit = f"row {row.number} of {opened.key}", opened.config.max_bytes
    value = row.values.get("text")
    if value is not None and not isinstance(value, str):
        value = as_text(value)  # a CSV column of texts that all look like numbers
    if value is None:
        reason = EMPTY if "text" in row.values else MALFORMED_ROW
        raise Refused(reason, f"{where} has no text; expected some in the column 'text'")
    text = canonical_text(value, where)
    if len(text.encode("utf-8")) > limit:
        raise Refused(TOO_LARGE, f"{where} has a text of more than {limit:,} bytes (max_bytes)")
    said, problems = what_is_said(row, where, taken=("text", opened.config.records.id), part=part)
    yield _text_datum(part, text, said, contents)
    yield from problems


def _text_datum(part: str, text: str, said: Said | None, contents: bool) -> Datum:
    content = text.encode("utf-8")
    identity = content_id(content, TEXT_DECODER)
    return Datum(part, "text", identity, len(content), said, data=content if contents else None)
