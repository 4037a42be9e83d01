from pathlib import Path

import numpy as np
import polars as pl

from flywheel.structure import build_neighbors, find_duplicates, group_duplicates, nearest_neighbors
from flywheel.tables import Tables
from tests.unit.structure_data import add_arrival, blobs, names


def _groups(vectors: np.ndarray, threshold: float, k: int = 5) -> list[int]:
    return group_duplicates(vectors, *nearest_neighbors(vectors, k), threshold).tolist()


def _turned(degrees: list[float]) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_pairs_at_the_threshold_are_joined_and_others_are_not() -> None:
    vectors = _turned([0, 5, 90, 180, 186])  # cos 5° = 0.9962, cos 6° = 0.9945
    assert _groups(vectors, 0.9960, k=3) == [0, 0, 2, 3, 4]
    assert _groups(vectors, 0.9940, k=3) == [0, 0, 2, 3, 3]


def test_chains_are_one_group() -> None:
    assert _groups(_turned([0, 4, 8, 12, 90]), 0.9970, k=2) == [0, 0, 0, 0, 4]


def test_a_clique_larger_than_the_neighbor_lists_is_one_group() -> None:
    # rows whose lists hold each other only: without a look beyond the lists these are two groups of three
    vectors = _turned([0, 0.1, 0.2, 3, 3.1, 3.2, 90])
    assert _groups(vectors, 0.99, k=2) == [0, 0, 0, 0, 0, 0, 6]


def test_items_with_one_content_keep_the_earliest(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([2, 2], spread=1.0)
    ids = names(4)
    add_arrival(tables, "arrival-00001", [ids[0], ids[1]], vectors[:2], item_ids=["z", "y"])
    again = [ids[0], ids[0], ids[2]]
    add_arrival(tables, "arrival-00002", again, vectors[[0, 0, 2]], item_ids=["b", "a", "c"])
    report = find_duplicates(tables, "words-1", "image", threshold=0.999)
    rows = tables.read("duplicates").sort("item_id")
    assert rows["item_id"].to_list() == ["a", "b", "z"]
    assert rows["kept"].to_list() == [False, False, True]
    assert rows["kind"].unique().to_list() == ["exact"]
    assert rows["group_id"].n_unique() == 1
    assert rows["reason"].to_list() == [
        "same content as item z",
        "same content as item z",
        "first of 3 items with this content to arrive",
    ]
    assert report.facts == {"exact_groups": 1, "exact_surplus": 2, "near_groups": 0, "near_surplus": 0}


def test_near_duplicates_stand_once_per_content(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors = np.pad(_turned([0, 3, 90]), ((0, 0), (0, 14)))
    ids = names(3)
    add_arrival(tables, "arrival-00001", [ids[1], ids[2]], vectors[1:], item_ids=["q", "r"])
    add_arrival(tables, "arrival-00002", [ids[0], ids[0]], vectors[[0, 0]], item_ids=["b", "a"])
    find_duplicates(tables, "words-1", "image", threshold=0.99)
    near = tables.read("duplicates").filter(pl.col("kind") == "near").sort("item_id")
    assert near.select("item_id", "content_id", "kept").rows() == [("a", ids[0], False), ("q", ids[1], True)]
    assert near["reason"].to_list() == ["cosine 0.999 to item q", "first of 2 nearly equal contents to arrive"]
    assert near["group_id"].unique().to_list() == ["near-c00000"]


def test_neighbor_graph_that_stands_gives_the_same_groups(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([30, 30, 30], spread=0.15)
    add_arrival(tables, "arrival-00001", names(90), vectors)
    find_duplicates(tables, "words-1", "image", threshold=0.99)
    without = tables.read("duplicates")
    assert 0 < without.height < 90
    tables.replace("duplicates", without.clear(), modality="image")
    build_neighbors(tables, "words-1", "image", k=4)
    find_duplicates(tables, "words-1", "image", threshold=0.99)
    assert tables.read("duplicates").sort("item_id").equals(without.sort("item_id"))


def test_a_second_search_writes_nothing(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([5, 5], spread=0.02)
    add_arrival(tables, "arrival-00001", names(10), vectors)
    assert find_duplicates(tables, "words-1", "image", threshold=0.99).written
    version = tables.version("duplicates")
    assert not find_duplicates(tables, "words-1", "image", threshold=0.99).written
    assert tables.version("duplicates") == version
    assert find_duplicates(tables, "words-1", "image", threshold=0.99999).rows == 0
    assert tables.read("duplicates").height == 0
