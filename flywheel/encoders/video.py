"""Clips to vectors: the mean of what the image encoder sees in their frames, at unit length; words find them alike."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from flywheel.encoders.protocol import Content, Encoder, Vectors
from flywheel.errors import DataError
from flywheel.raw.decoders.video import parse_clip

VERSION = "frames-1"  # of how frames become one vector; part of the encoder's id
CLIPS = 16  # decoded at a time


class VideoEncoder:
    """An image encoder that looks at the frames of clips; its members are those of `Encoder`."""

    modality = "video"

    def __init__(self, eye: Encoder):
        self.contents_encoded = 0
        self._eye = eye

    @property
    def id(self) -> str:
        return f"{self._eye.id}_{VERSION}"

    @property
    def dim(self) -> int:
        return self._eye.dim

    @property
    def words_id(self) -> str:
        return self._eye.words_id

    @property
    def words_dim(self) -> int:
        return self._eye.words_dim

    def encode(self, batch: Sequence[Content]) -> Vectors:
        parts = [self._encode(batch[start : start + CLIPS]) for start in range(0, len(batch), CLIPS)]
        self.contents_encoded += len(batch)
        return np.concatenate([np.zeros((0, self.dim), np.float32), *parts])

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        return self._eye.encode_words(texts)

    def to_words(self, vectors: Vectors) -> Vectors:
        return self._eye.to_words(vectors)

    def _encode(self, batch: Sequence[Content]) -> Vectors:
        frames: list[Content] = []
        clip_of: list[int] = []
        for row, content in enumerate(batch):
            pictures = _pictures(content)
            frames += pictures
            clip_of += [row] * len(pictures)
        seen = self._eye.encode(frames)
        sums = np.zeros((len(batch), self.dim), np.float32)
        np.add.at(sums, np.array(clip_of), seen)
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12))


def _pictures(content: Content) -> list[Content]:
    """The frames of a clip as images for an image encoder.

    Raises:
        DataError: these are not the bytes of a clip.
    """
    try:
        frames = parse_clip(content.data).frames
    except (ValueError, KeyError) as error:
        raise DataError(f"{content.content_id} is no clip: {error}", (content.content_id,)) from None
    pictures: list[Content] = []
    for frame in frames:
        target = io.BytesIO()
        Image.fromarray(frame).save(target, "PNG", compress_level=0)
        pictures.append(Content(content.content_id, "image", target.getvalue()))
    return pictures
