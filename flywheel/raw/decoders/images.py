"""Images: JPEG, PNG, WebP, TIFF, GIF (first frame), upright.

`content_id` is a digest of the pixels as they are looked at, so that it depends neither on the file around them nor
on what its header says of the camera.
"""

import importlib
import io
import re
from collections.abc import Iterator

from PIL import Image, ImageOps, UnidentifiedImageError

from flywheel.identity import content_id
from flywheel.raw.datum import Datum
from flywheel.raw.exif import read_exif
from flywheel.raw.kinds import kind_of
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import (
    CONTENT_MISMATCH,
    DECOMPRESSION_BOMB,
    TOO_FEW_PIXELS,
    TOO_MANY_PIXELS,
    TRUNCATED,
    UNDECODABLE,
    Refusal,
    Refused,
    shown,
)

IMAGE_DECODER = "image-1"

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif")

for _format in ("Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP"):  # each registers itself, before threads ask for it
    importlib.import_module(f"PIL.{_format}ImagePlugin")

_OUR_FORMATS = ("JPEG image", "PNG image", "WebP image", "TIFF image", "GIF image")
_DEEP = ("I", "F")  # gray with more than 8 bits keeps its depth


def decode_image(opened: Opened, contents: bool) -> Iterator[Datum | Refusal]:
    """Decode one image; see `flywheel.raw.decoders.Decoder`."""
    content = opened.content()
    image = canonical_image(content, opened.key, max_pixels=opened.config.max_pixels)
    told = {"width": image.width, "height": image.height, **read_exif(content)}
    yield Datum("", "image", pixels_id(image), len(content), told=told, data=content if contents else None)


def pixels_id(image: Image.Image) -> str:
    """Return the content id of a canonical image."""
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
            if min(image.size) < 2:
                raise Refused(
                    TOO_FEW_PIXELS, f"{key} has {image.width} x {image.height} pixels; there is nothing to see"
                )
            return _canonical(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
        raise Refused(TOO_MANY_PIXELS, _too_many(key, str(bomb), max_pixels)) from None
    except (Refused, MemoryError):
        raise
    except Exception as error:  # on damaged files parsers raise whatever they stumble over
        raise _refused(error, content, key) from None


def _canonical(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return image if image.mode in _DEEP else image.convert("I")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    opaque = image.getchannel("A").getextrema() == (255, 255)
    return image.convert("RGB") if opaque else image


def _refused(error: Exception, content: bytes, key: str) -> Refused:
    """Say what is wrong with a file that Pillow could not read."""
    words, kind = str(error), kind_of(content)
    if isinstance(error, UnidentifiedImageError) and kind and not kind.endswith(_OUR_FORMATS):
        return Refused(CONTENT_MISMATCH, f"{key} is {kind}, not a {', '.join(FORMATS)} image; rename or convert it")
    if "truncated" in words.lower() or "unexpected end" in words.lower():
        return Refused(TRUNCATED, f"{key} ends before its picture does ({_told(error)}); upload the whole file again")
    if "decompressed data too large" in words.lower():
        return Refused(
            DECOMPRESSION_BOMB, f"{key} holds data that unpack to far more than a picture's; nothing is read"
        )
    problem = f"{key} is no readable {', '.join(FORMATS)} image ({_told(error)}); upload it again or convert it"
    return Refused(UNDECODABLE, problem)


def _too_many(key: str, found: str, max_pixels: int) -> str:
    return (
        f"{key} is too large an image: {found}, at most {max_pixels:,} pixels are decoded (max_pixels); scale it down"
    )


def _told(error: Exception) -> str:
    """Say what a parser stumbled over, in the same words every time (no memory addresses)."""
    words = re.sub(r"<[^>]* at 0x[0-9a-f]+>", "it", str(error))
    return f"{type(error).__name__}: {shown(words, 120)}" if words else type(error).__name__
