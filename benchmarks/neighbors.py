"""The neighbor graph: the inverted file beside exact search, in time and in neighbors found.

The vectors are made up: unit vectors around random centers, which is what embeddings of a corpus with topics are like,
and nothing more than that. Compare the two methods with it, not one machine with another.
"""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.registry import Benchmark, Rows
from flywheel.encoders import Vectors
from flywheel.structure import measure_recall, nearest_neighbors


def clustered_vectors(n: int, dim: int, centers: int, seed: int) -> Vectors:
    """Return (n, dim) float32 unit vectors around `centers` directions."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(centers, dim))
    points = middle[rng.integers(centers, size=n)] + rng.normal(size=(n, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def run(n: int, dim: int, k: int, centers: int, repeats: int, seed: int) -> Rows:
    """Measure both methods in turns on the same vectors; `recall` is over a sample, 1 is best."""
    vectors = clustered_vectors(n, dim, centers, seed)
    methods: dict[str, Callable[[], Vectors]] = {
        "exact": lambda: nearest_neighbors(vectors, k, exact_up_to=n)[0],
        "inverted file": lambda: nearest_neighbors(vectors, k, exact_up_to=0)[0],
    }
    rows: Rows = []
    for repeat in range(repeats):
        for method, search in methods.items():
            started = time.perf_counter(), time.process_time()
            found = search()
            wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
            recall = measure_recall(vectors, found)
            rows.append({"method": method, "repeat": repeat, "seconds": wall, "cpu_seconds": cpu, "recall": recall})
    return rows


BENCHMARK = Benchmark(
    name="neighbors",
    summary="neighbor graph: inverted file beside exact search",
    run=run,
    sizes={"n": 20_000, "dim": 384, "k": 15, "centers": 200, "repeats": 3, "seed": 0},
)
