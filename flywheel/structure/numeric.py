"""Small numeric helpers whose results do not depend on how many threads a machine has."""

from collections.abc import Generator
from contextlib import contextmanager

import faiss
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from flywheel.encoders import Vectors

Ints = NDArray[np.int64]

# Cosines are kept to this many decimals: float32 sums differ in the seventh with the order of addition.
DECIMALS = 6


@contextmanager
def one_thread() -> Generator[None]:
    """Run BLAS and faiss on one thread: with several, sums are split differently and last bits differ."""
    before = faiss.omp_get_max_threads()
    with threadpool_limits(limits=1):
        faiss.omp_set_num_threads(1)
        try:
            yield
        finally:
            faiss.omp_set_num_threads(before)


def normalize(vectors: Vectors) -> Vectors:
    """Return the rows of `vectors` at unit length; a row of zeros stays as it is."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    return np.ascontiguousarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def pair_cosines(a: Vectors, b: Vectors) -> Vectors:
    """Return the cosine of each row of `a` with the same row of `b`, both unit length, rounded to 1e-6."""
    cosines: Vectors = np.einsum("nd,nd->n", a, b)
    return np.clip(np.round(cosines, DECIMALS), -1.0, 1.0).astype(np.float32)


def group_means(vectors: Vectors, labels: Ints, groups: int) -> Vectors:
    """Return the unit-length mean of each group's rows, (groups, d); an empty group has a row of zeros."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(groups))
    filled = np.bincount(labels, minlength=groups) > 0
    sums = np.zeros((groups, vectors.shape[1]), np.float32)
    if len(labels):
        sums[filled] = np.add.reduceat(vectors[order], starts[filled], axis=0)
    return normalize(sums)
