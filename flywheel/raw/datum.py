"""What a decoder finds in an object: data, and what is said about each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flywheel.raw.reasons import BAD_SPLIT, FIELD_TOO_LARGE, SPLITS, Refusal, shown
from flywheel.raw.rows import Row, Scalar, as_text

MOST_CHARACTERS = 10_000  # of an attribute: what is longer is no attribute but a text
TOLD = "file."  # attributes that the file itself tells are named so: no column of a manifest is meant by it


@dataclass(frozen=True, slots=True)
class Said:
    """What a manifest, a table row or a key says about a datum; None where it says nothing."""

    subject: str | None
    label: str | None
    split: str | None  # train | pool | eval
    attributes: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Datum:
    """One decoded datum of an object."""

    part: str  # row, window, clip or frame; "" for a file that is one item
    modality: str  # one of `flywheel.config.MODALITIES`
    content_id: str
    size: int  # bytes: of the file for an image that is one, else of the canonical content
    said: Said | None = None  # by its own row
    told: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])  # by the file itself: sides, camera …
    data: bytes | None = None  # what an encoder gets, where it was asked for
    piece: bool = False  # a piece of one recording: all pieces of the object are one subject


def what_is_said(row: Row, where: str, *, taken: tuple[str, ...], part: str) -> tuple[Said, list[Refusal]]:
    """Read subject, label, split and attributes off a row.

    A split that is none and a value that is too long are left out and reported.

    Args:
        row: the row.
        where: what to call it in messages.
        taken: columns that are no attributes, besides subject, label and split.
        part: what the refusals are about.
    """
    values = row.values
    split, problems = as_text(values.get("split")), list[Refusal]()
    if split is not None and split not in SPLITS:
        message = f"{where} says split {shown(split)}; expected one of {', '.join(SPLITS)}; the usual rule decides"
        problems.append(Refusal(BAD_SPLIT, message, part))
        split = None
    other = {*taken, "subject", "label", "split"}
    attributes = {name: value for name, value in sorted(values.items()) if name not in other and name}
    for name, value in attributes.items():
        if isinstance(value, str) and len(value) > MOST_CHARACTERS:
            message = (
                f"{where} has {len(value):,} characters in column {shown(name)}; at most {MOST_CHARACTERS:,} are kept"
            )
            problems.append(Refusal(FIELD_TOO_LARGE, f"{message}, so it counts as empty", part))
            attributes[name] = None
    return Said(as_text(values.get("subject")), as_text(values.get("label")), split, attributes), problems
