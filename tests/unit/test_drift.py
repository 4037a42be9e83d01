"""When new items lie elsewhere than the others."""

from pathlib import Path

import polars as pl
import pytest

from flywheel.feedback.drift import find_drift
from flywheel.records import SCHEMAS
from flywheel.tables import Tables


def corpus(path: Path, old: dict[str, int], new: dict[str, int]) -> tuple[Tables, set[str]]:
    """Items in clusters, so many of each."""
    tables, fresh, items, places = Tables(str(path)), set[str](), [], []
    for is_new, counts in ((False, old), (True, new)):
        for cluster, count in counts.items():
            for number in range(count):
                name = f"{cluster}-{number}-{is_new}"
                items.append({"item_id": name, "content_id": name, "status": "active", "arrival": "arrival-00001"})
                places.append({"content_id": name, "level": 0, "cluster_id": cluster, "modality": "text"})
                fresh |= {name} if is_new else set()
    tables.replace("items", pl.DataFrame(items, schema=SCHEMAS["items"]), arrival="arrival-00001")
    tables.replace("clusters", pl.DataFrame(places, schema=SCHEMAS["clusters"]), modality="text")
    names = [{"level": 0, "cluster_id": "b", "name": "beans", "modality": "text"}]
    tables.replace("cluster_names", pl.DataFrame(names, schema=SCHEMAS["cluster_names"]), modality="text")
    return tables, fresh


def test_new_items_in_another_place_should_be_drift_and_say_where(tmp_path: Path) -> None:
    found = find_drift(*corpus(tmp_path, {"a": 90, "b": 10}, {"a": 10, "b": 40}))
    assert found is not None
    assert found.distance == pytest.approx(0.7)
    assert found.p_value < 1e-6
    assert found.words == (
        "50 new items lie elsewhere: 80% of them in 'beans', where 10% of the others are (total variation 0.70)"
    )


def test_new_items_like_the_others_should_be_none(tmp_path: Path) -> None:
    found = find_drift(*corpus(tmp_path, {"a": 300, "b": 100}, {"a": 30, "b": 10}))
    assert found is not None and found.distance == 0 and found.p_value > 0.5


def test_few_new_items_should_say_nothing(tmp_path: Path) -> None:
    assert find_drift(*corpus(tmp_path, {"a": 90}, {"b": 29})) is None


def test_a_first_corpus_and_one_cluster_should_be_no_drift(tmp_path: Path) -> None:
    assert find_drift(*corpus(tmp_path / "1", {}, {"a": 50})) is None
    found = find_drift(*corpus(tmp_path / "2", {"a": 50}, {"a": 50}))
    assert found is not None and (found.distance, found.p_value) == (0, 1)
    assert find_drift(Tables(str(tmp_path / "3")), {"x"}) is None


def test_a_cluster_of_new_items_only_should_count(tmp_path: Path) -> None:
    found = find_drift(*corpus(tmp_path, {"a": 100}, {"c": 40}))
    assert found is not None and found.distance == 1 and "'c', where 0%" in found.words
