"""Sweeps in portions: they go on where they stopped, and end like one look at everything."""

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flywheel.objects import FolderStore, ListingLost, Page, StoreUnavailable
from flywheel.raw import plan_arrivals, planning, sweeps, sweeps_under_way
from flywheel.tables import Tables
from tests.raw_world import NOW, World


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "BLOCK", 3)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nine objects, listed in pages of two."""
    (tmp_path / "source").mkdir()
    world = World(Tables(str(tmp_path / "tables")), FolderStore(tmp_path / "source", page_size=2))
    for number in range(9):
        world.put(f"{number}.bin", b"x")
    return world


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "sweeps"


def tick(world: World, state: Path, **options: Any) -> list[str]:
    return plan_arrivals(world.tables, world.sources, **{"now": NOW, "tick_seconds": 0, "state": state} | options)


def tick_to_the_end(world: World, state: Path, **options: Any) -> int:
    """Tick until no sweep is under way; return how many ticks that took."""
    for number in range(1, 100):
        tick(world, state, **options)
        if not sweeps_under_way(state, ["photos"]):
            return number
    raise AssertionError("the sweep does not end")


def active(world: World) -> list[str]:
    rows = world.tables.read("objects").sort("arrival").unique("key", keep="last")
    return sorted(rows.filter(pl.col("state") == "active")["key"])


def test_a_sweep_goes_on_where_it_stopped_and_ends_in_one_arrival(world: World, state: Path) -> None:
    seen = []
    for _ in range(4):
        assert tick(world, state) == []
        seen.append(sweeps_under_way(state, ["photos"]))
    assert seen == [{"photos": 2}, {"photos": 4}, {"photos": 6}, {"photos": 8}]
    assert tick(world, state) == ["arrival-00001"]
    assert not (state / "photos").exists()
    assert active(world) == [f"{number}.bin" for number in range(9)]


def test_a_sweep_of_one_tick_leaves_no_file(world: World, state: Path) -> None:
    assert tick(world, state, tick_seconds=60) == ["arrival-00001"]
    assert not state.exists() or not list(state.iterdir())


def test_full_groups_do_not_wait_for_the_end(world: World, state: Path) -> None:
    made = [len(tick(world, state, max_objects=3)) for _ in range(5)]
    assert made == [0, 1, 2, 2, 3]
    assert world.tables.read("objects").height == 9
    assert tick_to_the_end(world, state) == 5
    assert world.tables.read("objects").height == 9


def test_a_look_stops_listing_when_it_has_enough_to_write(
    world: World, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "GROUPS", 2)
    made = [len(tick(world, state, max_objects=2, tick_seconds=60)) for _ in range(3)]
    assert made == [2, 4, 5]
    assert world.tables.read("objects").height == 9
    assert not sweeps_under_way(state, ["photos"])


def test_nothing_new_writes_nothing(world: World, state: Path) -> None:
    tick_to_the_end(world, state)
    version = world.tables.version("objects")
    tick_to_the_end(world, state)
    assert world.tables.version("objects") == version


def test_what_vanished_is_told_at_the_end_only(world: World, state: Path) -> None:
    tick_to_the_end(world, state)
    world.delete("0.bin")
    world.delete("8.bin")
    for _ in range(3):
        tick(world, state)
        assert len(active(world)) == 9
    tick(world, state)
    assert active(world) == [f"{number}.bin" for number in range(1, 8)]


def test_what_somebody_else_registered_meanwhile_is_not_taken_for_deleted(world: World, state: Path) -> None:
    tick_to_the_end(world, state)
    tick(world, state)
    world.put("00.bin", b"y")  # behind the place of the sweep
    plan_arrivals(world.tables, world.sources, now=NOW)
    tick_to_the_end(world, state)
    assert "00.bin" in active(world)


def test_what_was_listed_before_somebody_else_looked_is_not_taken_back(world: World, state: Path) -> None:
    tick(world, state)
    world.put("0.bin", b"changed")
    plan_arrivals(world.tables, world.sources, now=NOW)
    before = world.tables.read("objects")
    tick_to_the_end(world, state)
    assert world.tables.read("objects").equals(before)


@pytest.mark.parametrize("file", ["place.json", "pending.parquet", "seen-00000.parquet", ""])
@pytest.mark.parametrize("damage", ["lost", "broken"])
def test_lost_or_broken_state_starts_anew(world: World, state: Path, file: str, damage: str) -> None:
    world.put("new.bin", b"x")
    plan_arrivals(world.tables, world.sources, now=NOW)
    world.delete("3.bin")
    world.put("4.bin", b"changed")
    for _ in range(3):
        tick(world, state)
    path = state / "photos" / file
    if not file:
        shutil.rmtree(path)
    elif damage == "lost":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:7])
    tick_to_the_end(world, state)
    tick_to_the_end(world, state)
    assert active(world) == ["0.bin", "1.bin", "2.bin", *(f"{n}.bin" for n in range(4, 9)), "new.bin"]
    assert world.tables.read("objects").height == 10 + 2


class Forgetful(FolderStore):
    """Forgets a token as servers may."""

    def pages(self, token: str | None = None) -> Iterator[Page]:
        if token is not None:
            raise ListingLost("the token is not known")
        yield from super().pages(token)


def test_a_token_that_expired_starts_the_sweep_anew(world: World, state: Path) -> None:
    tick(world, state)
    world.put("00.bin", b"x")
    world.sources["photos"] = type(world.sources["photos"])(
        world.sources["photos"].config, Forgetful(world.store.root, page_size=2)
    )
    tick(world, state)
    assert sweeps_under_way(state, ["photos"]) == {"photos": 2}
    assert tick(world, state, tick_seconds=60) == ["arrival-00001"]
    assert len(active(world)) == 10


class Failing(FolderStore):
    """Goes away after some pages."""

    def pages(self, token: str | None = None) -> Iterator[Page]:
        for number, page in enumerate(super().pages(token)):
            if number == 2:
                raise StoreUnavailable("the server went away")
            yield page


def test_a_server_that_goes_away_costs_nothing_that_was_listed(world: World, state: Path) -> None:
    config = world.sources["photos"].config
    world.sources["photos"] = type(world.sources["photos"])(config, Failing(world.store.root, page_size=2))
    for seen in (4, 8):
        with pytest.raises(StoreUnavailable):
            tick(world, state, tick_seconds=60)
        assert sweeps_under_way(state, ["photos"]) == {"photos": seen}
    assert tick(world, state, tick_seconds=60) == ["arrival-00001"]
    assert len(active(world)) == 9


@pytest.mark.parametrize("change", ["root", "tables", "time"])
def test_a_place_that_no_longer_fits_is_not_gone_on_from(
    world: World, state: Path, tmp_path: Path, change: str
) -> None:
    tick_to_the_end(world, state)
    world.put("new.bin", b"x")
    tick(world, state)
    now = NOW
    if change == "root":
        source = world.sources["photos"]
        config = source.config.model_copy(update={"root": "elsewhere"})
        world.sources["photos"] = type(source)(config, source.objects)
    elif change == "tables":
        world.tables = Tables(str(tmp_path / "others"))
    else:
        now += timedelta(days=2)
    tick(world, state, now=now)
    assert sweeps_under_way(state, ["photos"]) == {"photos": 2}


def test_every_source_gets_a_share_of_the_tick(world: World, state: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = World(world.tables, FolderStore(tmp_path / "other"), id="scans")
    other.put("a.bin", b"x")
    world.sources["scans"] = other.sources["photos"]
    assert tick(world, state) == ["arrival-00001"]
    assert world.tables.read("objects")["source"].to_list() == ["scans"]
    assert sweeps_under_way(state, ["photos", "scans"]) == {"photos": 2}


def test_changes_wait_for_others_until_the_window_closes(world: World, state: Path) -> None:
    options = {"tick_seconds": 60, "window_seconds": 300}
    for second in (0, 100, 299):
        world.put(f"late-{second}.bin", b"x")
        assert tick(world, state, now=NOW + timedelta(seconds=second), **options) == []
    assert tick(world, state, now=NOW + timedelta(seconds=300), **options) == ["arrival-00001"]
    assert len(active(world)) == 12
    world.put("next.bin", b"x")
    assert len(tick(world, state, now=NOW + timedelta(seconds=301), **options)) == 1
    assert len(tick(world, state, now=NOW + timedelta(seconds=601), **options)) == 2


def test_full_groups_do_not_wait_for_the_window(world: World, state: Path) -> None:
    options = {"tick_seconds": 60, "window_seconds": 300, "max_objects": 4}
    assert tick(world, state, **options) == ["arrival-00001", "arrival-00002"]
    assert world.tables.read("objects").height == 8
    assert len(tick(world, state, now=NOW + timedelta(seconds=299), **options)) == 2
    assert len(tick(world, state, now=NOW + timedelta(seconds=300), **options)) == 3


def test_a_window_whose_file_was_lost_opens_anew(world: World, state: Path) -> None:
    options = {"tick_seconds": 60, "window_seconds": 300}
    tick(world, state, **options)
    (state / ".waiting.time").write_text("?")
    assert tick(world, state, now=NOW + timedelta(seconds=300), **options) == []
    assert tick(world, state, now=NOW + timedelta(seconds=600), **options) == ["arrival-00001"]


def test_young_objects_of_a_long_sweep_wait(world: World, state: Path) -> None:
    [newest] = [info for info in world.store.list() if info.key == "8.bin"]
    options = {"now": newest.modified_at + timedelta(seconds=5), "settle_seconds": 6}
    tick_to_the_end(world, state, **options)
    assert len(active(world)) == 8
    tick_to_the_end(world, state, **options | {"settle_seconds": 0})
    assert len(active(world)) == 9


def test_a_clock_far_ahead_is_no_reason_to_wait(world: World, state: Path) -> None:
    far = (NOW + timedelta(days=400)).timestamp()
    os.utime(world.store.root / "0.bin", (far, far))  # type: ignore[attr-defined]
    tick_to_the_end(world, state, settle_seconds=60)
    assert len(active(world)) == 9
