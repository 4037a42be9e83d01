"""Objects that land become arrivals, once, whatever is killed in between."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

from assets.planning import sweeps_folder
from flywheel.errors import ConfigError
from sensors import objects_arrived
from tests.assets.tiny_wheel import TinyWheel, build_wheel
from tests.sensors.conftest import Tick, reason, requested


@pytest.fixture
def wheel(tmp_path: Path) -> TinyWheel:
    return build_wheel(tmp_path / "wheel")


def test_an_empty_source_asks_for_nothing(wheel: TinyWheel, tick: Tick) -> None:
    assert reason(tick(objects_arrived, wheel)) == "nothing new in 'photos'; 0 arrivals so far"


def test_two_portions_are_two_arrivals(wheel: TinyWheel, tick: Tick, instance: dg.DagsterInstance) -> None:
    wheel.add(0, 3)
    first = tick(objects_arrived, wheel)
    wheel.add(3, 2)
    second = tick(objects_arrived, wheel)
    assert (requested(first), requested(second)) == (["arrival-00001"], ["arrival-00002"])
    assert instance.get_dynamic_partitions("arrivals") == ["arrival-00001", "arrival-00002"]
    assert sorted(wheel.tables.read("objects", arrival="arrival-00002")["key"]) == ["003.png", "004.png"]


def test_a_portion_is_asked_for_once(wheel: TinyWheel, tick: Tick) -> None:
    wheel.add(0, 3)
    tick(objects_arrived, wheel)
    assert reason(tick(objects_arrived, wheel)) == "nothing new in 'photos'; 1 arrivals so far"


def test_older_arrivals_go_first(wheel: TinyWheel, tick: Tick) -> None:
    wheel.add(0, 3)
    tick(objects_arrived, wheel, apply=False)
    wheel.add(3, 2)
    runs = tick(objects_arrived, wheel).run_requests or []
    priorities = [int(run.tags["dagster/priority"]) for run in runs]
    assert [run.partition_key for run in runs] == ["arrival-00001", "arrival-00002"]
    assert priorities[0] > priorities[1]


def test_killed_between_table_and_partition_the_same_is_asked_again(
    wheel: TinyWheel, tick: Tick, instance: dg.DagsterInstance
) -> None:
    wheel.add(0, 3)
    lost = tick(objects_arrived, wheel, apply=False)  # the table is written, Dagster heard nothing
    assert instance.get_dynamic_partitions("arrivals") == []
    again = tick(objects_arrived, wheel)
    assert requested(again) == ["arrival-00001"]
    assert [run.run_key for run in again.run_requests or []] == [run.run_key for run in lost.run_requests or []]
    assert wheel.tables.read("objects").height == 3


def test_a_changed_object_is_an_arrival_with_another_key(wheel: TinyWheel, tick: Tick) -> None:
    wheel.add(0, 3)
    first = tick(objects_arrived, wheel)
    (wheel.folder / "photos" / "000.png").write_bytes(b"something else")
    second = tick(objects_arrived, wheel)
    assert requested(second) == ["arrival-00002"]
    assert {run.run_key for run in second.run_requests or []}.isdisjoint(
        {run.run_key for run in first.run_requests or []}
    )


def test_what_is_still_being_written_waits(tmp_path: Path, tick: Tick) -> None:
    wheel = build_wheel(tmp_path / "settling", triggers={"settle_seconds": 3600})
    wheel.add(0, 3)
    assert reason(tick(objects_arrived, wheel)) == "nothing new in 'photos'; 0 arrivals so far"


def test_one_process_plans_at_a_time(wheel: TinyWheel, tick: Tick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.planning.PATIENCE", 0.1)
    wheel.add(0, 3)
    wheel.config.cache.mkdir(parents=True)
    with FileLock(wheel.config.cache / "arrivals.lock"), pytest.raises(ConfigError, match="still comparing"):
        tick(objects_arrived, wheel)
    assert wheel.tables.read("objects").is_empty()
    assert requested(tick(objects_arrived, wheel)) == ["arrival-00001"]


def test_a_long_listing_is_gone_on_with_in_the_next_look(tmp_path: Path, tick: Tick) -> None:
    wheel = build_wheel(tmp_path / "long", triggers={"tick_seconds": 0})
    for number in range(1001):
        (wheel.folder / "photos" / f"{number}.txt").touch()
    assert reason(tick(objects_arrived, wheel)) == "still listing 'photos' (1,000 keys); 0 arrivals so far"
    assert requested(tick(objects_arrived, wheel)) == ["arrival-00001"]
    assert wheel.tables.read("objects").height == 1001


def test_changes_wait_for_their_window(tmp_path: Path, tick: Tick) -> None:
    wheel = build_wheel(tmp_path / "window", triggers={"window_seconds": 3600})
    wheel.add(0, 3)
    assert "wait for others to join them" in (reason(tick(objects_arrived, wheel)) or "")
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    (sweeps_folder(wheel.config) / ".waiting.time").write_text(long_ago.isoformat())
    assert requested(tick(objects_arrived, wheel)) == ["arrival-00001"]
