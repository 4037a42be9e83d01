from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest

from flywheel.encoders import Content
from flywheel.structure import build_clusters, cluster_vectors, match_centers
from flywheel.structure.kmeans import cluster_counts
from flywheel.tables import Tables
from tests.unit.structure_data import WORDS, WordEncoder, add_arrival, blobs, names

SIZES = (40, 20)


def _build(tables: Tables, encoder: WordEncoder | None = None, **options: object) -> None:
    build_clusters(tables, encoder or WordEncoder(), sizes=SIZES, seed=0, vocabulary=WORDS, **options)  # pyright: ignore


def _ids(tables: Tables, level: int = 1) -> dict[str, str]:
    rows = tables.read("clusters", level=level).sort("content_id")
    return dict(rows.select("content_id", "cluster_id").rows())


def _purity(labels: np.ndarray, truth: np.ndarray) -> float:
    return sum(np.bincount(truth[labels == label]).max() for label in np.unique(labels)) / len(truth)


def test_planted_groups_are_found() -> None:
    vectors, truth = blobs([30, 20, 40, 30])
    labels, centers = cluster_vectors(vectors, (30,), 0)
    assert len(centers[0]) == 4
    assert _purity(labels[0], truth) == 1.0


def test_levels_nest_and_centers_are_means() -> None:
    vectors, _ = blobs([50] * 6, spread=1.0)
    labels, centers = cluster_vectors(vectors, (60, 15), 0)
    assert [len(level) for level in centers] == [5, 20]
    for label in range(20):
        assert len(set(labels[0][labels[1] == label])) == 1
    for level in (0, 1):
        for label, center in enumerate(centers[level]):
            mean = vectors[labels[level] == label].mean(axis=0)
            assert np.allclose(center, mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 30])
def test_few_rows_are_clustered_too(n: int) -> None:
    vectors, _ = blobs([n], spread=1.0)
    labels, centers = cluster_vectors(vectors, (200, 50), 0)
    assert [len(level) for level in labels] == [n, n]
    assert all(sorted(set(level.tolist())) == list(range(len(c))) for level, c in zip(labels, centers))
    if n == 30:
        assert [len(c) for c in centers] == [2, 4]


def test_identical_rows_are_one_cluster() -> None:
    labels, centers = cluster_vectors(np.repeat(np.eye(4, dtype=np.float32)[:1], 50, axis=0), (20, 10), 0)
    assert [len(c) for c in centers] == [1, 1]
    assert not labels[1].any()


def test_a_finer_level_never_has_fewer_clusters() -> None:
    assert cluster_counts(4000, (200, 50)) == [20, 80]
    assert cluster_counts(30, (200, 50)) == [2, 4]
    assert cluster_counts(1, (200, 50)) == [1, 1]
    assert cluster_counts(100, (10, 50)) == [10, 10]


@pytest.mark.filterwarnings("error")
def test_same_rows_give_the_same_bits_with_any_number_of_threads() -> None:
    vectors, _ = blobs([300] * 4, spread=2.0, dim=64)
    before = faiss.omp_get_max_threads()
    results = []
    try:
        for threads in (1, 2, 2):
            faiss.omp_set_num_threads(threads)
            labels, centers = cluster_vectors(vectors, (100, 25), 3)
            results.append([*labels, *centers])
    finally:
        faiss.omp_set_num_threads(before)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other))


def test_centers_are_matched_one_to_one_by_cosine() -> None:
    old = np.eye(4, dtype=np.float32)
    assert match_centers(old[[2, 0, 3]], old).tolist() == [2, 0, 3]
    # the second has moved into the place of old 0, which the first continues
    new = np.asarray([[1, 0, 0, 0], [0.9, 0.436, 0, 0]], np.float32)
    assert match_centers(new, old).tolist() == [0, -1]
    assert match_centers(new, old[:0]).tolist() == [-1, -1]


def test_rows_tell_place_and_name(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, truth = blobs([30, 20, 20, 10])
    add_arrival(tables, "arrival-00001", names(80), vectors)
    report = build_clusters(tables, WordEncoder(), sizes=SIZES, seed=0, vocabulary=WORDS)
    clusters, known = tables.read("clusters"), tables.read("cluster_names")
    assert report.written
    assert report.rows == clusters.height == 160
    assert clusters["generation"].unique().to_list() == known["generation"].unique().to_list() == [report.generation]
    fine = known.filter(pl.col("level") == 1).sort("cluster_id")
    assert fine["cluster_id"].to_list() == [f"image-1-000{number}" for number in (1, 2, 3, 4)]
    assert fine["size"].to_list() == [30, 20, 20, 10]  # the largest is number 1
    name_of = dict(fine.select("cluster_id", "name").rows())
    assert [name_of[cluster] for cluster in _ids(tables).values()] == [WORDS[group] for group in truth]
    assert known["event"].unique().to_list() == ["birth"]
    for level, counted in known.group_by("level").agg(pl.col("size").sum()).rows():
        assert (level, counted) in {(0, 80), (1, 80)}
    center = np.asarray(fine["center"][0].to_list())
    ids = np.asarray(list(_ids(tables).values()))
    distances = clusters.filter(pl.col("level") == 1).sort("content_id")["distance"].to_numpy()
    own = ids == "image-1-0001"
    assert np.allclose(distances[own], 1 - vectors[own] @ center, atol=1e-5)


def test_clusters_that_stand_are_left_alone(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([20, 20, 20])
    add_arrival(tables, "arrival-00001", names(60), vectors)
    _build(tables)
    versions = tables.versions()
    encoder = WordEncoder()
    report = build_clusters(tables, encoder, sizes=SIZES, seed=0, vocabulary=WORDS)
    assert not report.written
    assert report.rows == 120
    assert encoder.asked == 0
    assert tables.versions() == versions
    assert build_clusters(tables, encoder, sizes=(30, 10), seed=0, vocabulary=WORDS).written


def test_texts_are_not_read_when_clusters_stand(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, truth = blobs([20, 20, 20, 20])
    add_arrival(tables, "arrival-00001", names(80), vectors, modality="text")
    read: list[str] = []

    def contents() -> Iterator[Content]:
        words = ("rocket", "kitten", "guitar", "pepper")
        for name, group in zip(names(80), truth):
            read.append(name)
            yield Content(name, "text", f"hello {words[group]} and {words[group]}s".encode())

    _build(tables, WordEncoder(modality="text"), texts=contents())
    assert read == names(80)
    fine = tables.read("cluster_names", level=1)
    assert sorted(fine["name"].to_list()) == ["guitar", "kitten", "pepper", "rocket"]
    assert sorted(fine["cluster_id"].to_list()) == [f"text-1-000{number}" for number in (1, 2, 3, 4)]
    _build(tables, WordEncoder(modality="text"), texts=contents())
    assert read == names(80)


def test_clusters_keep_their_ids_as_data_grows(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([40, 40, 40], spread=0.3)
    old = np.random.default_rng(0).permutation(120)[:80]
    add_arrival(tables, "arrival-00001", [names(120)[i] for i in old], vectors[old])
    _build(tables)
    before = _ids(tables)
    newer, _ = blobs([0, 0, 0, 25], spread=0.3, seed=5)
    rest = np.setdiff1d(np.arange(120), old)
    add_arrival(tables, "arrival-00002", [names(120)[i] for i in rest], vectors[rest])
    add_arrival(tables, "arrival-00003", names(25, 200), newer)
    _build(tables)
    after = _ids(tables)
    kept = np.mean([after[name] == cluster for name, cluster in before.items()])
    assert kept >= 0.8
    events = dict(tables.read("cluster_names", level=1).select("cluster_id", "event").rows())
    assert {events[cluster] for cluster in after.values() if cluster in before.values()} == {"kept"}
    assert {events[after[name]] for name in names(25, 200)} == {"birth"}  # a new kind of thing is a new cluster


def test_the_id_of_a_vanished_cluster_never_comes_back(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([30, 30, 20])
    add_arrival(tables, "arrival-00001", names(60), vectors[:60])
    add_arrival(tables, "arrival-00002", names(20, 60), vectors[60:])
    _build(tables)
    last = _ids(tables)["c00060"]
    seen = set(_ids(tables).values())
    items = tables.read("items", arrival="arrival-00002")
    tables.replace("items", items.clear(), arrival="arrival-00002")
    _build(tables)
    assert last not in _ids(tables).values()
    seen |= set(_ids(tables).values())
    tables.replace("items", items, arrival="arrival-00002")
    _build(tables)
    assert _ids(tables)["c00060"] not in seen


def test_another_encoder_has_ids_and_clusters_of_its_own(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([20, 20, 20])
    add_arrival(tables, "arrival-00001", names(60), vectors)
    _build(tables)
    add_arrival(tables, "arrival-00001", names(60), vectors[:, ::-1], encoder_id="words-2")
    _build(tables, WordEncoder("words-2"))
    assert tables.read("cluster_names")["event"].unique().to_list() == ["birth"]


def test_a_run_killed_between_its_two_writes_ends_in_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, _ = blobs([40, 40, 40], spread=0.8)
    results = []
    for name in ("undisturbed", "killed"):
        tables = Tables(str(tmp_path / name))
        add_arrival(tables, "arrival-00001", names(80), vectors[:80])
        _build(tables)
        add_arrival(tables, "arrival-00002", names(40, 80), vectors[80:])
        if name == "killed":
            with monkeypatch.context() as patch:
                patch.setattr("flywheel.structure.clusters.name_rows", _raise)
                with pytest.raises(KeyboardInterrupt):
                    _build(tables)
        _build(tables)
        results.append([tables.read(table).sort("cluster_id") for table in ("clusters", "cluster_names")])
    for undisturbed, killed in zip(*results):
        order = [column for column in ("level", "cluster_id", "content_id") if column in killed.columns]
        assert undisturbed.sort(order).equals(killed.sort(order))


def test_a_modality_without_contents_has_no_clusters(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    report = build_clusters(tables, WordEncoder(), sizes=SIZES, seed=0)
    assert (report.rows, report.contents, report.written) == (0, 0, False)


def _raise(*_: object) -> None:
    raise KeyboardInterrupt
