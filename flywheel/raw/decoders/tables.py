"""Table files, one datum a row: texts where there is a column `text`, else records; and subject tables."""

from collections.abc import Iterator

from flywheel.raw.datum import Datum
from flywheel.raw.decoders.records import record_of_row
from flywheel.raw.decoders.subjects import decode_subjects
from flywheel.raw.decoders.texts import text_of_row
from flywheel.raw.opened import Opened
from flywheel.raw.patterns import matches
from flywheel.raw.reasons import DUPLICATE_ID, Refusal, Refused, shown
from flywheel.raw.rows import Row, as_text, read_rows


def decode_table(opened: Opened, contents: bool) -> Iterator[Datum | Refusal]:
    """Decode the rows of a table in their order; see `flywheel.raw.decoders.Decoder`.

    Where the source does not say what its tables hold, the first row does.
    """
    modality, records = opened.config.modality, opened.config.records
    if modality != "text" and matches(records.subjects, opened.key):
        yield from decode_subjects(opened, contents)
        return
    seen: dict[str, int] = {}
    needed, words = "text" if modality == "text" else None, (records.id, records.subject)
    for row in read_rows(opened.content(), opened.key, needed, words):
        if isinstance(row, Refusal):
            yield row
            continue
        if modality == "auto":
            modality = "text" if "text" in row.values else "record"
        part = as_text(row.values.get(records.id)) or row.name
        if part in seen:
            yield _repeated(row, part, seen[part], opened.key)
            continue
        seen[part] = row.number
        decode_row = text_of_row if modality == "text" else record_of_row
        try:
            yield from decode_row(row, part, opened, contents)
        except Refused as refused:
            yield Refusal(refused.refusal.reason, refused.refusal.message, part)


def _repeated(row: Row, part: str, first: int, key: str) -> Refusal:
    message = f"row {row.number} of {key} has the id {shown(part)} of row {first}; the first row counts"
    return Refusal(DUPLICATE_ID, message, row.name)
