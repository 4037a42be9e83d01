"""Vectors of the words clusters are named by, kept on disk: encoding a thousand words costs seconds of every run."""

import logging
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from flywheel.encoders import Encoder, Vectors
from flywheel.identity import digest

log = logging.getLogger("flywheel.structure.vocabulary")

NAME = "vectors"

_files = cast(Any, safetensors.numpy)  # its annotations name types that are not known


def encode_vocabulary(encoder: Encoder, words: Sequence[str], folder: Path | None = None) -> Vectors:
    """Return the vectors of `words`, (n, words_dim) float32, unit length, in their order.

    Args:
        folder: where vectors are kept from one call to the next, one file for each encoder and list of words;
            without it they are encoded each time. A file that cannot be read, or is of another size, is replaced.
    """
    if folder is None:
        return encoder.encode_words(words)
    # `words_id` alone names a space, not the precision its words were computed in
    path = folder / f"{digest('words', encoder.id, encoder.words_id, *words)}.safetensors"
    kept = _read(path, (len(words), encoder.words_dim))
    if kept is None:
        kept = encoder.encode_words(words)
        _write(path, kept)
    return kept


def _read(path: Path, shape: tuple[int, int]) -> Vectors | None:
    try:
        vectors: Vectors = _files.load_file(path)[NAME]
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, OSError) as error:
        log.warning("%s cannot be read and is made anew: %s", path, error)
        return None
    return vectors if vectors.shape == shape and vectors.dtype == np.float32 else None


def _write(path: Path, vectors: Vectors) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        _files.save_file({NAME: np.ascontiguousarray(vectors)}, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
