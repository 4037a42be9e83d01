"""Images and texts in one space, with a transformers CLIP or SigLIP checkpoint.

Sources: Radford et al. 2021 (CLIP); Zhai et al. 2023 (SigLIP). Images go through the checkpoint's own image processor
(its Pillow form: torchvision is not needed), texts are padded to the length the model was trained with.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from flywheel.encoders.checkpoints import Checkpoint
from flywheel.encoders.images import decode_image, encode_images
from flywheel.encoders.pixels import Pixels
from flywheel.encoders.protocol import Content, Vectors
from flywheel.encoders.runtime import (
    TOKENS_PER_BATCH,
    Precision,
    WantedPrecision,
    choose_precision,
    device,
    in_parallel,
    inference,
    to_tensor,
    unit,
)
from flywheel.encoders.text import decode_texts
from flywheel.errors import ConfigError

VERSION = "v1"  # of what this module does to an image or a text; part of the encoder's id


class ClipEncoder:
    """The image or the text side of a CLIP-like model as an encoder; its members are those of `Encoder`.

    Its words lie in the space of its contents. Knowing its id reads a few small files; the first content loads the
    weights. `contents_encoded` counts the contents that went through the model since it was opened.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        modality: str = "image",
        *,
        max_tokens: int = 128,
        precision: WantedPrecision = "auto",
    ):
        self.modality = modality
        self.contents_encoded = 0
        self._checkpoint = checkpoint
        self._max_tokens = max_tokens
        self._precision: Precision = choose_precision(precision)

    @property
    def words_id(self) -> str:
        return f"{self._checkpoint.label}-{self._checkpoint.fingerprint}"

    @property
    def id(self) -> str:
        side = f"t{self._max_tokens}" if self.modality == "text" else "px"
        return f"{self.words_id}_{side}_{self._precision}_{VERSION}"

    @property
    def dim(self) -> int:
        """Width of the shared space.

        Raises:
            ConfigError: the checkpoint is no image-text model of this kind.
        """
        config = self._checkpoint.config
        text = getattr(config, "text_config", None)
        width = getattr(config, "projection_dim", None) or getattr(text, "projection_size", None)
        if text is None or not hasattr(config, "vision_config") or not width:
            raise ConfigError(
                f"'{self._checkpoint.name}' is a '{config.model_type}' model; kind 'transformers-clip' needs a CLIP or "
                "SigLIP checkpoint (for texts alone there is 'transformers-text')"
            )
        return int(width)

    @property
    def words_dim(self) -> int:
        return self.dim

    def encode(self, batch: Sequence[Content]) -> Vectors:
        if self.modality == "text":
            vectors = self.encode_words(decode_texts(batch))
        else:
            dim, processor, model = self.dim, self._processor, self._model  # loaded before the workers ask for them
            vectors = encode_images(batch, partial(self._prepare, processor), partial(self._forward_images, model), dim)
        self.contents_encoded += len(batch)
        return vectors

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        dim, rows = self.dim, max(1, TOKENS_PER_BATCH[device()] // self._text_length)
        model, tokenizer = self._model, self._tokenizer  # loaded before the workers ask for them

        def encode(start: int) -> Vectors:
            return self._forward_texts(model, tokenizer, list(texts[start : start + rows]), rows)

        return np.concatenate([np.zeros((0, dim), np.float32), *in_parallel(encode, range(0, len(texts), rows))])

    def to_words(self, vectors: Vectors) -> Vectors:
        return vectors

    def _prepare(self, processor: Any, data: bytes) -> Pixels:
        prepared: dict[str, Any] = processor(images=decode_image(data), return_tensors="np")
        return np.asarray(prepared["pixel_values"][0], np.float32)

    def _forward_images(self, model: Any, pixels: Pixels) -> Vectors:
        with inference(self._precision):
            output = model.get_image_features(pixel_values=to_tensor(pixels))
        return _pooled(output)

    def _forward_texts(self, model: Any, tokenizer: Any, texts: list[str], rows: int) -> Vectors:
        """One forward pass of a fixed shape; missing rows repeat the first text."""
        filled = texts + [texts[0]] * (rows - len(texts))
        encoded: dict[str, torch.Tensor] = tokenizer(
            filled, padding="max_length", truncation=True, max_length=self._text_length, return_tensors="pt"
        )
        # SigLIP was trained to read its padding: it takes no mask
        names = ["input_ids"] if self._is_siglip else ["input_ids", "attention_mask"]
        with inference(self._precision):
            output = model.get_text_features(**{name: encoded[name].to(device()) for name in names})
        return _pooled(output)[: len(texts)]

    @property
    def _is_siglip(self) -> bool:
        return str(self._checkpoint.config.model_type).startswith("siglip")

    @property
    def _text_length(self) -> int:
        """Tokens of every text. SigLIP reads its last position, so only the full length will do."""
        positions = int(self._checkpoint.config.text_config.max_position_embeddings)
        return positions if self._is_siglip else min(positions, self._max_tokens)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return self._checkpoint.load(AutoTokenizer)

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoImageProcessor

        return self._checkpoint.load(AutoImageProcessor, backend="pil")

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModel

        model = self._checkpoint.load(AutoModel, use_safetensors=True, dtype=torch.float32)
        return model.eval().to(device())


def _pooled(output: Any) -> Vectors:
    """The projected features at unit length, whether the model returns them bare or inside an output."""
    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    return unit(features.float().cpu().numpy())
