"""From the bytes of an image to RGB pixels, the same for every image encoder."""

import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from flywheel.encoders.protocol import Content, Vectors
from flywheel.errors import DataError

Pixels = NDArray[Any]

LONGEST = 10  # an image longer than this many times its width is cut to its middle


def decode_image(data: bytes) -> Image.Image:
    """Return the image in RGB, turned as its EXIF data says, transparency on white, the first frame of several.

    Raises:
        ValueError: the bytes are no image that can be read whole, or it has too many pixels to be read safely.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                return _limit_aspect(_to_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # decoders of damaged files raise whatever their format's parser stumbles over
        raise ValueError(f"{type(error).__name__}: {error}") from error


def square(image: Image.Image, size: int) -> Image.Image:
    """Return the largest centered square of `image`, resized to `size` x `size` pixels (bicubic, antialiased)."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def encode_images(
    batch: Sequence[Content],
    prepare: Callable[[Image.Image], Pixels],
    forward: Callable[[Pixels], Vectors],
    *,
    rows: int,
    dim: int,
) -> Vectors:
    """Return the vectors (n, dim) of images: `forward` always sees exactly `rows` prepared ones, zeros at the end.

    Raises:
        DataError: some cannot be decoded; `ids` names all of them. Nothing more is computed once that is known.
    """
    vectors = np.zeros((len(batch), dim), np.float32)
    broken: dict[str, str] = {}

    def ready(content: Content) -> Pixels | None:
        try:
            return prepare(decode_image(content.data))
        except ValueError as error:
            broken[content.content_id] = str(error)
            return None

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        for start in range(0, len(batch), rows):
            pixels = [image for image in threads.map(ready, batch[start : start + rows]) if image is not None]
            if not broken:
                vectors[start : start + rows] = forward(_filled(pixels, rows))[: len(pixels)]
    if broken:
        ids = tuple(content.content_id for content in batch if content.content_id in broken)
        raise DataError(f"{len(ids)} images cannot be decoded, the first is {ids[0]}: {broken[ids[0]]}", ids)
    return vectors


def _filled(pixels: list[Pixels], rows: int) -> Pixels:
    stacked = np.zeros((rows, *pixels[0].shape), pixels[0].dtype)
    stacked[: len(pixels)] = pixels
    return stacked


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        image = image.convert("I").point(lambda value: value / 257).convert("L")  # 16-bit gray to 8 bit
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _limit_aspect(image: Image.Image) -> Image.Image:
    """Cut extremely long images: processors that resize by the shorter side would blow them up without bound."""
    width, height = image.size
    longest = LONGEST * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return image.crop((left, top, min(width, left + longest), min(height, top + longest)))
