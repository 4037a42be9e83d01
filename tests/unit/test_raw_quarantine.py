"""The quarantine: narrowed down, explained, cleared by a corrected object, and read once more."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flywheel.cli.app import app
from flywheel.config import LabelSpecConfig, load_config
from flywheel.errors import DataError
from flywheel.objects import open_sources, open_tables
from flywheel.raw import count_reasons, explain_object, plan_retry, standing_refusals, unregistered
from flywheel.raw.quarantine import of_targets
from tests.raw_world import NOW, SPEC, World, csv, folder_world, image, jsonl, parquet


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Four refused objects and two refused rows beside good ones."""
    made = folder_world(tmp_path, max_pixels=5_000, max_bytes=100_000)
    made.put("good.png", image(0))
    made.put("large.png", image(1, size=(100, 80)))
    made.put("broken.png", b"no image")
    made.put("empty.txt", b"")
    made.put("notes.docx", b"PK")
    made.put("rows.csv", csv("id,text,label", "a,hello,cat", "b,", "c,good day,zebra"))
    made.put("manifest.csv", csv("key,label", "large.png,dog", "gone.png,cat"))
    made.land()
    return made


STANDS = {
    ("large.png", "too_many_pixels"),
    ("broken.png", "undecodable"),
    ("empty.txt", "empty"),
    ("notes.docx", "unknown_type"),
    ("rows.csv#row-2", "malformed_row"),
    ("rows.csv#c", "unknown_label"),
    ("manifest.csv#gone.png", "missing_object"),
}


def retry(world: World, spec: Any = SPEC, **wanted: str) -> tuple[int, int]:
    """Read once more what is refused, register it, and return how many objects were looked at and taken."""
    refused = standing_refusals(world.tables, **wanted)
    found = plan_retry(world.tables, world.sources, spec, refused, now=NOW)
    if found.arrival:
        world.register(found.arrival, spec)
    return found.looked_at, found.objects


def allow(world: World, **limits: int) -> None:
    source = world.sources["photos"]
    world.sources["photos"] = replace(source, config=source.config.model_copy(update=limits))


def test_refusals_should_be_narrowed_down_and_counted(world: World) -> None:
    assert world.refused() == STANDS
    assert standing_refusals(world.tables, reason="empty")["key"].to_list() == ["empty.txt"]
    assert standing_refusals(world.tables, source="other").is_empty()
    assert standing_refusals(world.tables, arrival="arrival-00001").height == len(STANDS)
    counts = count_reasons(standing_refusals(world.tables))
    assert list(counts) == sorted(counts) and set(counts.values()) == {1}
    with pytest.raises(DataError, match="did you mean 'empty'"):
        standing_refusals(world.tables, reason="emty")


def test_an_object_should_be_explained_by_key_part_or_what_a_manifest_says(world: World) -> None:
    [found] = explain_object(world.tables, "rows.csv#c")
    assert [row["reason"] for row in found.standing] == ["unknown_label", "malformed_row"]
    assert {reason.code for reason in found.reasons} == {"malformed_row", "unknown_label"}
    assert [(row["items"], row["refused"]) for row in found.history] == [(2, "malformed_row, unknown_label")]
    [found] = explain_object(world.tables, "gone.png")
    assert found.key == "manifest.csv" and json.dumps(found.as_json(), default=str)
    with pytest.raises(DataError, match=r"nothing is refused about 'brokn.png'; did you mean broken.png"):
        explain_object(world.tables, "brokn.png")
    with pytest.raises(DataError, match="`flywheel quarantine` lists"):
        explain_object(world.tables, "zzz")


def test_an_explanation_should_tell_what_became_of_the_object_since(world: World) -> None:
    world.put("broken.png", image(5))
    world.land()
    [found] = explain_object(world.tables, "broken.png")
    assert found.standing == ()
    told = [(row["arrival"], row["items"], row["refused"]) for row in found.history]
    assert told == [("arrival-00001", 0, "undecodable"), ("arrival-00002", 1, "")]


def test_reading_once_more_with_nothing_changed_should_write_nothing(world: World) -> None:
    versions = world.tables.versions()
    assert retry(world) == (6, 0)
    assert world.tables.versions() == versions and world.refused() == STANDS


def test_raised_limits_should_clear_what_is_good_now_with_its_label(world: World) -> None:
    allow(world, max_pixels=10_000)
    before = set(world.items())
    assert retry(world) == (6, 1)
    assert set(world.items()) - before == {"large.png"}
    assert world.items()["large.png"]["arrival"] == "arrival-00002"
    assert world.refused() == STANDS - {("large.png", "too_many_pixels")}
    assert ("arrival-00002", "large.png", "create", "dog") in world.labels()
    assert retry(world) == (5, 0)
    assert unregistered(world.tables, "arrival-00002") == []


def test_a_widened_label_spec_should_clear_the_label_and_keep_the_items(world: World) -> None:
    wider = LabelSpecConfig(classes=("cat", "dog", "zebra"))
    before = {place: (row["item_id"], row["content_id"]) for place, row in world.items().items()}
    assert retry(world, wider, reason="unknown_label") == (1, 1)
    assert world.refused() == STANDS - {("rows.csv#c", "unknown_label")}
    assert {place: (row["item_id"], row["content_id"]) for place, row in world.items().items()} == before
    said = [label for label in world.labels() if label[1] == "rows.csv"]
    assert said == [("arrival-00001", "rows.csv", "create", "cat"), ("arrival-00002", "rows.csv", "create", "zebra")]


def test_only_what_is_asked_for_should_be_read(world: World) -> None:
    allow(world, max_pixels=10_000)
    assert retry(world, reason="empty") == (1, 0)
    asked = of_targets(standing_refusals(world.tables), ["large.png", "rows.csv#c"])
    assert set(asked["key"]) == {"large.png", "rows.csv"}
    found = plan_retry(world.tables, world.sources, SPEC, asked, now=NOW)
    assert (found.looked_at, found.arrival, found.objects) == (2, "arrival-00002", 1)
    assert world.plan() == ["arrival-00001", "arrival-00002"]  # nothing is planned twice


def test_a_source_that_is_gone_should_be_left_alone(world: World) -> None:
    world.sources.clear()
    assert retry(world) == (0, 0)


GOOD = {
    "a.png": image(3, "PNG"),
    "a.jpg": image(3, "JPEG"),
    "a.gif": image(3, "GIF"),
    "a.tif": image(3, "TIFF"),
    "a.webp": image(3, "WEBP"),
    "a.txt": b"good words",
    "a.csv": csv("text", "good words"),
    "a.jsonl": jsonl({"text": "good words"}),
    "a.parquet": parquet([{"text": "good words"}]),
}


@pytest.mark.parametrize("key", GOOD)
@pytest.mark.parametrize("bad", [b"", b"\xff\x00\xfe broken"], ids=["empty", "damaged"])
def test_a_corrected_object_should_clear_its_row(key: str, bad: bytes, tmp_path: Path) -> None:
    world = folder_world(tmp_path)
    world.put(key, bad)
    world.land()
    assert {place.partition("#")[0] for place, _ in world.refused()} == {key} and not world.items()
    world.put(key, GOOD[key])
    world.land()
    assert world.refused() == set() and len(world.items()) == 1


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A configuration with a source that holds a large image, a broken one and a text."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "large.png").write_bytes(image(1, size=(100, 80)))
    (tmp_path / "data" / "broken[1].png").write_bytes(b"no image")
    (tmp_path / "data" / "good.txt").write_bytes(b"good words")
    config(tmp_path, max_pixels=5_000)
    World.register(world_of(tmp_path), World.plan(world_of(tmp_path))[-1])
    return tmp_path / "flywheel.yaml"


def config(folder: Path, **limits: int) -> None:
    raw = {
        "store": {"root": "wheel"},
        "sources": [{"id": "main", "root": "data", **limits}],
        "label_spec": {"classes": ["cat", "dog"]},
        "vendor": {"kind": "file", "folder": "vendor"},
    }
    (folder / "flywheel.yaml").write_text(yaml.safe_dump(raw))


def world_of(folder: Path) -> World:
    loaded = load_config(folder / "flywheel.yaml")
    world = World(open_tables(loaded), open_sources(loaded)["main"].objects)
    world.sources = open_sources(loaded)
    return world


def invoke(*arguments: str, path: Path | None = None) -> Any:
    options = ["--config", str(path)] if path else []
    return CliRunner().invoke(app, ["quarantine", *arguments, *options])


def test_the_bare_command_should_list_and_count(wheel: Path) -> None:
    for arguments in ((), ("list",)):
        shown = invoke(*arguments, path=wheel)
        assert shown.exit_code == 0, shown.output
        assert "broken[1].png" in shown.stdout and "2 refused: too_many_pixels 1, undecodable 1" in shown.stdout
        assert "`flywheel quarantine explain too_many_pixels`" in shown.stdout
        listed = json.loads(invoke(*arguments, "--json", "--reason", "undecodable", path=wheel).stdout)
        assert [row["key"] for row in listed] == ["broken[1].png"]
    assert "nothing is refused" in invoke("--source", "other", path=wheel).stdout
    assert invoke("--reason", "odd", path=wheel).exit_code == 3


def test_a_code_should_be_explained_without_a_wheel() -> None:
    shown = invoke("explain", "too_large")
    assert shown.exit_code == 0, shown.output
    assert "raise `max_bytes` of the source and retry" in shown.stdout
    assert json.loads(invoke("explain", "too_large", "--json").stdout)["code"] == "too_large"


def test_a_key_should_be_explained_with_its_next_step_and_its_history(wheel: Path) -> None:
    shown = invoke("explain", "large.png", path=wheel).stdout
    assert "100 x 80 pixels, at most 5,000" in shown and "next:" in shown and "arrival-00001" in shown
    [told] = json.loads(invoke("explain", "large.png", "--json", path=wheel).stdout)
    assert told["standing"][0]["reason"] == "too_many_pixels" and told["reasons"][0]["next_step"]
    assert invoke("explain", "good.txt", path=wheel).exit_code == 3


def test_retry_should_read_once_more_and_say_what_came_out(wheel: Path) -> None:
    assert "2 objects read once more, 0 come out otherwise" in invoke("retry", path=wheel).stdout
    config(wheel.parent, max_pixels=10_000)
    shown = invoke("retry", "large.png", path=wheel).stdout
    assert "1 objects read once more, 1 come out otherwise" in shown
    assert "arrival-00002: 1 items, 0 refused; `flywheel run` builds on it" in shown
    told = json.loads(invoke("retry", "--json", path=wheel).stdout)
    assert (told["looked_at"], told["arrival"]) == (1, None)
    assert "1 refused: undecodable 1" in invoke(path=wheel).stdout
    assert "nothing is refused any more" in invoke("explain", "large.png", path=wheel).stdout


def test_retry_should_wait_for_arrivals_that_are_not_taken_in_yet(wheel: Path) -> None:
    (wheel.parent / "data" / "later.txt").write_bytes(b"came later")
    world_of(wheel.parent).plan()
    config(wheel.parent, max_pixels=10_000)
    shown = invoke("retry", path=wheel).stdout
    assert "arrival-00003 waits for arrival-00002; `flywheel run` takes them in" in shown
