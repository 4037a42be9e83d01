"""From the bytes of an image to vectors: what every image encoder does alike."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flywheel.encoders.jpeg import square_of_jpeg
from flywheel.encoders.pixels import Pixels, square
from flywheel.encoders.protocol import Content, Vectors
from flywheel.encoders.runtime import IMAGES_PER_BATCH, device, in_parallel
from flywheel.errors import DataError
from flywheel.raw.decoders.images import canonical_image
from flywheel.raw.reasons import Refused

MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 1 << 27)  # what Pillow itself opens; sources set stricter limits
LONGEST = 10  # an image longer than this many times its width is cut to its middle


def encode_images(
    batch: Sequence[Content],
    prepare: Callable[[bytes], Pixels],
    forward: Callable[[Pixels], Vectors],
    dim: int,
) -> Vectors:
    """Return the vectors (n, dim) of images.

    `prepare` decodes one image into what the model takes, and raises `Refused` for what is none.
    `forward` always sees the same number of prepared images, zeros at the end, so that a vector does not depend on
    its neighbors. Memory holds a few such batches, not all images.

    Raises:
        DataError: some cannot be decoded; `ids` names all of them. Nothing more is computed once that is known.
    """
    rows = IMAGES_PER_BATCH[device()]
    broken: dict[str, str] = {}

    def encode(start: int) -> Vectors:
        pixels: list[Pixels] = []
        for content in batch[start : start + rows]:
            try:
                pixels.append(prepare(content.data))
            except Refused as refused:
                broken[content.content_id] = refused.refusal.message
        return np.zeros((0, dim), np.float32) if broken else forward(_filled(pixels, rows))[: len(pixels)]

    parts = in_parallel(encode, range(0, len(batch), rows))
    if broken:
        ids = tuple(content.content_id for content in batch if content.content_id in broken)
        raise DataError(f"{len(ids)} images cannot be decoded, the first is {ids[0]}: {broken[ids[0]]}", ids)
    return np.concatenate([np.zeros((0, dim), np.float32), *parts])


def decode_image(data: bytes) -> Image.Image:
    """Return the canonical image in RGB, transparency on white, gray of more than 8 bits stretched to its range.

    Raises:
        Refused: the bytes are no image that can be read whole, or it has too many pixels to be read safely.
    """
    image = canonical_image(data, "the content", max_pixels=MOST_PIXELS)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    elif image.mode in ("I", "F"):
        image = _stretched(image)
    return _limit_aspect(image.convert("RGB"))


def decode_square(data: bytes, size: int) -> Pixels:
    """Return the largest centered square of an encoded image at `size` x `size` pixels, (size, size, 3) uint8.

    A photograph takes between a half and a tenth of the time that decoding all its pixels would take.

    Raises:
        Refused: see `decode_image`.
    """
    photograph = square_of_jpeg(data, size, max_pixels=MOST_PIXELS)
    return square(np.asarray(decode_image(data)), size) if photograph is None else photograph


def _filled(pixels: list[Pixels], rows: int) -> Pixels:
    stacked = np.zeros((rows, *pixels[0].shape), pixels[0].dtype)
    stacked[: len(pixels)] = pixels
    return stacked


def _stretched(image: Image.Image) -> Image.Image:
    """Deep gray as 8 bits, from its darkest to its brightest value: its depth does not say which range is used."""
    values: NDArray[np.float64] = np.nan_to_num(np.asarray(image, np.float64))
    low, high = values.min(), values.max()
    eight_bits: NDArray[np.uint8] = np.asarray(np.round((values - low) * (255 / max(high - low, 1e-12))), np.uint8)
    return Image.fromarray(eight_bits)


def _limit_aspect(image: Image.Image) -> Image.Image:
    """Cut extremely long images: processors that resize by the shorter side would blow them up without bound."""
    width, height = image.size
    longest = LONGEST * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return image.crop((left, top, min(width, left + longest), min(height, top + longest)))
