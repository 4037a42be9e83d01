"""Every expectation, both ways."""

from pathlib import Path

import polars as pl
import pytest

from flywheel.raw import check_arrival, check_registered
from tests.raw_world import SPEC, World, csv, folder_world, image

STATEMENTS = {
    "answered": "every object has an item or a quarantine row",
    "unique": "item ids are unique",
    "content": "every item has a content id",
    "split": "every split is one of train, pool, eval",
    "label": "every label is in the label spec",
    "refused": "few objects and rows are refused",
}
Frames = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    world: World = folder_world(tmp_path_factory.mktemp("expectations"))
    for number in range(3):
        world.put(f"{number}.png", image(number))
    world.put("broken.png", b"broken")
    world.put("manifest.csv", csv("key,label", "0.png,cat", "later.png,dog", "never.png,dog", "soon.png,dog"))
    world.land()
    return {
        "items": world.tables.read("items"),
        "quarantine": world.tables.read("quarantine"),
        "objects": world.tables.read("objects").filter(pl.col("key") != "manifest.csv"),
        "events": world.tables.read("annotation_events"),
    }


def failed(frames: Frames, **changes: pl.DataFrame | float) -> set[str]:
    """Names of the statements that do not hold."""
    report = check_arrival(spec=SPEC, **{**frames, **changes})  # pyright: ignore[reportArgumentType]
    wrong = {result.statement for result in report.results if not result.passed}
    assert report.passed == (not wrong)
    assert report.markdown.count("✗") == len(wrong)
    return {name for name, statement in STATEMENTS.items() if statement in wrong}


def test_a_good_arrival_should_pass(frames: Frames) -> None:
    report = check_arrival(
        frames["items"], frames["quarantine"], SPEC, objects=frames["objects"], events=frames["events"]
    )
    assert report.passed is True
    assert [result.statement for result in report.results] == list(STATEMENTS.values())
    assert {result.statement: result.found for result in report.results}[STATEMENTS["refused"]] == 0.25
    assert report.markdown.splitlines()[-1] == "| ✓ | few objects and rows are refused | 0.25 | at most 0.5 |"


def test_what_is_not_given_should_not_be_judged(frames: Frames) -> None:
    report = check_arrival(frames["items"], frames["quarantine"], SPEC)
    judged = {result.statement for result in report.results}
    assert judged == set(STATEMENTS.values()) - {STATEMENTS["answered"], STATEMENTS["label"]}


def test_an_unanswered_object_should_fail(frames: Frames) -> None:
    assert failed(frames, items=frames["items"].filter(pl.col("key") != "0.png")) == {"answered"}


def test_a_deleted_object_should_need_no_answer(frames: Frames) -> None:
    gone = frames["objects"].with_columns(key=pl.lit("gone.png"), state=pl.lit("deleted"))
    assert failed(frames, objects=pl.concat([frames["objects"], gone])) == set()


def test_a_repeated_item_should_fail(frames: Frames) -> None:
    assert failed(frames, items=pl.concat([frames["items"], frames["items"].head(1)])) == {"unique"}


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_item_without_content_should_fail(frames: Frames, nothing: str | None) -> None:
    items = frames["items"].with_columns(content_id=pl.lit(nothing, dtype=pl.String))
    assert failed(frames, items=items) == {"content"}


@pytest.mark.parametrize("split", ["test", None])
def test_a_strange_split_should_fail(frames: Frames, split: str | None) -> None:
    assert failed(frames, items=frames["items"].with_columns(split=pl.lit(split, dtype=pl.String))) == {"split"}


def test_a_strange_label_should_fail_unless_it_is_of_another_question(frames: Frames) -> None:
    strange = frames["events"].with_columns(value=pl.lit("zebra"))
    assert failed(frames, events=strange) == {"label"}
    assert failed(frames, events=strange.with_columns(spec_version=pl.lit("0"))) == set()


def test_too_many_refusals_should_fail(frames: Frames) -> None:
    assert failed(frames, max_refused=0.25) == set()
    assert failed(frames, max_refused=0.24) == {"refused"}


def test_an_arrival_of_nothing_should_pass(frames: Frames, tmp_path: Path) -> None:
    assert failed({name: frame.clear() for name, frame in frames.items()}) == set()


def test_a_registered_arrival_should_be_judged_by_its_tables(tmp_path: Path) -> None:
    world = folder_world(tmp_path)
    world.put("0.png", image(0))
    world.put("1.png", image(1))
    world.put("manifest.csv", csv("key,label", "0.png,cat"))
    world.land()

    def wrong() -> set[str]:
        report = check_registered(world.tables, world.sources, SPEC, "arrival-00001")
        assert len(report.results) == len(STATEMENTS)
        return {result.statement for result in report.results if not result.passed}

    assert wrong() == set()
    items = world.tables.read("items")
    world.tables.replace("items", items.filter(pl.col("key") == "0.png"), arrival="arrival-00001")
    assert wrong() == {STATEMENTS["answered"]}
