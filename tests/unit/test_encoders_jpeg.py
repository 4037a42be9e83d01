"""Reduced decoding of JPEGs: the same picture for less work, and everything unusual left to Pillow."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from flywheel.encoders import Content
from flywheel.encoders.conse import ConseEncoder, open_conse
from flywheel.encoders.images import decode_image, decode_square
from flywheel.encoders.jpeg import reduction, square_of_jpeg
from flywheel.encoders.pixels import Pixels, square
from flywheel.raw.reasons import Refused
from tests.unit.encoder_models import png

MOST = 100_000_000
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def conse() -> ConseEncoder:
    return open_conse(image_size=160)


def photograph(size: tuple[int, int] = (640, 427)) -> Image.Image:
    return Image.fromarray(load_sample_images().images[0]).resize(size, Image.Resampling.LANCZOS)


def jpeg(picture: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def found(data: bytes, size: int) -> Pixels:
    """The square that the reduced decoder returns for a JPEG that it must know."""
    pixels = square_of_jpeg(data, size, max_pixels=MOST)
    assert pixels is not None
    assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)
    return pixels


def expected(data: bytes, size: int) -> Pixels:
    """The square of all the pixels, as Pillow makes it."""
    picture = decode_image(data)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    middle = picture.crop((left, top, left + side, top + side))
    return np.asarray(middle.resize((size, size), Image.Resampling.BICUBIC))


def difference(first: Pixels, second: Pixels) -> float:
    """The root of the mean square difference, in steps of 255."""
    return float(np.sqrt(np.square(first.astype(float) - second).mean()))


@pytest.mark.parametrize(("side", "size", "part"), [(559, 200, 1), (560, 200, 2), (1120, 200, 4), (9000, 200, 8)])
def test_what_is_decoded_keeps_a_margin_over_the_size_wanted(side: int, size: int, part: int) -> None:
    assert reduction(side, size) == part


@pytest.mark.parametrize(
    ("width", "height"),
    [(640, 427), (641, 853), (1281, 855), (1283, 859), (855, 1281), (3, 200), (200, 3), (2, 2), (8, 8)],
)
def test_the_square_is_that_of_all_pixels(width: int, height: int) -> None:
    data = jpeg(photograph((width, height)))
    assert difference(found(data, 100), expected(data, 100)) < 3


def test_a_shift_of_a_few_pixels_would_be_noticed() -> None:
    first, second = photograph((1281, 855)), photograph((1283, 859))
    cut = second.crop((4, 4, 1283, 859))
    assert difference(found(jpeg(first), 100), found(jpeg(cut), 100)) > 4


@pytest.mark.parametrize("orientation", sorted(TURNS))
@pytest.mark.parametrize("size", [(190, 150), (803, 605)])
def test_a_turned_photograph_comes_upright(orientation: int, size: tuple[int, int]) -> None:
    picture, exif = photograph(size), Image.Exif()
    exif[0x0112] = orientation
    stored = picture.transpose(TURNS[orientation])
    data = jpeg(stored, exif=exif)
    assert difference(found(data, 120), expected(data, 120)) < 3
    assert difference(found(data, 120), square(np.asarray(stored), 120)) > 20


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 2, "quality": 40}])
def test_plain_jpegs_of_every_kind_are_reduced(options: dict[str, Any]) -> None:
    picture = photograph((800, 600))
    for stored in (picture, picture.convert("L")):
        data = jpeg(stored, **options)
        assert difference(found(data, 100), expected(data, 100)) < 3


@pytest.mark.parametrize("other", ["cmyk", "png", "webp", "rgb-jpeg"])
def test_what_is_no_plain_jpeg_is_decoded_in_full(other: str) -> None:
    picture, file = photograph((800, 600)), io.BytesIO()
    picture.save(file, "WEBP")
    data = {
        "cmyk": jpeg(picture.convert("CMYK")),
        "png": png(np.asarray(picture)),
        "webp": file.getvalue(),
        "rgb-jpeg": jpeg(picture, keep_rgb=True),
    }[other]
    assert square_of_jpeg(data, 100, max_pixels=MOST) is None
    assert np.array_equal(decode_square(data, 100), square(np.asarray(decode_image(data)), 100))


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0 no image", b"GIF89a"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        decode_square(data, 100)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_truncated_photograph_is_refused(share: float) -> None:
    whole = jpeg(photograph((800, 600)))
    with pytest.raises(Refused):
        decode_square(whole[: int(share * len(whole))], 100)


def test_too_many_pixels_are_left_to_the_decoder_that_refuses_them() -> None:
    assert square_of_jpeg(jpeg(photograph((800, 600))), 100, max_pixels=800 * 600 - 1) is None


def test_mutated_photographs_are_decoded_or_refused_and_nothing_else() -> None:
    whole, random = jpeg(photograph((320, 240))), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        try:
            assert decode_square(bytes(damaged), 60).shape == (60, 60, 3)
        except Refused:
            continue


@pytest.mark.parametrize("width", [640, 1283, 2560, 3333])
def test_a_reduced_photograph_has_nearly_the_vector_of_the_whole_one(conse: ConseEncoder, width: int) -> None:
    data = jpeg(photograph((width, width * 2 // 3)))
    reduced, whole, other = conse.encode(
        [
            Content("reduced", "image", data),
            Content("whole", "image", png(expected(data, 160))),
            Content("other", "image", png(load_sample_images().images[1])),
        ]
    )
    assert reduced @ whole > 0.995
    assert reduced @ other < 0.9


def test_the_vector_of_a_jpeg_does_not_depend_on_the_batch(conse: ConseEncoder) -> None:
    contents = [
        Content("jpeg", "image", jpeg(photograph((1280, 854)))),
        Content("cmyk", "image", jpeg(photograph().convert("CMYK"))),
        *(Content(f"png-{n}", "image", png(np.full((20, 30, 3), n, np.uint8))) for n in range(20)),
    ]
    together = conse.encode(contents)
    assert np.array_equal(together, conse.encode(contents[::-1])[::-1])
    assert np.array_equal(together[:1], conse.encode(contents[:1]))
