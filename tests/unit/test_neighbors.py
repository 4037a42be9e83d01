from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest

from flywheel.errors import DataError
from flywheel.structure import build_neighbors, load_space, measure_recall, nearest_neighbors, read_neighbors
from flywheel.structure.numeric import one_thread
from flywheel.tables import Tables
from tests.unit.structure_data import add_arrival, blobs, names


def test_neighbors_are_those_of_brute_force() -> None:
    vectors, _ = blobs([150, 150], spread=1.0)
    ids, similarities = nearest_neighbors(vectors, 7)
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(cosines, -2)
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :7]
    assert np.mean(ids == best) > 0.99  # all but those whose cosines are equal to six decimals
    assert np.allclose(similarities, np.take_along_axis(cosines, best, axis=1), atol=2e-6)
    assert np.allclose(similarities, np.take_along_axis(cosines, ids, axis=1), atol=2e-6)
    assert ids.dtype == np.int64
    assert similarities.dtype == np.float32


def test_equally_similar_rows_stand_in_order_of_position() -> None:
    vectors = np.repeat(np.eye(8, dtype=np.float32)[:2], 60, axis=0)  # two crowds of identical rows
    ids, similarities = nearest_neighbors(vectors, 4)
    assert ids[0].tolist() == [1, 2, 3, 4]
    assert ids[3].tolist() == [0, 1, 2, 4]
    assert ids[119].tolist() == [60, 61, 62, 63]
    assert (similarities == 1).all()


@pytest.mark.parametrize(("n", "k", "found"), [(0, 3, 0), (1, 3, 0), (2, 3, 1), (5, 3, 3), (4, 10, 3)])
def test_fewer_rows_than_neighbors_give_fewer_neighbors(n: int, k: int, found: int) -> None:
    vectors, _ = blobs([n])
    ids, similarities = nearest_neighbors(vectors, k)
    assert ids.shape == similarities.shape == (n, found)
    assert not (ids == np.arange(n)[:, None]).any()


def test_number_of_threads_changes_no_bit() -> None:
    vectors, _ = blobs([700] * 3, spread=2.0, dim=96)
    before = faiss.omp_get_max_threads()
    try:
        results = []
        for threads in (1, 2, 4):
            faiss.omp_set_num_threads(threads)
            results.append(nearest_neighbors(vectors, 10) + nearest_neighbors(vectors, 10, exact_up_to=100))
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other))


def test_threads_are_given_back_after_an_error() -> None:
    before = faiss.omp_get_max_threads()
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert faiss.omp_get_max_threads() == before


def test_inverted_file_finds_nearly_all_true_neighbors() -> None:
    vectors, _ = blobs([600] * 5, spread=1.5)
    exact, _ = nearest_neighbors(vectors, 10)
    ids, _ = nearest_neighbors(vectors, 10, exact_up_to=1000)
    assert measure_recall(vectors, exact) == 1.0
    assert 0.95 <= measure_recall(vectors, ids) <= 1.0
    assert measure_recall(vectors, np.roll(ids, 1, axis=0)) < 0.5


def test_neighbor_rows_hold_ids_and_cosines(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([5, 5], spread=0.05)
    add_arrival(tables, "arrival-00001", names(10), vectors)
    report = build_neighbors(tables, "words-1", "image", k=4)
    rows = tables.read("neighbors").sort("content_id")
    assert (report.contents, report.rows, report.written) == (10, 10, True)
    assert rows["content_id"].to_list() == names(10)
    assert set(rows["ids"][0]) == set(names(10)[1:5])  # its own group, without itself
    assert set(rows["ids"][9]) == set(names(10)[5:9])
    assert all(row.to_list() == sorted(row, reverse=True) for row in rows["similarities"])
    assert rows["generation"].unique().to_list() == [report.generation]


def test_neighbors_that_stand_are_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([6, 6])
    add_arrival(tables, "arrival-00001", names(12), vectors)
    first = build_neighbors(tables, "words-1", "image", k=3)
    version = tables.version("neighbors")
    with monkeypatch.context() as patch:
        patch.setattr("flywheel.structure.neighbors.nearest_neighbors", None)  # any use would raise
        again = build_neighbors(tables, "words-1", "image", k=3)
    assert not again.written
    assert (again.generation, again.rows, again.facts) == (first.generation, first.rows, first.facts)
    assert tables.version("neighbors") == version
    assert build_neighbors(tables, "words-1", "image", k=4).written
    assert tables.read("neighbors")["ids"].list.len().unique().to_list() == [4]


def test_modalities_keep_their_own_rows(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([6])
    add_arrival(tables, "arrival-00001", names(6), vectors)
    add_arrival(tables, "arrival-00002", names(4, 100), vectors[:4], encoder_id="t", modality="text")
    build_neighbors(tables, "words-1", "image", k=2)
    images = tables.read("neighbors")
    build_neighbors(tables, "t", "text", k=2)
    both = tables.read("neighbors")
    assert both.group_by("modality").len().sort("modality").rows() == [("image", 6), ("text", 4)]
    assert both.filter(pl.col("modality") == "image").sort("content_id").equals(images.sort("content_id"))


def test_order_of_arrivals_does_not_matter(tmp_path: Path) -> None:
    vectors, _ = blobs([20, 20], spread=1.0)
    ids = names(40)
    found = []
    for name, split in (("ab", 15), ("ba", 25)):
        tables = Tables(str(tmp_path / name))
        parts = [(ids[:split], vectors[:split]), (ids[split:], vectors[split:])]
        for number, (part, rows) in enumerate(parts if name == "ab" else parts[::-1]):
            add_arrival(tables, f"arrival-{number:05d}", part, rows)
        build_neighbors(tables, "words-1", "image", k=5)
        found.append(tables.read("neighbors").sort("content_id"))
    assert found[0].equals(found[1])


def test_rows_read_back_by_position(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([8, 8], spread=1.0)
    add_arrival(tables, "arrival-00001", names(16), vectors)
    build_neighbors(tables, "words-1", "image", k=5)
    space = load_space(tables, "words-1", "image")
    ids, similarities = read_neighbors(space, tables.read("neighbors").sample(fraction=1.0, shuffle=True, seed=1))
    expected = nearest_neighbors(vectors, 5)
    assert np.array_equal(ids, expected[0])
    assert np.array_equal(similarities, expected[1])
    with pytest.raises(DataError, match="do not fit the space of 16"):
        read_neighbors(space, tables.read("neighbors").head(10))
