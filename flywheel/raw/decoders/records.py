"""Records: rows of tables that say something about a subject, without a text to read.

`content_id` is a digest of the row's values as JSON, keys sorted, without id, subject, label and split.
"""

import json
from collections.abc import Iterator

from flywheel.identity import content_id
from flywheel.raw.datum import Datum, what_is_said
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import EMPTY, Refusal, Refused
from flywheel.raw.rows import Row

RECORD_DECODER = "record-1"


def record_of_row(row: Row, part: str, opened: Opened, contents: bool) -> Iterator[Datum | Refusal]:
    """Decode one row of a table; its values are what is encoded, and its attributes.

    Raises:
        Refused: the row holds no value.
    """
    where = f"row {row.number} of {opened.key}"
    said, problems = what_is_said(row, where, taken=("id",), part=part)
    values = {name: value for name, value in said.attributes.items() if value is not None}
    if not values:
        raise Refused(EMPTY, f"{where} holds no value besides its names; expected at least one")
    content = json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8")
    identity = content_id(content, RECORD_DECODER)
    yield Datum(part, "record", identity, len(content), said, data=content if contents else None)
    yield from problems
