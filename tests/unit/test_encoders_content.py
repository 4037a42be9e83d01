"""What the offline encoders know: near texts, pictures by words, the same picture in another coat."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from flywheel.encoders import Content
from flywheel.encoders.conse import ConseEncoder, class_names, open_conse
from flywheel.encoders.images import LONGEST, decode_image
from flywheel.encoders.pixels import square
from flywheel.encoders.text import TextEncoder, open_minilm
from flywheel.raw.reasons import Refused
from tests.unit.encoder_models import png


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return open_minilm(max_tokens=32)


@pytest.fixture(scope="module")
def conse() -> ConseEncoder:
    return open_conse(image_size=160)


@pytest.fixture(scope="module")
def photographs() -> dict[str, np.ndarray]:
    china, flower = load_sample_images().images
    return {"temple": china, "flower": flower}


def text(name: str, words: str) -> Content:
    return Content(name, "text", words.encode())


def test_a_paraphrase_is_nearer_than_an_unrelated_text(minilm: TextEncoder):
    first, near, far = minilm.encode(
        [
            text("a", "The film was wonderful, I would watch it again."),
            text("b", "A great movie that I enjoyed very much."),
            text("c", "Interest rates rose by a quarter of a percent."),
        ]
    )
    assert first @ near > 0.5
    assert first @ far < 0.2


def test_a_text_and_the_same_words_searched_for_have_the_same_vector(minilm: TextEncoder):
    assert np.array_equal(minilm.encode([text("a", "a red flower")]), minilm.encode_words(["a red flower"]))


def test_what_is_behind_the_token_limit_does_not_count(minilm: TextEncoder):
    start = "one two three four five six seven eight " * 8
    cut, other = minilm.encode([text("a", start + "apples"), text("b", start + "engines")])
    assert np.array_equal(cut, other)


def test_words_find_the_photograph_they_describe(conse: ConseEncoder, photographs: dict[str, np.ndarray]):
    contents = [Content(name, "image", png(pixels)) for name, pixels in photographs.items()]
    temple, flower = conse.to_words(conse.encode(contents))
    about_flowers, about_temples = conse.encode_words(["flower", "temple building"])
    assert about_flowers @ flower > about_flowers @ temple + 0.1
    assert about_temples @ temple > about_temples @ flower + 0.1


def test_words_of_an_image_come_from_its_stored_vector_alone(conse: ConseEncoder, photographs: dict[str, np.ndarray]):
    vectors = conse.encode([Content("flower", "image", png(photographs["flower"]))])
    before = conse.contents_encoded
    words = conse.to_words(np.repeat(vectors, 5000, axis=0))
    assert words.shape == (5000, conse.words_dim)
    np.testing.assert_allclose(words, np.repeat(words[:1], 5000, axis=0), atol=1e-5)
    assert conse.contents_encoded == before


def test_images_lie_at_right_angles_to_what_all_class_names_share(
    conse: ConseEncoder, photographs: dict[str, np.ndarray]
):
    names = conse.encode_words(class_names())
    assert len(names) == 1000
    words = conse.to_words(conse.encode([Content("flower", "image", png(photographs["flower"]))]))
    assert abs(words[0] @ names.mean(axis=0)) < 1e-5


def test_an_image_and_its_mirrored_exif_twin_have_the_same_vector(
    conse: ConseEncoder, photographs: dict[str, np.ndarray]
):
    picture = Image.fromarray(photographs["flower"])
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    file = io.BytesIO()
    picture.rotate(180).save(file, "PNG", exif=exif)
    upright, turned = conse.encode(
        [Content("a", "image", png(photographs["flower"])), Content("b", "image", file.getvalue())]
    )
    assert np.array_equal(upright, turned)


def test_contents_are_counted_as_they_pass_through_the_model(minilm: TextEncoder):
    before = minilm.contents_encoded
    minilm.encode([text("a", "one"), text("b", "two")])
    minilm.encode_words(["three"])
    assert minilm.contents_encoded == before + 2


def test_transparent_pixels_are_white():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:] = (10, 20, 30, 255)
    image = np.asarray(decode_image(png(pixels)))
    assert (image[:, :4] == 255).all()
    assert (image[:, 4:] == (10, 20, 30)).all()


def test_gray_of_sixteen_bits_is_stretched_to_its_own_range():
    values = np.array([[1000, 2000], [3000, 1000]], np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    assert np.asarray(decode_image(file.getvalue()))[..., 0].tolist() == [[0, 128], [255, 0]]


def test_an_extremely_long_image_is_cut_to_its_middle():
    pixels = np.zeros((2, 1000, 3), np.uint8)
    pixels[:, 490:510] = 200
    image = decode_image(png(pixels))
    assert image.size == (2 * LONGEST, 2)
    assert (np.asarray(image) == 200).all()


def test_the_square_is_the_middle_of_the_image():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    assert (square(pixels, 20) >= 250).all()


def test_a_truncated_image_is_refused():
    with pytest.raises(Refused):
        decode_image(png(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))[:2000])
