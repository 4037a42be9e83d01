"""neighbor_graph: writes `neighbors`, the k most similar contents of every content.

The one graph that duplicates, gaps, selection and label noise all read; nothing else compares all with all.
"""

import logging
import os
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import polars as pl

from flywheel.encoders import Vectors
from flywheel.errors import DataError
from flywheel.structure.numeric import Ints, one_thread, pair_cosines
from flywheel.structure.space import ContentSpace, StructureReport, load_space, stamp, standing
from flywheel.tables import Tables

log = logging.getLogger("flywheel.structure.neighbors")

ALGORITHM = "neighbors-1"
EXACT_UP_TO = 100_000
# Candidates fetched beyond k + 1, so that equally similar ones can be put in order of content.
SLACK = 8
BLOCK = 1024
RECALL_SAMPLE = 500
RECALL_WANTED = 0.98


def build_neighbors(tables: Tables, encoder_id: str, modality: str, *, k: int) -> StructureReport:
    """Write the `neighbors` of every current content of `modality`; nothing happens where they stand already.

    Args:
        k: neighbors per content; fewer where there are not that many other contents.
    """
    space = load_space(tables, encoder_id, modality)
    generation = stamp(space, ALGORITHM, k)
    stands, rows = standing(tables, "neighbors", modality)
    facts: dict[str, float] = {}
    written = False
    if stands != generation:
        ids, similarities = nearest_neighbors(space.vectors, k)
        if len(space) > EXACT_UP_TO:
            facts["recall"] = measure_recall(space.vectors, ids)
        rows = neighbor_rows(space, generation, ids, similarities)
        written = tables.replace("neighbors", rows, modality=modality)
    facts |= _describe(rows)
    return StructureReport("neighbors", modality, generation, len(space), rows.height, written, facts)


def neighbor_rows(space: ContentSpace, generation: str, ids: Ints, similarities: Vectors) -> pl.DataFrame:
    """Return neighbors given by position as rows of the table `neighbors`."""
    names = np.asarray(space.content_ids, dtype=object)
    return pl.DataFrame(
        {
            "generation": [generation] * len(space),
            "modality": [space.modality] * len(space),
            "content_id": list(space.content_ids),
            "ids": [list(names[row]) for row in ids],
            "similarities": similarities.tolist(),
        },
        schema_overrides={"ids": pl.List(pl.String), "similarities": pl.List(pl.Float32)},
    )


def read_neighbors(space: ContentSpace, rows: pl.DataFrame) -> tuple[Ints, Vectors]:
    """Return rows of the table `neighbors` by position in `space`: ids (n, k) int64, similarities (n, k) float32.

    Raises:
        DataError: the rows are not about exactly the contents of `space`.
    """
    rows = rows.sort("content_id")
    if tuple(rows["content_id"].to_list()) != space.content_ids:
        raise DataError(
            f"the neighbors that stand for {rows.height} contents do not fit the space of {len(space)}; "
            "build the neighbor graph again"
        )
    ids = np.searchsorted(np.asarray(space.content_ids), rows["ids"].explode(empty_as_null=False).to_numpy())
    similarities = rows["similarities"].explode(empty_as_null=False).to_numpy()
    n = max(len(space), 1)
    return ids.astype(np.int64).reshape(n, -1), similarities.astype(np.float32).reshape(n, -1)


def nearest_neighbors(vectors: Vectors, k: int, *, exact_up_to: int = EXACT_UP_TO) -> tuple[Ints, Vectors]:
    """Find the `k` rows most similar to each row.

    Args:
        vectors: (n, d) float32, unit length.
        k: neighbors wanted; at most n - 1 are found.
        exact_up_to: above this many rows an inverted file is searched instead of everything (see below).

    Returns:
        positions (n, min(k, n - 1)) int64, nearest first, itself left out, equally similar ones in order of
        position; and cosines of the same shape, float32, -1..1, rounded to 1e-6, higher is nearer. The same
        to the last bit whatever the number of threads.

    Cost: exact n² d. Above `exact_up_to` n^1.5 d times a factor that grows until the recall on a fixed sample
    is at least 0.98 (faiss IndexIVFFlat; Johnson, Douze and Jégou 2019).
    """
    n = len(vectors)
    k = min(k, n - 1)
    if k < 1:
        return np.zeros((n, 0), np.int64), np.zeros((n, 0), np.float32)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    wanted = min(k + 1 + SLACK, n)
    with one_thread():
        if n > exact_up_to:
            candidates = _inverted_search(vectors, wanted)
            return _best(vectors, np.arange(n), candidates, k)[:2]
        candidates = _exact_search(vectors, vectors, wanted)
        ids, similarities, open_ties = _best(vectors, np.arange(n), candidates, k)
        for row in np.flatnonzero(open_ties) if wanted < n else ():
            everything = np.arange(n, dtype=np.int64)[None, :]
            ids[row], similarities[row] = (part[0] for part in _best(vectors, np.array([row]), everything, k)[:2])
    return ids, similarities


def measure_recall(vectors: Vectors, ids: Ints, sample: int = RECALL_SAMPLE) -> float:
    """Return the share of true nearest neighbors that `ids` (n, k) holds, over evenly spaced rows; 1 is best."""
    rows = _sample(len(vectors), sample)
    k = ids.shape[1]
    with one_thread():
        truth, _, _ = _best(vectors, rows, _exact_search(vectors[rows], vectors, min(k + 1, len(vectors))), k)
    hits = sum(len(np.intersect1d(found, true)) for found, true in zip(ids[rows], truth))
    return hits / max(truth.size, 1)


def _exact_search(queries: Vectors, vectors: Vectors, wanted: int) -> Ints:
    """Compare all with all in blocks of fixed size, one thread each: splitting differently would round differently."""

    def search(start: int) -> Ints:
        block = queries[start : start + BLOCK]
        return faiss.knn(block, vectors, wanted, metric=faiss.METRIC_INNER_PRODUCT)[1]

    # faiss lets go of the interpreter lock; each worker thread has its own OpenMP setting
    with ThreadPoolExecutor(_cores(), initializer=lambda: faiss.omp_set_num_threads(1)) as pool:
        return np.concatenate(list(pool.map(search, range(0, len(queries), BLOCK)))).astype(np.int64)


def _inverted_search(vectors: Vectors, wanted: int) -> Ints:
    """Search an inverted file, looking into more and more of its lists until a sample is right often enough."""
    n, dim = vectors.shape
    lists = int(4 * np.sqrt(n))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.spherical, index.cp.niter = 1234, True, 10
    index.train(vectors)
    index.add(vectors)
    rows = _sample(n, RECALL_SAMPLE)
    truth = _exact_search(vectors[rows], vectors, wanted)
    index.nprobe = 4
    while index.nprobe < lists:
        found = index.search(vectors[rows], wanted)[1]
        recall = np.mean([len(np.intersect1d(a, b)) / wanted for a, b in zip(found, truth)])
        log.info("inverted file: %d of %d lists, recall %.3f", index.nprobe, lists, recall)
        if recall >= RECALL_WANTED:
            break
        index.nprobe = min(index.nprobe * 2, lists)
    faiss.omp_set_num_threads(_cores())  # each query is answered by one thread, so their number changes nothing
    return index.search(vectors, wanted)[1].astype(np.int64)


def _sample(n: int, size: int) -> Ints:
    """Return evenly spaced positions among `n`."""
    return np.unique(np.linspace(0, n - 1, min(size, n)).astype(np.int64))


def _best(vectors: Vectors, rows: Ints, candidates: Ints, k: int) -> tuple[Ints, Vectors, np.ndarray]:
    """Order candidates (m, c) of `rows` by exact cosine, then position, and keep k without the row itself.

    The third value says where the last candidate is as similar as the last one kept, so that others that were
    no candidates may be as near.
    """
    ids = np.zeros((len(rows), k), np.int64)
    similarities = np.zeros((len(rows), k), np.float32)
    open_ties = np.zeros(len(rows), bool)
    step = max(1, 50_000_000 // (candidates.shape[1] * vectors.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        found = candidates[part]
        cosines = pair_cosines(np.repeat(vectors[rows[part]], found.shape[1], axis=0), vectors[found.ravel()]).reshape(
            found.shape
        )
        cosines = np.where((found == rows[part, None]) | (found < 0), np.float32(-2), cosines)
        order = np.lexsort((found, -cosines), axis=1)
        kept = np.take_along_axis(cosines, order, axis=1)
        ids[part] = np.take_along_axis(found, order[:, :k], axis=1)
        similarities[part] = kept[:, :k]
        lowest = np.where(kept > -2, kept, 2).min(axis=1)
        open_ties[part] = lowest >= kept[:, k - 1]
    return ids, similarities, open_ties


def _describe(rows: pl.DataFrame) -> dict[str, float]:
    if not rows.height:
        return {}
    nearest = rows.select(pl.col("similarities").list.first().fill_null(0.0).alias("first"))["first"]
    return {
        "k": float(rows["ids"].list.len().max() or 0),  # pyright: ignore[reportArgumentType]
        "median_similarity": float(nearest.quantile(0.5) or 0.0),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0))
