"""How arrivals form, repeat, and survive being killed; and what is current after any history."""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.errors import ConfigError, DataError
from flywheel.identity import item_id
from flywheel.objects import FolderStore, Source
from flywheel.raw import arrival_number, current_items, plan_arrivals, read_contents
from flywheel.tables import Tables
from tests.raw_world import NOW, World, csv, folder_world, image, jsonl


@pytest.fixture
def world(tmp_path: Path) -> World:
    return folder_world(tmp_path)


def planned(world: World) -> list[tuple[str, str, str]]:
    rows = world.tables.read("objects").select("arrival", "key", "state")
    return sorted(rows.iter_rows())


def test_nothing_should_make_no_arrival_and_no_table(world: World) -> None:
    assert world.plan() == []
    assert world.tables.version("objects") is None


def test_what_is_new_changed_or_gone_should_form_the_next_arrival(world: World) -> None:
    world.put("a.png", image(1))
    world.put("b.png", image(2))
    assert world.plan() == ["arrival-00001"]
    world.put("b.png", image(3))
    world.put("c.png", image(4))
    world.delete("a.png")
    assert world.plan() == ["arrival-00001", "arrival-00002"]
    assert planned(world) == [
        ("arrival-00001", "a.png", "active"),
        ("arrival-00001", "b.png", "active"),
        ("arrival-00002", "a.png", "deleted"),
        ("arrival-00002", "b.png", "active"),
        ("arrival-00002", "c.png", "active"),
    ]


def test_planning_again_should_write_nothing(world: World) -> None:
    world.put("a.png", image(1))
    world.plan()
    version = world.tables.version("objects")
    assert world.plan() == ["arrival-00001"]
    assert world.tables.version("objects") == version


def test_many_objects_should_form_several_arrivals_manifests_first(world: World) -> None:
    for number in range(5):
        world.put(f"{number}.png", image(number))
    world.put("manifest.csv", csv("key,label", "4.png,cat"))
    assert world.plan(max_objects=2) == ["arrival-00001", "arrival-00002", "arrival-00003"]
    assert [(arrival[-1], key) for arrival, key, _ in planned(world)] == [
        ("1", "0.png"),
        ("1", "manifest.csv"),
        ("2", "1.png"),
        ("2", "2.png"),
        ("3", "3.png"),
        ("3", "4.png"),
    ]
    for arrival in world.plan():
        world.register(arrival)
    assert world.labels() == [("arrival-00003", "4.png", "create", "cat")]
    assert world.refused() == set()


def test_planning_that_was_killed_should_be_completed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        world.put(f"{number}.png", image(number))
    replace, calls = world.tables.replace, list[str]()

    def killed(name: str, rows: pl.DataFrame, **partition: Any) -> bool:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(name)
        return replace(name, rows, **partition)

    monkeypatch.setattr(world.tables, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        world.plan(max_objects=2)
    monkeypatch.undo()
    world.plan(max_objects=2)
    undisturbed = Tables(str(tmp_path / "undisturbed"))
    plan_arrivals(undisturbed, world.sources, now=NOW, max_objects=2)
    assert planned(world) == sorted(undisturbed.read("objects").select("arrival", "key", "state").iter_rows())


def test_young_objects_should_wait(world: World) -> None:
    world.put("a.png", image(1))
    [info] = world.store.list()
    for age, arrivals in [(timedelta(seconds=59), 0), (timedelta(seconds=60), 1)]:
        found = plan_arrivals(world.tables, world.sources, now=info.modified_at + age, settle_seconds=60)
        assert len(found) == arrivals


def test_a_source_that_is_not_there_should_retire_nothing(world: World, tmp_path: Path) -> None:
    world.put("a.png", image(1))
    world.land()
    (tmp_path / "source").rename(tmp_path / "unmounted")
    with pytest.raises(DataError, match="there is no folder"):
        world.plan()
    assert set(world.items()) == {"a.png"}


def test_a_source_that_is_no_longer_configured_should_be_left_alone(world: World) -> None:
    world.put("a.png", image(1))
    world.land()
    assert plan_arrivals(world.tables, {}, now=NOW) == ["arrival-00001"]
    with pytest.raises(ConfigError, match="'photos'"):
        list(read_contents({}, current_items(world.tables)))


def test_arrivals_should_be_ordered_by_number_beyond_five_digits() -> None:
    assert arrival_number("arrival-100000") > arrival_number("arrival-99999")
    for wrong in ("arrival-", "turn-001", "arrival--1", "arrival-1x"):
        with pytest.raises(DataError, match="is no arrival"):
            arrival_number(wrong)


def test_sources_should_not_mix(world: World, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = World(world.tables, FolderStore(tmp_path / "other"), id="scans")
    config = other.sources["photos"].config
    world.sources["scans"] = Source(config, other.store)
    world.put("a.png", image(1))
    other.put("a.png", image(2))
    world.land()
    rows = current_items(world.tables).select("source", "item_id").rows()
    assert sorted(rows) == [("photos", item_id("photos", "a.png")), ("scans", item_id("scans", "a.png"))]


def test_an_unknown_arrival_should_be_refused(world: World) -> None:
    with pytest.raises(DataError, match="no arrival 'arrival-00007'"):
        world.register("arrival-00007")


def test_registering_again_should_decode_and_write_nothing(world: World) -> None:
    for number in range(3):
        world.put(f"{number}.png", image(number))
    first = world.land()
    assert (first.decoded, first.written, first.items) == (3, True, 3)
    versions = world.tables.versions()
    again = world.register("arrival-00001")
    assert (again.decoded, again.written, again.items) == (0, False, 3)
    forced = world.register("arrival-00001", again=True)
    assert (forced.decoded, forced.written) == (3, False)
    assert world.tables.versions() == versions


@pytest.mark.parametrize("writes", range(4))
def test_registering_that_was_killed_should_be_completed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    world.put("a.png", image(1))
    world.put("b.png", b"broken")
    world.put("manifest.csv", csv("key,label", "a.png,cat", "c.png,dog"))
    world.plan()
    replace, calls = world.tables.replace, list[str]()

    def killed(name: str, rows: pl.DataFrame, **partition: Any) -> bool:
        if len(calls) == writes:
            raise KeyboardInterrupt
        calls.append(name)
        return replace(name, rows, **partition)

    monkeypatch.setattr(world.tables, "replace", killed)
    if writes < 3:
        with pytest.raises(KeyboardInterrupt):
            world.register("arrival-00001")
    monkeypatch.undo()
    report = world.register("arrival-00001")
    assert (report.items, report.quarantined, report.labels) == (1, 2, 1)
    calm = World(Tables(str(tmp_path / "calm")), world.store)
    calm.plan()
    calm.register("arrival-00001")
    for table in ("items", "quarantine", "annotation_events"):
        assert world.tables.read(table).to_dicts() == calm.tables.read(table).to_dicts()


def test_a_vanished_object_should_retire_its_items_and_come_back(world: World) -> None:
    world.put("a.png", image(1))
    world.put("b.png", image(2))
    world.land()
    before = world.items()
    world.delete("a.png")
    report = world.land()
    assert (report.items, report.retired) == (0, 1)
    assert set(world.items()) == {"b.png"}
    world.put("a.png", image(1))
    world.land()
    after = world.items()
    assert set(after) == {"a.png", "b.png"}
    assert after["a.png"]["item_id"] == before["a.png"]["item_id"]
    assert after["a.png"]["content_id"] == before["a.png"]["content_id"]


def test_an_overwritten_object_should_keep_its_id_and_change_its_content(world: World) -> None:
    world.put("a.png", image(1))
    world.land()
    [before] = world.items().values()
    world.put("a.png", image(2))
    world.land()
    [after] = world.items().values()
    assert after["item_id"] == before["item_id"] == item_id("photos", "a.png")
    assert after["content_id"] != before["content_id"]


def test_a_new_row_should_leave_the_other_rows_alone(world: World) -> None:
    world.put("t.jsonl", jsonl({"id": "x", "text": "one"}, {"id": "y", "text": "two"}))
    world.land()
    before = world.items()
    world.put("t.jsonl", jsonl({"id": "z", "text": "three"}, {"id": "y", "text": "two"}))
    report = world.land()
    after = world.items()
    assert set(after) == {"t.jsonl#z", "t.jsonl#y"}
    assert after["t.jsonl#y"]["content_id"] == before["t.jsonl#y"]["content_id"]
    assert (report.items, report.retired) == (2, 1)


def test_items_should_be_read_as_of_a_pinned_version(world: World) -> None:
    world.put("a.png", image(1))
    world.land()
    pinned = world.tables.versions()
    world.put("b.png", image(2))
    world.land()
    assert current_items(world.tables, pinned)["key"].to_list() == ["a.png"]
    assert current_items(world.tables).height == 2
    assert current_items(world.tables, {"items": -1}).is_empty()


def test_arrivals_registered_out_of_order_should_end_alike(tmp_path: Path) -> None:
    worlds = [folder_world(tmp_path / name) for name in ("straight", "crossed")]
    for world in worlds:
        world.put("a.png", image(1))
        world.put("b.png", image(2))
        world.plan()
        world.put("a.png", image(3))
        world.put("c.png", image(4))
        world.delete("b.png")
        world.plan()
    for world, order in zip(worlds, [(1, 2), (2, 1)]):
        for number in order:
            world.register(f"arrival-{number:05d}")
    straight, crossed = (current_items(world.tables).to_dicts() for world in worlds)
    assert straight == crossed
    assert [row["key"] for row in sorted(straight, key=lambda row: row["key"])] == ["a.png", "c.png"]
    assert worlds[0].refused() == worlds[1].refused() == set()


def test_repeating_an_old_arrival_should_keep_what_later_ones_changed(world: World) -> None:
    world.put("a.png", image(1))
    world.put("b.png", image(2))
    world.land()
    old = world.tables.read("items", arrival="arrival-00001").to_dicts()
    world.put("a.png", image(3))
    world.delete("b.png")
    world.land()
    for again in (False, True):
        world.register("arrival-00001", again=again)
        assert world.tables.read("items", arrival="arrival-00001").to_dicts() == old


def test_contents_should_be_read_once_each_in_the_order_of_where_they_lie(world: World) -> None:
    world.put("b.png", image(1))
    world.put("a.png", image(1))
    world.put("c.jpg", image(2, "JPEG"))
    world.put("d.txt", b"\xef\xbb\xbfhi\r\nthere")
    world.put(
        "t.jsonl", jsonl({"id": "x", "text": "hi\nthere"}, {"id": "y", "text": "one"}, {"id": "z", "text": "two"})
    )
    world.land()
    rows = current_items(world.tables)
    found = list(read_contents(world.sources, rows.sample(fraction=1, shuffle=True, seed=1)))
    placed = rows.sort("key", "part")["content_id"].unique(maintain_order=True)
    assert [content.content_id for content in found] == placed.to_list()
    assert [content.data for content in found] == [image(1), image(2, "JPEG"), b"hi\nthere", b"one", b"two"]
    assert [content.modality for content in found] == ["image", "image", "text", "text", "text"]


def test_a_content_should_be_read_from_wherever_it_still_is(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for key in ("a.png", "b.png", "c.png"):
        world.put(key, image(1))
    world.put("lost.png", image(2))
    world.put("t.jsonl", jsonl({"text": "gone"}))
    world.land()
    rows = current_items(world.tables).sort("key")
    world.put("a.png", image(3))  # overwritten since
    world.delete("b.png")
    world.put("lost.png", b"broken")
    world.put("t.jsonl", jsonl({"text": "other"}))
    assert [content.data for content in read_contents(world.sources, rows)] == [image(1)]
    assert "2 of 3 contents are no longer where they were registered" in caplog.text


def test_reading_should_be_given_up_in_the_middle(world: World) -> None:
    for number in range(30):
        world.put(f"{number:02d}.png", image(number))
    world.land()
    stream = read_contents(world.sources, current_items(world.tables))
    next(stream)
    stream.close()


KEYS = ["a.png", "b.png", "sub/a.png", "t.txt", "rows.jsonl", "rows.csv", "x.bin", "a\nb.png"]
CONTENTS = {
    "png": [image(1), image(2), b"broken", b""],
    "txt": [b"one", b"two", b"\xff", b" "],
    "jsonl": [jsonl({"id": "x", "text": "one"}), jsonl({"id": "y", "text": "two"}, {"id": "x", "text": "3"}), b"{\n"],
    "csv": [b"text,id\none,x\n", b"text,id\none,x\ntwo,x\nthree,y\n", b"words\none\n"],
    "bin": [b"?"],
}
STEPS = st.lists(st.tuples(st.sampled_from(KEYS), st.one_of(st.none(), st.integers(0, 3))), min_size=1, max_size=3)


@settings(max_examples=25)
@given(st.lists(STEPS, min_size=1, max_size=5))
def test_any_history_should_end_like_the_last_state_registered_once(
    history: list[list[tuple[str, int | None]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = folder_world(Path(folder))
        for step in history:
            for key, choice in step:
                contents = CONTENTS[key.rpartition(".")[2]]
                if "\n" in key:
                    (Path(folder) / "source" / key).write_bytes(b"x")
                elif choice is None:
                    world.delete(key)
                else:
                    world.put(key, contents[choice % len(contents)])
            for arrival in world.plan():
                world.register(arrival)
        once = World(Tables(f"{folder}/once"), world.store)
        for arrival in once.plan():
            once.register(arrival)
        columns = ["item_id", "key", "part", "content_id", "size", "subject_id", "split", "attributes", "status"]
        assert current_items(world.tables).select(columns).rows() == current_items(once.tables).select(columns).rows()
        assert world.refused() == once.refused()


def test_a_link_out_of_the_folder_should_be_refused_and_say_so(world: World, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(image(1))
    assert isinstance(world.store, FolderStore)
    world.put("a.png", image(2))
    (world.store.root / "b.png").symlink_to(tmp_path / "secret.png")
    (world.store.root / "c").symlink_to(tmp_path)
    world.land()
    assert sorted(world.items()) == ["a.png"]
    assert world.refused() == {("b.png", "link_outside"), ("c", "unknown_type")}
    (world.store.root / "b.png").unlink()
    world.put("b.png", image(1))
    world.land()
    assert sorted(world.items()) == ["a.png", "b.png"] and world.refused() == {("c", "unknown_type")}
