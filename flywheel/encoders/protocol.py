"""What the flywheel asks of an encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Content:
    """What an encoder gets of one content: an image's file, or the canonical form its decoder documents."""

    content_id: str
    modality: str  # one of `flywheel.config.MODALITIES`
    data: bytes


class Encoder(Protocol):
    """Turns contents of one modality into unit vectors, and connects them to words.

    `encode` gives a content the same vector whatever batch it stands in, to the last bit on one machine
    (fixed batch shapes); across machines within 2e-3 per component.
    """

    @property
    def id(self) -> str:
        """Name of the encoder with everything that changes its vectors: model, revision, size, precision."""
        ...

    @property
    def modality(self) -> str:
        """The modality it encodes."""
        ...

    @property
    def dim(self) -> int:
        """Length of a content vector."""
        ...

    @property
    def words_id(self) -> str:
        """Name of the space its words lie in; two encoders with the same one can be searched together.

        "" for an encoder that knows no words: its contents are found by examples only.
        """
        ...

    @property
    def words_dim(self) -> int:
        """Length of a vector in the space of words; 0 without words."""
        ...

    def encode(self, batch: Sequence[Content]) -> Vectors:
        """Return the vectors of `batch`, (n, dim) float32, unit length, in its order.

        Raises:
            DataError: a content cannot be decoded; `ids` names which.
        """
        ...

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of search texts, (n, words_dim) float32, unit length; not asked without words."""
        ...

    def to_words(self, vectors: Vectors) -> Vectors:
        """Map content vectors (n, dim) into the space of words, (n, words_dim) float32, unit length.

        Not asked without words.
        """
        ...
