"""Records to vectors: their values are put into words, which a text encoder reads. So words find records."""

from collections.abc import Sequence
from dataclasses import replace

from flywheel.encoders.protocol import Content, Encoder, Vectors
from flywheel.encoders.shown import in_brief

VERSION = "record-2"  # of how a record is put into words; part of the encoder's id


class RecordEncoder:
    """A text encoder that reads records; its members are those of `Encoder`."""

    modality = "record"

    def __init__(self, reader: Encoder):
        self.contents_encoded = 0
        self._reader = reader

    @property
    def id(self) -> str:
        return f"{self._reader.id}_{VERSION}"

    @property
    def dim(self) -> int:
        return self._reader.dim

    @property
    def words_id(self) -> str:
        return self._reader.words_id

    @property
    def words_dim(self) -> int:
        return self._reader.words_dim

    def encode(self, batch: Sequence[Content]) -> Vectors:
        self.contents_encoded += len(batch)
        return self._reader.encode([replace(one, data=in_brief(one.data).encode("utf-8")) for one in batch])

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        return self._reader.encode_words(texts)

    def to_words(self, vectors: Vectors) -> Vectors:
        return vectors
