"""Records: rows of tables that say something about a subject, without a text to read.

`content_id` is a digest of the record's values as JSON, keys sorted, without id, subject, label, split and what is
kept apart.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from flywheel.identity import content_id
from flywheel.raw.datum import Datum, what_is_said
from flywheel.raw.opened import Opened
from flywheel.raw.possible import possible_values
from flywheel.raw.reasons import EMPTY, Refusal, Refused
from flywheel.raw.rows import Row, Scalar, as_text

RECORD_DECODER = "record-1"


def record_of_row(
    row: Row,
    part: str,
    opened: Opened,
    contents: bool,
    *,
    subject: str | None = None,
    beside: Mapping[str, Scalar] | None = None,
    apart: Iterable[str] = (),
) -> Iterator[Datum | Refusal]:
    """Decode one row of a table; its values are what is encoded, and its attributes.

    Values that cannot be (see `possible_values`) are left out and reported; the record stays.

    Args:
        row: the row.
        part: its part of the object.
        opened: the table.
        contents: whether the datum carries its bytes.
        subject: whom it is about; what the row says when left out.
        beside: further values, from other tables.
        apart: further columns that are attributes and no part of the content.

    Raises:
        Refused: the row holds no value.
    """
    config, where = opened.config.records, f"row {row.number} of {opened.key}"
    possible, problems = possible_values(row, where, part, config, opened.modified_at)
    said, misread = what_is_said(possible, where, taken=(config.id, config.subject), part=part)
    said = replace(
        said,
        subject=subject
        or (None if config.subject == config.id else as_text(row.values.get(config.subject)))
        or said.subject,
        attributes=dict(sorted({**said.attributes, **(beside or {})}.items())),
    )
    outside = {*config.apart, *apart}
    values = {name: value for name, value in said.attributes.items() if value is not None and name not in outside}
    if not values:
        raise Refused(EMPTY, f"{where} holds no value besides its names; expected at least one")
    content = json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8")
    identity = content_id(content, RECORD_DECODER)
    yield Datum(part, "record", identity, len(content), said, data=content if contents else None)
    yield from (*problems, *misread)
