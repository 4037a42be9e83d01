"""What manifests say, when it takes effect, and what is refused of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from flywheel.config import LabelSpecConfig
from flywheel.errors import DataError
from flywheel.identity import item_id, stable_fraction
from flywheel.raw import current_quarantine, is_manifest
from tests.raw_world import SHARE, World, csv, folder_world, image, jsonl, parquet


@pytest.fixture
def world(tmp_path: Path) -> World:
    return folder_world(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("manifest*.csv", "manifest-1.csv", True),
        ("manifest*.csv", "sub/manifest.csv", False),
        ("manifest*.csv", "manifest/a.csv", False),
        ("**/manifest.csv", "manifest.csv", True),
        ("**/manifest.csv", "a/b/manifest.csv", True),
        ("meta/*.[jc]s*", "meta/a.jsonl", True),
        ("meta/*.[!j]s*", "meta/a.jsonl", False),
        ("m?.csv", "m1.csv", True),
        ("m?.csv", "m/.csv", False),
        ("a.csv", "abcsv", False),
        (None, "manifest.csv", False),
    ],
)
def test_manifests_should_be_told_by_their_pattern(pattern: str | None, key: str, expected: bool) -> None:
    assert is_manifest(pattern, key) is expected


ROWS = [
    {"key": "a.png", "subject": "p1", "label": "cat", "split": "eval", "age": 7, "where": "home"},
    {"key": "b.png", "subject": None, "label": None, "split": None, "age": None, "where": "zoo"},
]
MANIFESTS = {
    "manifest.csv": csv("key,subject,label,split,age,where", "a.png,p1,cat,eval,7,home", "b.png,,,,NaN,zoo"),
    "manifest.jsonl": jsonl(*ROWS),
    "manifest.parquet": parquet(ROWS),
}


@pytest.mark.parametrize("key", MANIFESTS)
def test_what_a_manifest_says_should_be_in_the_items(world: World, key: str) -> None:
    world.put("a.png", image(1))
    world.put("b.png", image(2))
    world.put(key, MANIFESTS[key])
    report = world.land()
    assert (report.items, report.labels, report.quarantined) == (2, 1, 0)
    a, b = world.items()["a.png"], world.items()["b.png"]
    assert (a["subject_id"], a["split"], world.attributes("a.png")) == ("p1", "eval", {"age": 7, "where": "home"})
    usual = "eval" if stable_fraction(b["item_id"], "split") < SHARE else "pool"
    assert (b["subject_id"], b["split"], world.attributes("b.png")) == (
        b["item_id"],
        usual,
        {"age": None, "where": "zoo"},
    )
    [event] = world.events()
    expected = {
        "item_id": item_id("photos", "a.png"),
        "content_id": a["content_id"],
        "field": "label",
        "spec_version": "1",
        "value": "cat",
        "action": "create",
        "source": "human",
        "author": "manifest:photos",
        "parent": "",
        "native_id": key,
        "origin": "arrival-00001",
    }
    assert {name: event[name] for name in expected} == expected
    assert event["at"] == next(info.modified_at for info in world.store.list() if info.key == key)


def test_items_without_a_word_should_be_split_by_a_stable_share_of_subjects(world: World) -> None:
    for number in range(60):
        world.put(f"{number}.png", image(number))
    world.put("manifest.csv", csv("key,subject", *(f"{number}.png,p{number % 20}" for number in range(60))))
    world.land()
    splits: dict[str, set[str]] = {}
    for row in world.items().values():
        splits.setdefault(row["subject_id"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert {found for one in splits.values() for found in one} == {"pool", "eval"}


def test_a_manifest_that_comes_later_should_take_effect_in_its_own_arrival(world: World) -> None:
    world.put("a.png", image(1))
    world.put("b.png", image(2))
    world.land()
    first = world.tables.read("items", arrival="arrival-00001")
    world.put("manifest.csv", csv("key,label,age", "a.png,cat,7"))
    report = world.land()
    assert (report.items, report.decoded) == (1, 0)
    assert world.attributes("a.png") == {"age": 7}
    assert world.attributes("b.png") == {}
    assert world.labels() == [("arrival-00002", "a.png", "create", "cat")]
    assert world.tables.read("items", arrival="arrival-00001").equals(first)


def test_a_manifest_that_comes_first_should_wait_for_its_objects(world: World) -> None:
    world.put("manifest.csv", csv("key,label,age", "a.png,cat,7"))
    report = world.land()
    assert report.reasons == {"missing_object": 1}
    assert world.refused() == {("manifest.csv#a.png", "missing_object")}
    world.put("a.png", image(1))
    world.land()
    assert world.attributes("a.png") == {"age": 7}
    assert world.labels() == [("arrival-00002", "a.png", "create", "cat")]
    assert world.refused() == set()


def test_a_corrected_label_should_be_an_edit_of_the_older_one(world: World) -> None:
    world.put("a.png", image(1))
    world.put("b.png", image(2))
    said = {"cat": "a.png,cat", "dog": "a.png,dog"}
    for label in ("cat", "dog", "cat"):
        world.put("manifest.csv", csv("key,label", said[label], "b.png,dog"))
        world.land()
    assert world.labels() == [
        ("arrival-00001", "a.png", "create", "cat"),
        ("arrival-00001", "b.png", "create", "dog"),
        ("arrival-00002", "a.png", "edit", "dog"),
        ("arrival-00003", "a.png", "edit", "cat"),
    ]
    first, second, third = (event for event in world.events() if event["item_id"] == item_id("photos", "a.png"))
    assert (second["parent"], third["parent"]) == (first["annotation_uid"], second["annotation_uid"])
    assert len({event["event_id"] for event in world.events()}) == 4
    assert len({event["annotation_uid"] for event in world.events()}) == 4


def test_a_newer_manifest_beside_the_old_one_should_overrule_it(world: World) -> None:
    world.put("a.png", image(1))
    world.put("manifest-1.csv", csv("key,label,age,where", "a.png,cat,7,home"))
    world.land()
    world.put("manifest-0.csv", csv("key,label,age", "a.png,dog,8"))
    world.land()
    assert world.attributes("a.png") == {"age": 8, "where": "home"}
    assert [label[2:] for label in world.labels()] == [("create", "cat"), ("edit", "dog")]
    assert world.refused() == set()


def test_what_a_manifest_no_longer_says_should_be_taken_back(world: World) -> None:
    for key in ("a.png", "b.png", "c.png"):
        world.put(key, image(ord(key[0])))
    world.put("t.jsonl", jsonl({"text": "one", "own": 1}))
    world.put("manifest.csv", csv("key,age,split", "a.png,7,train", "b.png,8,train", "t.jsonl,9,train"))
    world.land()
    assert world.attributes("t.jsonl#row-1") == {"age": 9, "own": 1}
    world.put("manifest.csv", csv("key,age,split", "a.png,7,train"))
    world.land()
    assert world.attributes("a.png") == {"age": 7}
    assert world.attributes("b.png") == {}
    assert world.attributes("t.jsonl#row-1") == {"own": 1}
    usual = "eval" if stable_fraction(item_id("photos", "b.png"), "split") < SHARE else "pool"
    assert world.items()["b.png"]["split"] == usual
    second = world.tables.read("items", arrival="arrival-00002")
    assert sorted(second["key"]) == ["a.png", "b.png", "t.jsonl"]  # c.png was never spoken of
    world.delete("manifest.csv")
    world.land()
    assert world.attributes("a.png") == {}
    assert set(world.items()) == {"a.png", "b.png", "c.png", "t.jsonl#row-1"}


def test_an_overwritten_object_should_not_inherit_its_label(world: World) -> None:
    world.put("a.png", image(1))
    world.put("manifest.csv", csv("key,label,age", "a.png,cat,7"))
    world.land()
    world.put("a.png", image(2))
    world.land()
    assert world.attributes("a.png") == {"age": 7}
    assert world.labels() == [("arrival-00001", "a.png", "create", "cat")]
    world.put("manifest.csv", csv("key,label,age", "a.png,cat,7", "z.png,cat,7"))  # says it again, of the new one
    world.land()
    assert world.labels()[1:] == [("arrival-00003", "a.png", "create", "cat")]
    assert world.events()[1]["content_id"] == world.items()["a.png"]["content_id"]
    world.put("a.png", image(1))  # the first content is back: its label was told
    world.put("manifest.csv", csv("key,label", "a.png,cat"))
    world.land()
    assert len(world.events()) == 2


def test_rows_of_a_table_should_overrule_the_manifest(world: World) -> None:
    world.put("t.jsonl", jsonl({"text": "one", "label": "dog", "age": 1, "subject": "s"}, {"text": "two"}))
    world.put("manifest.csv", csv("key,label,age,subject", "t.jsonl,cat,9,m"))
    world.land()
    one, two = world.items()["t.jsonl#row-1"], world.items()["t.jsonl#row-2"]
    assert (one["subject_id"], one["attributes"]) == ("s", '{"age": 1}')
    assert (two["subject_id"], two["attributes"]) == ("m", '{"age": 9}')
    assert [(event["value"], event["native_id"]) for event in world.events() if event["item_id"] == one["item_id"]] == [
        ("dog", "t.jsonl")
    ]
    assert [(event["value"], event["native_id"]) for event in world.events() if event["item_id"] == two["item_id"]] == [
        ("cat", "manifest.csv")
    ]


def test_a_corrected_row_label_should_be_an_edit(world: World) -> None:
    for label in ("dog", "cat"):
        world.put("t.jsonl", jsonl({"text": "one", "label": label}))
        world.land()
    assert [label[2:] for label in world.labels()] == [("create", "dog"), ("edit", "cat")]


def refused(world: World, *rows: str, **objects: bytes) -> list[dict[str, Any]]:
    """Land a.png and a manifest of these rows; return the quarantine."""
    world.put("a.png", image(1))
    world.put("manifest.csv", csv(*rows))
    world.land()
    return current_quarantine(world.tables).to_dicts()


def test_an_unknown_label_should_be_refused_and_the_item_kept(world: World) -> None:
    [row] = refused(world, "key,label,age", "a.png,zebra,7")
    assert (row["key"], row["part"], row["reason"]) == ("manifest.csv", "a.png", "unknown_label")
    assert "'zebra'" in row["message"] and "'cat', 'dog'" in row["message"]
    assert (world.attributes("a.png"), world.events()) == ({"age": 7}, [])
    world.put("manifest.csv", csv("key,label,age", "a.png,cat,7"))
    world.land()
    assert (world.refused(), len(world.events())) == (set(), 1)


def test_an_unknown_label_of_a_row_should_be_refused_and_the_item_kept(world: World) -> None:
    world.put("t.jsonl", jsonl({"id": "x", "text": "one", "label": "zebra"}))
    world.land()
    assert world.refused() == {("t.jsonl#x", "unknown_label")}
    assert (set(world.items()), world.events()) == ({"t.jsonl#x"}, [])


def test_a_bad_split_should_be_refused_and_the_item_kept(world: World) -> None:
    [row] = refused(world, "key,split", "a.png,test")
    assert (row["part"], row["reason"]) == ("a.png", "bad_split")
    assert "train, pool, eval" in row["message"]
    assert world.items()["a.png"]["split"] in ("pool", "eval")


def test_a_missing_object_should_be_named_until_it_comes_or_the_row_goes(world: World) -> None:
    [row] = refused(world, "key,label", "a.png,cat", "gone.png,dog")
    assert (row["key"], row["part"], row["reason"]) == ("manifest.csv", "gone.png", "missing_object")
    world.put("manifest.csv", csv("key,label", "a.png,cat"))
    world.land()
    assert world.refused() == set()


@pytest.mark.parametrize("key", ["../a.png", "/a.png", "./a.png", "x//a.png"])
def test_a_bad_key_should_be_refused(world: World, key: str) -> None:
    [row] = refused(world, "key,label", f"{key},cat", "a.png,dog")
    assert (row["part"], row["reason"]) == ("row-1", "bad_key")
    assert world.labels() == [("arrival-00001", "a.png", "create", "dog")]


def test_rows_without_a_key_should_be_refused(world: World) -> None:
    rows = refused(world, "key,label", ",cat", "a.png,dog,9", "a.png,dog")
    assert [(row["part"], row["reason"]) for row in rows] == [("row-1", "malformed_row"), ("row-2", "malformed_row")]
    assert len(world.events()) == 1


def test_a_key_named_twice_should_count_once(world: World) -> None:
    [row] = refused(world, "key,label,age", "a.png,cat,7", "a.png,cat,8")
    assert (row["part"], row["reason"]) == ("a.png", "duplicate_id")
    assert "row 2 of manifest.csv" in row["message"] and "row 1 of manifest.csv" in row["message"]
    assert (world.attributes("a.png"), len(world.events())) == ({"age": 7}, 1)


def test_two_labels_for_one_key_should_give_none(world: World) -> None:
    rows = refused(world, "key,label,age", "a.png,cat,7", "a.png,dog,8")
    assert [(row["part"], row["reason"]) for row in rows] == [("a.png", "duplicate_id")] * 2
    assert all("none is taken" in row["message"] for row in rows)
    assert (world.attributes("a.png"), world.events()) == ({"age": 7}, [])


def test_two_manifests_of_one_arrival_that_disagree_should_both_be_named(world: World) -> None:
    world.put("manifest-2.csv", csv("key,label", "a.png,dog"))
    rows = refused(world, "key,label", "a.png,cat")
    assert [(row["key"], row["reason"]) for row in rows] == [
        ("manifest-2.csv", "duplicate_id"),
        ("manifest.csv", "duplicate_id"),
    ]
    assert world.events() == []


@pytest.mark.parametrize(
    ("key", "content", "reason"),
    [
        ("manifest.csv", b"", "empty"),
        ("manifest.csv", b"key,label\n", "empty"),
        ("manifest.csv", b"name,label\na.png,cat\n", "malformed_row"),
        ("manifest.csv", b"key,label\ncaf\xe9.png,cat\n", "bad_encoding"),
        ("manifest.parquet", b"PAR1", "undecodable"),
        ("manifest.xlsx", b"x", "unknown_type"),
        ("manifest.csv", b"key,label\n" + b"a.png,cat\n" * 200_000, "too_large"),
    ],
)
def test_a_broken_manifest_should_be_refused_and_its_objects_kept(
    tmp_path: Path, key: str, content: bytes, reason: str
) -> None:
    world = folder_world(tmp_path, max_bytes=1_000_000)
    world.put("a.png", image(1))
    world.put(key, content)
    world.land()
    assert world.refused() == {(key, reason)}
    assert set(world.items()) == {"a.png"}
    world.delete(key)
    world.put("manifest.csv", csv("key,label", "a.png,cat"))
    world.land()
    assert (world.refused(), len(world.events())) == (set(), 1)


def test_a_refused_object_should_be_cleared_by_a_better_one(world: World) -> None:
    world.put("a.png", b"broken")
    world.put("manifest.csv", csv("key,label", "a.png,cat"))
    world.land()
    assert world.refused() == {("a.png", "undecodable")}
    world.put("manifest.csv", csv("key,label", "a.png,dog"))
    world.land()
    assert world.refused() == {("a.png", "undecodable")}  # once, though the manifest spoke of it again
    world.put("a.png", image(1))
    world.land()
    assert (world.refused(), set(world.items())) == (set(), {"a.png"})


def test_an_object_that_becomes_bad_should_lose_its_item(world: World) -> None:
    world.put("a.png", image(1))
    world.land()
    world.put("a.png", b"broken")
    report = world.land()
    assert (report.retired, report.reasons) == (1, {"undecodable": 1})
    assert (world.refused(), world.items()) == ({("a.png", "undecodable")}, {})


def test_an_object_that_goes_between_listing_and_reading_should_be_named(world: World) -> None:
    world.put("a.png", image(1))
    world.put("b.png", image(2))
    world.plan()
    world.delete("a.png")
    report = world.register("arrival-00001")
    assert (report.items, report.reasons) == (1, {"missing_object": 1})
    world.land()
    assert (world.refused(), set(world.items())) == (set(), {"b.png"})


def test_correcting_an_arrival_that_is_not_registered_should_be_refused(world: World) -> None:
    world.put("a.png", image(1))
    world.put("manifest-1.csv", csv("key,label", "a.png,cat"))
    world.plan()
    world.put("manifest-2.csv", csv("key,label", "a.png,dog"))
    world.plan()
    with pytest.raises(DataError, match="register that one first"):
        world.register("arrival-00002")
    for arrival in world.plan():
        world.register(arrival)
    assert [label[2:] for label in world.labels()] == [("create", "cat"), ("edit", "dog")]


def test_a_new_label_spec_should_add_events_and_lose_none(world: World) -> None:
    world.put("a.png", image(1))
    world.put("b.png", image(2))
    world.put("manifest.csv", csv("key,label", "a.png,cat", "b.png,zebra"))
    world.land()
    newer = LabelSpecConfig(version="2", classes=("cat", "dog", "zebra"))
    report = world.register("arrival-00001", newer, again=True)
    assert report.reasons == {}
    found = sorted((event["spec_version"], event["value"]) for event in world.events())
    assert found == [("1", "cat"), ("2", "cat"), ("2", "zebra")]
    world.register("arrival-00001", newer, again=True)
    assert len(world.events()) == 3


COCO = {
    "images": [
        {
            "id": 1,
            "file_name": "a.png",
            "width": 12,
            "height": 9,
            "date_captured": "2024-05-06",
            "coco_url": "http://x",
        },
        {"id": 2, "file_name": "b.png", "width": 12, "height": 9},
        {"id": 3, "file_name": "c.png"},
        {"id": 4, "width": 1},
        {"id": 5, "file_name": "../d.png"},
        "nonsense",
    ],
    "annotations": [
        {"image_id": 1, "category_id": 7, "bbox": [0, 0, 1, 1]},
        {"image_id": 1, "category_id": 7},
        {"image_id": 2, "category_id": 7},
        {"image_id": 2, "category_id": 8},
        {"image_id": 3, "category_id": 9},
        {"image_id": ["x"], "category_id": {}},
    ],
    "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}, {"id": 9, "name": "cow"}],
}


def test_coco_should_be_a_manifest_of_its_images(world: World) -> None:
    for number, key in enumerate(("a.png", "b.png", "c.png")):
        world.put(key, image(number))
    world.put("manifest.json", json.dumps(COCO).encode())
    report = world.land()
    assert world.attributes("a.png") == {
        "categories": "cat",
        "date_captured": "2024-05-06",
        "height": 9,
        "objects": 2,
        "width": 12,
    }
    assert world.attributes("b.png")["categories"] == "cat, dog"
    assert world.labels() == [("arrival-00001", "a.png", "create", "cat")]
    assert report.reasons == {"malformed_row": 1, "bad_key": 1, "unknown_label": 1}


@pytest.mark.parametrize(
    "content", [b"[1, 2]", b"{", b'{"images": {}}', b"[" * 100_000, b"\xff", b'{"annotations": []}']
)
def test_json_that_is_no_coco_should_be_refused_and_the_rest_go_on(world: World, content: bytes) -> None:
    world.put("a.png", image(1))
    world.put("manifest.json", content)
    report = world.land()
    assert (report.items, report.quarantined) == (1, 1)
