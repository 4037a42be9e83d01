"""Clips as vectors and as contact sheets."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from flywheel.config import EncoderConfig, EncodersConfig
from flywheel.encoders import open_encoder, show
from flywheel.encoders.protocol import Content, Vectors
from flywheel.encoders.video import VideoEncoder
from flywheel.errors import DataError
from flywheel.raw.datum import Datum
from tests.raw_world import decode
from tests.unit.video_files import video


class Colors:
    """Sees nothing but the mean color; stands for any image encoder."""

    modality, id, dim, words_id, words_dim = "image", "colors", 3, "color words", 3

    def encode(self, batch: Sequence[Content]) -> Vectors:
        means = np.stack([np.asarray(Image.open(io.BytesIO(one.data))).mean(axis=(0, 1)) for one in batch])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        return np.eye(3, dtype=np.float32)[[["red", "green", "blue"].index(text) for text in texts]]

    def to_words(self, vectors: Vectors) -> Vectors:
        return vectors


def clips(**settings: object) -> list[Content]:
    found = decode(video(3), "a.mp4", contents=True, video=settings)
    return [Content(one.content_id, "video", one.data or b"") for one in found if isinstance(one, Datum)]


def test_a_clip_is_the_mean_of_its_frames_and_found_by_words() -> None:
    encoder = VideoEncoder(Colors())
    each, [whole] = clips(clip_seconds=1), clips()
    vectors = encoder.encode([*each, whole])
    assert (encoder.id, encoder.dim, encoder.words_id) == ("colors_frames-1", 3, "color words")
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors[1], encoder.encode(each[1:2])[0])
    found = encoder.to_words(vectors[:3]) @ encoder.encode_words(["red", "green", "blue"]).T
    assert found.argmax(axis=1).tolist() == [0, 1, 2]
    assert (vectors[3] @ vectors[:3].T).min() > 0.75


def test_what_is_no_clip_is_named() -> None:
    with pytest.raises(DataError) as caught:
        VideoEncoder(Colors()).encode([*clips(), Content("bad", "video", b"{}")])
    assert caught.value.ids == ("bad",)


def test_the_configured_image_encoder_looks_at_the_frames() -> None:
    config = EncodersConfig(image=EncoderConfig(kind="efficientnet-conse", image_size=96, precision="fp32"))
    image = open_encoder("image", config.image)
    assert open_encoder("video", config.video, config).id == f"{image.id}_frames-1"


def test_a_clip_is_shown_as_a_sheet_of_its_frames() -> None:
    [whole] = clips(frames_per_clip=6)
    seen = show("video", whole.data)
    sheet = Image.open(io.BytesIO(seen.data))
    assert seen.kind == "image" and sheet.size == (4 * 336, 2 * 224)
    assert seen == show("video", whole.data)
    colors = [np.argmax(np.asarray(sheet)[150, 336 * place + 100]) for place in (0, 2)]
    assert colors == [0, 1]  # half a second apart: the third frame shows the second color
