"""Spherical k-means at several nested levels, cold or started from the centers of a former run."""

import faiss
import numpy as np
from numpy.typing import NDArray

from flywheel.encoders import Vectors
from flywheel.structure.numeric import Ints, group_means, normalize, one_thread, pair_cosines

# Rows per cluster that k-means looks at; more do not move a center noticeably.
SAMPLE_PER_CLUSTER = 256
# Up to this many rows three starts are tried and the best is taken: there chance matters more, and time less.
SMALL = 2000
BLOCK = 8192


def cluster_counts(n: int, sizes: tuple[int, ...]) -> list[int]:
    """Return how many clusters each level of `sizes` (rows per cluster, coarsest first) has for `n` rows.

    Few rows still give 2, 4, 6 … clusters, as long as there are two rows for each of them; a finer level never
    has fewer than the one above.
    """
    counts: list[int] = []
    for level, size in enumerate(sizes):
        least = min(2 * (level + 1), max(n // 2, 1))
        counts.append(max([round(n / size), least, *counts[-1:]]))
    return counts


def cluster_vectors(
    vectors: Vectors, sizes: tuple[int, ...], seed: int, former: list[Vectors] | None = None
) -> tuple[list[Ints], list[Vectors]]:
    """Divide rows into clusters at nested levels: each level by k-means on the rows, then every finest cluster goes
    as a whole to the nearest center above it. (Clustering the finest centers instead, as hierarchical k-means does,
    mixed the classes of images and texts more at the coarse level.)

    Args:
        vectors: (n, d) float32, unit length, n >= 1.
        sizes: rows per cluster at each level, coarsest first.
        seed: of the choice of first centers.
        former: centers of a former run per level, each (k, d), or None; k-means then starts from them, which keeps
            clusters where they were as rows come and go.

    Returns:
        labels per level, coarsest first, each (n,) int64, and the centers they count, each (k, d) float32, unit
        length: the mean of the rows. No cluster is empty. The same to the last bit whatever the number of threads.

    Cost: iterations · n · k · d per level, with n at most 256 k.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    labels: list[Ints] = []
    centers: list[Vectors] = []
    with one_thread():
        for level, k in reversed(list(enumerate(cluster_counts(len(rows), sizes)))):
            start = former[level] if former and level < len(former) and len(former[level]) else None
            found = spherical_kmeans(rows, k, seed, start=start)
            own = assign(rows, found) if not centers else assign(centers[0], found)[labels[0]]
            own = np.unique(own, return_inverse=True)[1].astype(np.int64)
            labels.insert(0, own)
            centers.insert(0, group_means(rows, own, int(own.max()) + 1))
    return labels, centers


def spherical_kmeans(rows: Vectors, k: int, seed: int, *, start: Vectors | None = None) -> Vectors:
    """Return `k` unit-length centers (fewer where there are fewer rows) of unit-length `rows` (n, d).

    Args:
        start: (m, d) centers to start from; more than `k` lose those with the least rows, fewer are filled up
            with rows far from all of them.
    """
    k = min(k, len(rows))
    means = faiss.Kmeans(
        rows.shape[1],
        k,
        niter=25 if start is None else 10,
        nredo=3 if start is None and len(rows) <= SMALL else 1,
        spherical=True,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=SAMPLE_PER_CLUSTER,
    )
    means.train(rows, init_centroids=None if start is None else _fit_start(rows, start, k, seed))
    return np.ascontiguousarray(means.centroids, dtype=np.float32)


def assign(rows: Vectors, centers: Vectors) -> Ints:
    """Return the most similar center of each row, (n,) int64; of equally similar ones the first."""
    blocks = range(0, len(rows), BLOCK)
    return np.concatenate([np.argmax(rows[i : i + BLOCK] @ centers.T, axis=1) for i in blocks]).astype(np.int64)


def distances_to(vectors: Vectors, centers: Vectors, labels: Ints) -> Vectors:
    """Return each row's distance to its center: 1 - cosine, 0..2, lower is nearer, (n,) float32."""
    parts = [
        1 - pair_cosines(vectors[i : i + BLOCK], centers[labels[i : i + BLOCK]]) for i in range(0, len(vectors), BLOCK)
    ]
    return np.concatenate(parts).astype(np.float32)


def _fit_start(rows: Vectors, start: Vectors, k: int, seed: int) -> Vectors:
    """Bring `start` to exactly `k` centers."""
    if len(start) > k:
        sizes = np.bincount(assign(rows, start), minlength=len(start))
        kept = np.sort(np.argsort(-sizes, kind="stable")[:k])
        return np.ascontiguousarray(start[kept])
    generator = np.random.default_rng(seed)
    centers = start
    gap = np.maximum(1 - (rows @ centers.T).max(axis=1), 0)
    while len(centers) < k:  # k-means++ (Arthur and Vassilvitskii 2007), going on from the former centers
        cumulated: NDArray[np.float64] = np.cumsum(np.square(gap.astype(np.float64)))
        if cumulated[-1] <= 0:
            chosen = len(centers) % len(rows)
        else:
            drawn = generator.random() * float(cumulated[-1])
            chosen = min(int(np.searchsorted(cumulated, drawn, side="right")), len(rows) - 1)
        centers = np.vstack([centers, rows[chosen][None]])
        gap = np.minimum(gap, np.maximum(1 - rows @ rows[chosen], 0))
    return normalize(centers)
