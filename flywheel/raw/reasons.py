"""Reason codes of the quarantine, and the record of one refusal."""

from dataclasses import dataclass

EMPTY = "empty"  # no bytes, no rows, or nothing but white space
UNDECODABLE = "undecodable"  # not what its name says, or damaged
TOO_LARGE = "too_large"  # more bytes than the source allows
TOO_MANY_PIXELS = "too_many_pixels"  # more pixels than the source allows; found before decoding
UNKNOWN_TYPE = "unknown_type"  # an ending the flywheel does not read
BAD_ENCODING = "bad_encoding"  # not UTF-8, or with NUL characters
MALFORMED_ROW = "malformed_row"  # a row (or a whole table) without the promised columns
DUPLICATE_ID = "duplicate_id"  # the same key or id twice, or two labels for one key
UNKNOWN_LABEL = "unknown_label"  # a label outside the label spec; the item itself is kept
BAD_SPLIT = "bad_split"  # a split other than train, pool, eval; the item itself is kept
MISSING_OBJECT = "missing_object"  # a manifest names a key that is not there, or an object went before it was read
BAD_KEY = "bad_key"  # a key that no store can hold safely

REASONS = (
    EMPTY,
    UNDECODABLE,
    TOO_LARGE,
    TOO_MANY_PIXELS,
    UNKNOWN_TYPE,
    BAD_ENCODING,
    MALFORMED_ROW,
    DUPLICATE_ID,
    UNKNOWN_LABEL,
    BAD_SPLIT,
    MISSING_OBJECT,
    BAD_KEY,
)

SPLITS = ("train", "pool", "eval")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one object or row was refused: what was found, what was expected, what to do next."""

    reason: str  # one of REASONS
    message: str
    part: str = ""  # the row; "" for the whole object
    content_id: str = ""  # "" when nothing could be decoded


class Refused(Exception):
    """Carries a refusal of a whole object out of a decoder; callers turn it into a quarantine row."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.refusal = Refusal(reason, message)


def shown(value: object, limit: int = 60) -> str:
    """Show a value found in data within a message, shortened."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
