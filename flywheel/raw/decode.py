"""Turns the bytes of an object into data: images, texts, and the rows of text tables.

`content_id` is a digest of the *canonical* content, so that it does not depend on the file around it: for an
image its upright pixels, for a text its NFC characters with "\\n" between lines. Whatever an encoder may see is in
it. A change of what is canonical must change the decoder's name, and with it every id.
"""

import importlib
import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageOps

from flywheel.identity import content_id
from flywheel.raw.reasons import (
    BAD_ENCODING,
    BAD_SPLIT,
    DUPLICATE_ID,
    EMPTY,
    MALFORMED_ROW,
    SPLITS,
    TOO_LARGE,
    TOO_MANY_PIXELS,
    UNDECODABLE,
    UNKNOWN_TYPE,
    Refusal,
    Refused,
    shown,
)
from flywheel.raw.rows import TABLE_ENDINGS, Row, Scalar, as_text, decode_utf8, read_rows, text_problem

IMAGE_DECODER = "image-1"
TEXT_DECODER = "text-1"

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif")
TEXT_ENDINGS = (".txt",)
ENDINGS = (*IMAGE_ENDINGS, *TEXT_ENDINGS, *TABLE_ENDINGS)

for _format in ("Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP"):  # each registers itself, before threads ask for it
    importlib.import_module(f"PIL.{_format}ImagePlugin")

_DEEP = ("I", "F")  # gray with more than 8 bits keeps its depth


@dataclass(frozen=True, slots=True)
class Said:
    """What a manifest or a table row says about a datum; None where it says nothing."""

    subject: str | None
    label: str | None
    split: str | None  # train | pool | eval
    attributes: dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class Datum:
    """One decoded datum of an object."""

    part: str  # row of a table file; "" for a file that is one item
    modality: str  # image | text
    content_id: str
    size: int  # bytes: of the file for an image, of the canonical text for a text
    said: Said | None = None  # by its own row
    text: bytes | None = None  # the canonical text, where it was asked for


def is_table(key: str) -> bool:
    """Whether the object holds one item a row."""
    return key.lower().endswith(TABLE_ENDINGS)


def decode(content: bytes, key: str, *, max_bytes: int, max_pixels: int, texts: bool = False) -> list[Datum | Refusal]:
    """Decode one object into its data, in the order of its rows; what cannot be used becomes refusals.

    Args:
        content: the object's bytes.
        key: its key; the ending says how to read it (what an image really is, its bytes say).
        max_bytes: larger objects, and larger texts of a row, are refused.
        max_pixels: larger images are refused, before any pixel is decoded.
        texts: whether the data carry their text.
    """
    try:
        if len(content) > max_bytes:
            raise Refused(TOO_LARGE, f"{key} has {len(content):,} bytes, at most {max_bytes:,} are read (max_bytes)")
        if is_table(key):
            return list(_table(content, key, max_bytes, texts))
        if not content:
            raise Refused(EMPTY, f"{key} has no bytes; upload it again")
        if key.lower().endswith(IMAGE_ENDINGS):
            return [Datum("", "image", image_content_id(content, key, max_pixels=max_pixels), len(content))]
        if key.lower().endswith(TEXT_ENDINGS):
            return [_text_datum("", canonical_text(decode_utf8(content, key), key), None, texts)]
        raise Refused(UNKNOWN_TYPE, f"{key} has an ending the flywheel does not read; expected {', '.join(ENDINGS)}")
    except Refused as refused:
        return [refused.refusal]


def image_content_id(content: bytes, key: str, *, max_pixels: int) -> str:
    """Return the content id of an encoded image.

    Raises:
        Refused: it is no whole image of a known format, or has too many pixels.
    """
    image = canonical_image(content, key, max_pixels=max_pixels)
    header = f"{image.mode} {image.width} {image.height}\n".encode()
    return content_id(header + image.tobytes(), IMAGE_DECODER)


def canonical_image(content: bytes, key: str, *, max_pixels: int) -> Image.Image:
    """Decode the first frame of an image, upright (EXIF), as RGB; RGBA where something is transparent.

    Gray with more than 8 bits keeps its depth (mode I or F).

    Raises:
        Refused: it is no whole image of a known format, or has too many pixels (seen before decoding).
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise Refused(TOO_MANY_PIXELS, _too_many(key, f"{image.width} x {image.height} pixels", max_pixels))
            return _canonical(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
        raise Refused(TOO_MANY_PIXELS, _too_many(key, str(bomb), max_pixels)) from None
    except (Refused, MemoryError):
        raise
    except Exception as error:  # on damaged files parsers raise whatever they stumble over
        raise Refused(
            UNDECODABLE,
            f"{key} is no readable {', '.join(FORMATS)} image ({_told(error)}); upload it again or convert it",
        ) from None


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


def _canonical(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return image if image.mode in _DEEP else image.convert("I")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    opaque = image.getchannel("A").getextrema() == (255, 255)
    return image.convert("RGB") if opaque else image


def _too_many(key: str, found: str, max_pixels: int) -> str:
    return (
        f"{key} is too large an image: {found}, at most {max_pixels:,} pixels are decoded (max_pixels); scale it down"
    )


def _told(error: Exception) -> str:
    """Say what a parser stumbled over, in the same words every time (no memory addresses)."""
    words = re.sub(r"<[^>]* at 0x[0-9a-f]+>", "it", str(error))
    return f"{type(error).__name__}: {shown(words, 120)}" if words else type(error).__name__


def _text_datum(part: str, text: str, said: Said | None, texts: bool) -> Datum:
    content = text.encode("utf-8")
    return Datum(part, "text", content_id(content, TEXT_DECODER), len(content), said, content if texts else None)


def _table(content: bytes, key: str, max_bytes: int, texts: bool) -> Iterator[Datum | Refusal]:
    """Decode the rows of a text table: columns text (needed), id, subject, label, split, the rest attributes."""
    seen: dict[str, int] = {}
    for row in read_rows(content, key, needed="text"):
        if isinstance(row, Refusal):
            yield row
            continue
        part = as_text(row.values.get("id")) or row.name
        if part in seen:
            message = f"row {row.number} of {key} has the id {shown(part)} of row {seen[part]}; the first row counts"
            yield Refusal(DUPLICATE_ID, message, row.name)
            continue
        seen[part] = row.number
        try:
            yield from _row(row, part, key, max_bytes, texts)
        except Refused as refused:
            yield Refusal(refused.refusal.reason, refused.refusal.message, part)


def _row(row: Row, part: str, key: str, max_bytes: int, texts: bool) -> Iterator[Datum | Refusal]:
    where = f"row {row.number} of {key}"
    value = row.values.get("text")
    if value is not None and not isinstance(value, str):
        value = as_text(value)  # a CSV column of texts that all look like numbers
    if value is None:
        reason = EMPTY if "text" in row.values else MALFORMED_ROW
        raise Refused(reason, f"{where} has no text; expected some in the column 'text'")
    text = canonical_text(value, where)
    if len(text.encode("utf-8")) > max_bytes:
        raise Refused(TOO_LARGE, f"{where} has a text of more than {max_bytes:,} bytes (max_bytes)")
    said, problems = what_is_said(row, where, taken=("text", "id"), part=part)
    yield _text_datum(part, text, said, texts)
    yield from problems


def what_is_said(row: Row, where: str, *, taken: tuple[str, ...], part: str) -> tuple[Said, list[Refusal]]:
    """Read subject, label, split and attributes off a row; a split that is none is left out and reported.

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
    return Said(as_text(values.get("subject")), as_text(values.get("label")), split, attributes), problems
