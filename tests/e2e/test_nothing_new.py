"""The wheel asked again: what has not changed costs nothing and changes nothing."""

import shutil
from pathlib import Path

import pytest

from assets.definitions import build_definitions
from assets.instance import dagster_home, open_instance
from assets.labeling import annotations, labeling_job
from assets.turning import ANSWERED, BATCH
from flywheel.raw import current_items
from flywheel.turns import turn_key
from tests.e2e.comparison import assert_same_tables
from tests.e2e.conftest import TwoTurns, turn
from tests.e2e.small_wheel import SmallWheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def written(folder: Path) -> dict[str, int]:
    """Every file under a folder with the time it was last written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_again_with_nothing_new_costs_nothing(finished: SmallWheel) -> None:
    tables, vendor = (finished.folder / "wheel" / name for name in ("tables", "cache/simulated-vendor"))
    before = written(tables), written(vendor)
    turned, cost = turn(finished, until=2)
    assert (turned.arrivals, turned.turns) == ((), ())
    assert cost.encoded == {"image": 0, "text": 0}
    assert cost.forward_passes == 0
    assert (written(tables), written(vendor)) == before


def test_only_a_new_portion_is_encoded(two_turns: TwoTurns) -> None:
    first, second = two_turns.costs
    assert first.encoded == {"image": 120, "text": 8}
    assert second.encoded == {"image": 30, "text": 4}
    new = two_turns.wheel.tables.read("embeddings", arrival="arrival-00002")
    assert new.height == 34
    assert set(new["content_id"]) == set(two_turns.wheel.tables.read("items", arrival="arrival-00002")["content_id"])


def test_a_new_portion_rewrites_no_vector_of_the_old_one(two_turns: TwoTurns) -> None:
    old = two_turns.after_first.tables.read("embeddings").sort("content_id")
    kept = two_turns.wheel.tables.read("embeddings", arrival="arrival-00001").sort("content_id")
    assert kept.equals(old)


def test_a_renamed_picture_is_a_new_item_and_no_new_content(finished: SmallWheel) -> None:
    photos = finished.folder / "photos"
    (photos / "001.png").rename(photos / "renamed.png")
    before = {name: finished.tables.read(name) for name in ("embeddings", "neighbors", "clusters", "jobs")}
    turned, cost = turn(finished, until=2)
    assert turned.arrivals == ("arrival-00003",)
    assert cost.encoded == {"image": 0, "text": 0}
    assert {"renamed.png", "001.png"} & set(current_items(finished.tables)["key"]) == {"renamed.png"}
    for name, rows in before.items():
        assert finished.tables.read(name).equals(rows), name


def test_a_wheel_that_lost_its_history_computes_nothing_again(finished: SmallWheel) -> None:
    shutil.rmtree(dagster_home(finished.config))
    before = finished.tables.versions()
    turned, cost = turn(finished, until=2)
    assert turned.arrivals == ("arrival-00001", "arrival-00002")
    assert cost.encoded == {"image": 0, "text": 0}
    assert finished.tables.versions() == before


def test_repeating_the_stations_of_closed_turns_leaves_their_rows(finished: SmallWheel, two_turns: TwoTurns) -> None:
    before, orders = finished.tables.versions(), finished.vendor.orders()
    stations = [*BATCH, labeling_job, annotations, *ANSWERED]
    job = build_definitions(finished.config_path).resolve_implicit_global_asset_job_def()
    with open_instance(finished.config) as instance:
        for number in (0, 1, 2):
            result = job.execute_in_process(
                instance=instance,
                asset_selection=[asset.key for asset in stations],
                partition_key=turn_key(number),
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            assert result.success
    assert_same_tables(finished.tables, two_turns.wheel.tables)
    assert finished.vendor.orders() == orders
    moved = {name for name, version in before.items() if finished.tables.versions()[name] != version}
    assert moved == {"turns"}  # they note how long their stations took
