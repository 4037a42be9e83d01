"""Large arrivals: rows wait on disk, and what was registered is recognized without decoding it again."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flywheel.raw import current, read_contents, spill
from flywheel.raw.spill import Spill
from flywheel.records import SCHEMAS
from tests.raw_world import csv, folder_world, image, jsonl

VOLATILE = ["version"]


def test_rows_come_out_as_they_went_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "ROWS", 3)
    rows = [dict.fromkeys(SCHEMAS["quarantine"], str(number)) for number in range(8)]
    waiting = Spill("quarantine", tmp_path)
    waiting.extend(rows)
    for _ in range(2):
        assert [frame.height for frame in waiting] == [3, 3, 2]
        assert pl.concat(waiting).to_dicts() == rows


def test_an_arrival_of_many_chunks_is_the_same_as_one_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, rows in (("one", 50_000), ("many", 4)):
        monkeypatch.setattr(spill, "ROWS", rows)
        world = folder_world(tmp_path / name)
        world.put("a.csv", csv("id,text,label,year", *(f"a{n},words {n},cat,{n}" for n in range(11)), "a3,again,,1"))
        world.put(
            "b.jsonl", jsonl({"text": "x"}, {"text": ""}, *({"text": f"y {n}", "label": "cow"} for n in range(9)))
        )
        world.put("c.png", image())
        report = world.land()
        assert (report.items, report.quarantined, report.written) == (22, 11, True)
        assert world.register("arrival-00001", again=True).written is False
        found.append([world.tables.read(table).sort(pl.all()) for table in ("items", "quarantine")])
    for one, many in zip(*found, strict=True):
        assert_frame_equal(one.drop(VOLATILE), many.drop(VOLATILE))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are decoded while contents are read."""
    keys: list[str] = []
    usual = current.decode

    def noted(opened: current.Opened, **options: bool) -> object:
        keys.append(opened.key)
        return usual(opened, **options)

    monkeypatch.setattr(current, "decode", noted)
    return keys


def test_a_large_image_that_is_what_was_registered_is_not_decoded_again(tmp_path: Path, decoded: list[str]) -> None:
    world = folder_world(tmp_path)
    world.put("large.png", image(size=(200, 150)))
    world.put("small.png", image(size=(20, 15)))
    world.land()
    items = world.tables.read("items")
    assert items.filter(size=pl.col("size").max())["size"].item() > current.WORTH_ASKING
    contents = list(read_contents(world.sources, items))
    assert {len(content.data) for content in contents} == set(items["size"])
    assert decoded == ["small.png"]


def test_a_large_image_that_was_overwritten_is_not_given_out_for_what_it_was(
    tmp_path: Path, decoded: list[str]
) -> None:
    world = folder_world(tmp_path)
    world.put("a.png", image(0, size=(200, 150)))
    world.land()
    items = world.tables.read("items")
    world.put("a.png", image(1, size=(200, 150)))
    assert list(read_contents(world.sources, items)) == []
    world.put("a.png", image(0, size=(200, 150)))  # a new version with the same pixels
    assert [content.content_id for content in read_contents(world.sources, items)] == items["content_id"].to_list()
    assert decoded == ["a.png", "a.png"]
    world.delete("a.png")
    assert list(read_contents(world.sources, items)) == []
