"""Choosing items that are uncertain and stand for many others.

Uncertainty herding (Bae et al. 2024, "Uncertainty Herding", eq. 3) on a sparse neighbor graph: the value of a
set S is sum_i u_i * max_{s in S} k(i, s), where u_i is the model's uncertainty about i and k a kernel of
cosine similarity that is zero beyond the graph. The function is monotone and submodular, so lazy greedy
(Minoux 1978) finds the same set as greedy with few evaluations.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SparseKernel:
    """Similarity of each row to its neighbors, in compressed rows; a row's similarity to itself is 1."""

    starts: Rows  # (n + 1,)
    neighbors: Rows  # (edges,)
    weights: Floats  # (edges,) in (0, 1]

    def of(self, row: int) -> tuple[Rows, Floats]:
        """Return the rows that `row` stands for and how well."""
        span = slice(int(self.starts[row]), int(self.starts[row + 1]))
        return self.neighbors[span], self.weights[span]


def kernel_from_edges(rows: Rows, columns: Rows, similarities: Floats, n: int) -> SparseKernel:
    """Build the symmetric kernel from directed neighbor edges.

    Similarities are stretched so that the graph's 5 % quantile becomes 0 and identity 1: encoders differ in
    how far apart "different" is. Cost: edges × log(edges).
    """
    floor = float(np.quantile(similarities, 0.05)) if similarities.size else 0.0
    stretched = np.clip((similarities - floor) / max(1.0 - floor, 1e-6), 0.0, 1.0)
    own = np.arange(n)
    left = np.concatenate([rows, columns, own])
    right = np.concatenate([columns, rows, own])
    weight = np.concatenate([stretched, stretched, np.ones(n)])
    order = np.lexsort((-weight, right, left))
    left, right, weight = left[order], right[order], weight[order]
    first = np.ones(left.size, bool)
    first[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    keep = first & (weight > 0)
    left, right, weight = left[keep], right[keep], weight[keep]
    starts = np.searchsorted(left, np.arange(n + 1))
    return SparseKernel(starts.astype(np.int64), right.astype(np.int64), weight)


def coverage_of(kernel: SparseKernel, chosen: Iterable[int], n: int) -> Floats:
    """Return how well each row is stood for by `chosen`, (n,) in [0, 1]."""
    covered = np.zeros(n)
    for row in chosen:
        near, weight = kernel.of(row)
        np.maximum.at(covered, near, weight)
    return covered


def herd(
    kernel: SparseKernel, uncertainty: Floats, candidates: Rows, budget: int, covered: Floats
) -> list[tuple[int, float]]:
    """Choose `budget` of the candidates, most valuable first, with the value each adds.

    Args:
        kernel: over n rows.
        uncertainty: (n,) weights >= 0; 0 for rows nobody needs to stand for.
        candidates: rows that may be chosen.
        budget: how many; a budget larger than the candidates takes them all.
        covered: (n,) in [0, 1], how well rows are stood for already; updated in place.

    Ties go to the smaller row. Cost: evaluations × neighbors, with few evaluations per choice.
    """

    def gain(row: int) -> float:
        near, weight = kernel.of(row)
        return float((uncertainty[near] * np.maximum(weight - covered[near], 0.0)).sum())

    heap = [(-gain(int(row)), int(row), 0) for row in candidates]
    heapq.heapify(heap)
    chosen: list[tuple[int, float]] = []
    while heap and len(chosen) < budget:
        value, row, seen = heapq.heappop(heap)
        if seen == len(chosen):
            near, weight = kernel.of(row)
            covered[near] = np.maximum(covered[near], weight)
            chosen.append((row, -value))
        else:
            heapq.heappush(heap, (-gain(row), row, len(chosen)))
    return chosen
