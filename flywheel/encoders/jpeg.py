"""Decodes photographs at about the size an encoder looks at, which is far less than what a camera stores.

A JPEG stores frequencies. Leaving the high ones out while decoding gives the picture at 1/2, 1/4 or 1/8 of its size
for a fraction of the work (libjpeg-turbo's scaled inverse transform, through simplejpeg). Only plain JPEGs are read
here; whatever is unusual or damaged is left to Pillow, which knows every kind and says what is wrong.
"""

import io
from typing import Any, cast

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]
from PIL import ExifTags, Image

from flywheel.encoders.pixels import Pixels, square

PARTS = (8, 4, 2)  # the scales between them have no fast code: 5/8 takes longer than the whole picture
MARGIN = 1.4  # sides this many times the wanted ones: below it, vectors begin to tell the difference
PLAIN = ("YCbCr", "Gray")  # not CMYK or YCCK (print), and not RGB (rare)
START = b"\xff\xd8\xff"

_simplejpeg = cast(Any, simplejpeg)  # it ships no types


def square_of_jpeg(data: bytes, size: int, *, max_pixels: int) -> Pixels | None:
    """Return the largest centered square of a plain JPEG, upright, (size, size, 3) uint8; None for anything else.

    Which way a content takes follows from its bytes alone, so its vector never depends on its neighbors.

    Args:
        data: the encoded image.
        size: pixels a side.
        max_pixels: larger images are left to the usual decoder, which refuses them.
    """
    if not data.startswith(START):
        return None
    try:
        height, width, colors, _ = _simplejpeg.decode_jpeg_header(data)
        if colors not in PLAIN or height * width > max_pixels:
            return None
        part = reduction(min(width, height), size)
        sides = {"min_height": -(-height // part), "min_width": -(-width // part), "min_factor": 1}
        pixels = cast(Pixels, _simplejpeg.decode_jpeg(data, "RGB", **sides))
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as header:  # reads no pixels
            orientation = header.getexif().get(ExifTags.Base.Orientation, 1)
        if part == 1:
            return square(turned(pixels, orientation), size)
        return turned(_middle(pixels, width / part, height / part, size), orientation)
    except MemoryError:
        raise
    except Exception:  # parsers raise whatever they stumble over; the usual decoder tells what is wrong
        return None


def reduction(side: int, size: int) -> int:
    """Return by what the decoder divides an image whose shorter side has `side` pixels: 8, 4, 2 or 1."""
    return next((part for part in PARTS if side >= part * size * MARGIN), 1)


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Return stored pixels upright; `orientation` is that of EXIF, 1 to 8 (what is none turns nothing)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def _middle(pixels: Pixels, width: float, height: float, size: int) -> Pixels:
    """Resize the middle square of a reduced image.

    Its last row and column may stand for less than a whole one: the picture ends at `width` and `height`. Taking
    the reduced image for the picture would shift and stretch it by a part of a pixel, which vectors tell.
    """
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box=box))
