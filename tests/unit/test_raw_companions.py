"""Objects that belong to others, and sources of which only a share is taken."""

from typing import Any

import pytest

from flywheel.config import SourceConfig
from flywheel.objects import FolderStore
from flywheel.raw import current_quarantine
from flywheel.raw.companions import accompanied, is_companion, owners
from flywheel.raw.forecast import forecast_arrivals
from flywheel.tables import Tables
from tests.raw_world import NOW, SPEC, World, image

TABLES = {"subjects": "people*.csv", "tables": [{"match": "events*.csv"}]}


@pytest.fixture
def make_world(tmp_path: Any) -> Any:
    return lambda **config: World(Tables(str(tmp_path / "tables")), FolderStore(tmp_path / "source"), **config)


def config(**settings: Any) -> SourceConfig:
    return SourceConfig.model_validate({"id": "s", "root": "-", **settings})


def test_samples_should_belong_to_their_header_and_tables_to_their_subjects() -> None:
    signals, clinic = config(), config(records=TABLES)
    assert is_companion(signals, "a/100.dat") and not is_companion(signals, "a/100.hea")
    assert not is_companion(config(modality="image"), "a/100.dat")
    assert is_companion(clinic, "events-1.csv") and not is_companion(clinic, "people.csv")
    assert owners(signals, ["a/100.dat"], ["a/100.hea", "b/100.hea"]) == {"a/100.hea"}
    assert owners(clinic, ["events-1.csv"], ["people.csv", "people-2.csv", "x.csv"]) == {"people.csv", "people-2.csv"}
    assert accompanied(signals, ["a.dat", "b.dat"], ["a.hea"]) == {"a.dat"}
    assert accompanied(clinic, ["events-1.csv"], ["people.csv"]) == {"events-1.csv"}


def test_joined_tables_should_belong_to_the_subjects_of_their_own_delivery() -> None:
    clinic = config(records={"subjects": "people-{n}.csv", "tables": [{"match": "{n}/events*.csv"}]})
    people = ["people-1.csv", "people-2.csv"]
    assert owners(clinic, ["2/events-a.csv"], people) == {"people-2.csv"}
    assert accompanied(clinic, ["1/events.csv", "3/events.csv"], people) == {"1/events.csv"}


def test_a_companion_that_changes_should_bring_its_owner_again(make_world: Any) -> None:
    world = make_world(records=TABLES)
    world.put("people.csv", b"id,age\nann,61\nbob,44\n")
    world.put("events-1.csv", b"id,event\nann,stroke\n")
    world.put("other.csv", b"id,age\neve,30\n")
    world.land()
    assert sorted(world.items()) == ["other.csv#eve", "people.csv#ann", "people.csv#bob"]
    world.put("events-1.csv", b"id,event\nann,fall\nbob,fall\n")
    world.land()
    again = world.tables.read("objects", arrival="arrival-00002")
    assert sorted(again["key"]) == ["events-1.csv", "people.csv"]
    assert {item["arrival"] for place, item in world.items().items() if place.startswith("people")} == {"arrival-00002"}
    assert world.items()["other.csv#eve"]["arrival"] == "arrival-00001"
    assert len(world.plan()) == 2


def test_a_companion_without_its_owner_should_wait_in_the_quarantine(make_world: Any) -> None:
    world = make_world()
    world.put("a.dat", b"samples")
    world.land()
    [refused] = current_quarantine(world.tables).to_dicts()
    assert (refused["key"], refused["part"], refused["reason"]) == ("a.dat", "a.hea", "missing_object")


def test_a_share_of_a_source_should_be_the_same_share_whatever_comes_first(make_world: Any) -> None:
    world = make_world(sample=0.5)
    for number in range(40):
        world.put(f"{number}.png", image(number))
    world.land()
    taken = set(world.items())
    assert 8 < len(taken) < 32
    world.put("manifest.csv", b"key,age\n0.png,1\n")
    world.put("40.png", image(40))
    world.land()
    assert {key for key in world.items() if key != "40.png"} == taken


def test_a_smaller_share_should_retire_nothing(make_world: Any, tmp_path: Any) -> None:
    world = make_world()
    for number in range(10):
        world.put(f"{number}.png", image(number))
    world.land()
    smaller = make_world(sample=0.01)
    smaller.put("new.png", image(11))
    smaller.land()
    assert len(world.items()) == 10


def test_a_subject_should_be_taken_whole_or_not_at_all(make_world: Any) -> None:
    world = make_world(sample=0.5, attributes="{subject}/*")
    for subject in range(12):
        for number in range(3):
            world.put(f"s{subject}/{number}.png", image(10 * subject + number))
    world.land()
    counts = [sum(place.startswith(f"s{subject}/") for place in world.items()) for subject in range(12)]
    assert set(counts) == {0, 3}


def test_the_forecast_should_not_take_companions_for_data(make_world: Any) -> None:
    world = make_world(records=TABLES)
    world.put("people.csv", b"id,age\nann,61\nbob,44\n")
    world.put("events-1.csv", b"id,event\nann,stroke\n")
    [forecast] = forecast_arrivals(world.tables, world.sources, classes=SPEC.classes, now=NOW)
    assert {kind.ending: dict(kind.items) for kind in forecast.kinds} == {".csv": {"record": 2}, "companion": {}}
