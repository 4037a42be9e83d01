"""One body for the tables in a folder and on a real S3 server."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flywheel.errors import DataError
from flywheel.objects import storage_options
from flywheel.records import SCHEMAS, empty
from flywheel.tables import Tables

BOTH = [pytest.param("folder"), pytest.param("s3", marks=pytest.mark.integration)]


@pytest.fixture(params=BOTH)
def open_them(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Tables]:
    """Opens the same tables as often as it is called."""
    if request.param == "folder":
        return lambda: Tables(str(tmp_path / "tables"))
    server = request.getfixturevalue("seaweedfs")
    root = server.new_root()
    return lambda: Tables(root, storage_options(server.s3))


@pytest.fixture
def shelf(open_them: Callable[[], Tables]) -> Tables:
    return open_them()


def landed(arrival: str, count: int, version: str = "v1") -> pl.DataFrame:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [("photos", f"{number}.png", version, number, at, "active", arrival) for number in range(count)]
    return pl.DataFrame(rows, schema=SCHEMAS["objects"], orient="row")


def counts(tables: Tables) -> dict[str, int]:
    return dict(tables.read("objects").group_by("arrival").len().sort("arrival").iter_rows())


def test_a_table_nobody_wrote_should_be_empty_and_typed(shelf: Tables) -> None:
    assert_frame_equal(shelf.read("objects"), empty("objects"))
    assert shelf.version("objects") is None
    assert set(shelf.versions().values()) == {-1}
    assert shelf.scan("objects", -1).collect().is_empty()


def test_replace_should_change_one_partition_only(shelf: Tables) -> None:
    shelf.replace("objects", landed("arrival-00001", 3), arrival="arrival-00001")
    shelf.replace("objects", landed("arrival-00002", 2), arrival="arrival-00002")
    shelf.replace("objects", landed("arrival-00001", 1, "v2"), arrival="arrival-00001")
    assert counts(shelf) == {"arrival-00001": 1, "arrival-00002": 2}
    assert_frame_equal(shelf.read("objects", arrival="arrival-00001"), landed("arrival-00001", 1, "v2"))


def test_replace_with_the_same_rows_should_write_nothing(shelf: Tables) -> None:
    rows = landed("arrival-00001", 3)
    assert shelf.replace("objects", rows, arrival="arrival-00001") is True
    later = rows.with_columns(modified_at=pl.lit(datetime(2027, 1, 1, tzinfo=UTC)))  # a volatile column
    before = shelf.version("objects")
    assert shelf.replace("objects", rows.reverse(), arrival="arrival-00001") is False
    assert shelf.replace("objects", later, arrival="arrival-00001") is False
    assert shelf.version("objects") == before
    changed = rows.with_columns(size=pl.col("size") + 1)
    assert shelf.replace("objects", changed, arrival="arrival-00001") is True
    assert before is not None and shelf.version("objects") == before + 1


def test_replace_with_nothing_should_empty_the_partition(shelf: Tables) -> None:
    assert shelf.replace("objects", empty("objects"), arrival="arrival-00001") is False
    shelf.replace("objects", landed("arrival-00001", 3), arrival="arrival-00001")
    assert shelf.replace("objects", empty("objects"), arrival="arrival-00001") is True
    assert shelf.read("objects").is_empty()


def test_old_versions_should_still_be_read(shelf: Tables) -> None:
    shelf.replace("objects", landed("arrival-00001", 3), arrival="arrival-00001")
    pinned = shelf.version("objects")
    shelf.replace("objects", landed("arrival-00001", 5), arrival="arrival-00001")
    shelf.replace("objects", landed("arrival-00002", 5), arrival="arrival-00002")
    assert shelf.read("objects", pinned).height == 3
    assert shelf.read("objects").height == 10


def test_append_should_add_to_what_stands(shelf: Tables) -> None:
    points = pl.DataFrame(
        {"generation": ["g"], "modality": ["image"], "content_id": ["c"], "x": [1.0], "y": [2.0]},
        schema=SCHEMAS["map_points"],
    )
    assert shelf.replace("map_points", points.with_columns(x=pl.lit(3.0)), modality="image") is True
    shelf.append("map_points", points)
    assert sorted(shelf.read("map_points")["x"]) == [1.0, 3.0]
    assert shelf.replace("map_points", empty("map_points"), modality="image") is True
    assert shelf.read("map_points").is_empty()


def test_rivals_that_replace_different_partitions_should_lose_nothing(open_them: Callable[[], Tables]) -> None:
    start = Barrier(4)

    def write(number: int) -> None:
        own, name = open_them(), f"arrival-{number:05d}"
        start.wait()
        for count in (2, 3, 4 + number):
            own.replace("objects", landed(name, count), arrival=name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert counts(open_them()) == {f"arrival-{number:05d}": 4 + number for number in range(4)}


@pytest.mark.parametrize("round_", range(3))
def test_rivals_that_create_a_table_should_both_be_in_it(open_them: Callable[[], Tables], round_: int) -> None:
    start = Barrier(2)

    def write(number: int) -> None:
        own, name = open_them(), f"arrival-{number:05d}"
        start.wait()
        own.replace("objects", landed(name, 3), arrival=name)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (1, 2)))
    assert counts(open_them()) == {"arrival-00001": 3, "arrival-00002": 3}


@pytest.mark.parametrize("round_", range(3))
def test_rivals_that_do_the_same_should_leave_it_done_once(open_them: Callable[[], Tables], round_: int) -> None:
    start = Barrier(2)

    def write(_: int) -> None:
        own = open_them()
        start.wait()
        own.replace("objects", landed("arrival-00001", 3), arrival="arrival-00001")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    assert counts(open_them()) == {"arrival-00001": 3}


def test_chunks_should_replace_one_partition_in_one_commit(shelf: Tables) -> None:
    rows = landed("arrival-00001", 9)
    shelf.replace("objects", landed("arrival-00002", 2), arrival="arrival-00002")
    shelf.replace("objects", landed("arrival-00001", 4, "old"), arrival="arrival-00001")
    before = shelf.version("objects")
    assert shelf.replace_chunks("objects", [rows[:5], rows[:0], rows[5:]], arrival="arrival-00001") is True
    assert before is not None and shelf.version("objects") == before + 1
    assert counts(shelf) == {"arrival-00001": 9, "arrival-00002": 2}
    assert_frame_equal(shelf.read("objects", arrival="arrival-00001").sort("size"), rows)


def test_chunks_that_stand_already_should_not_be_written(shelf: Tables) -> None:
    rows = landed("arrival-00001", 9)
    shelf.replace("objects", rows, arrival="arrival-00001")
    before = shelf.version("objects")
    assert shelf.replace_chunks("objects", [rows[5:], rows[:5]], arrival="arrival-00001") is False
    assert shelf.version("objects") == before
    changed = rows.with_columns(size=pl.when(pl.col("size") == 8).then(80).otherwise("size"))
    assert shelf.replace_chunks("objects", [changed[5:], changed[:5]], arrival="arrival-00001") is True
    assert shelf.read("objects")["size"].sum() == 36 + 72


def test_chunks_should_stay_in_their_partition(shelf: Tables) -> None:
    rows = landed("arrival-00001", 4)
    with pytest.raises(DataError, match="outside"):
        shelf.replace_chunks("objects", [rows[:2], rows[2:]], arrival="arrival-00002")
    assert shelf.read("objects").is_empty()


def test_chunks_of_different_partitions_should_not_conflict(open_them: Callable[[], Tables]) -> None:
    open_them().append("objects", empty("objects"))
    start = Barrier(3)

    def write(number: int) -> bool:
        name, tables = f"arrival-{number:05d}", open_them()
        rows = landed(name, 6)
        start.wait()
        return tables.replace_chunks("objects", [rows[:3], rows[3:]], arrival=name)

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(write, range(1, 4)))
    assert counts(open_them()) == {f"arrival-{number:05d}": 6 for number in range(1, 4)}


@pytest.mark.parametrize("name", ["a folder", "50% grün", "a+b&c#d?e", "日本"])
def test_a_root_may_have_any_name(tmp_path: Path, name: str) -> None:
    tables = Tables(str(tmp_path / name))
    assert tables.replace("objects", landed("arrival-00001", 2), arrival="arrival-00001")
    assert tables.replace("objects", landed("arrival-00002", 3), arrival="arrival-00002")
    assert counts(tables) == {"arrival-00001": 2, "arrival-00002": 3}
    assert tables.scan("objects", 1).collect().height == 2
    assert not tables.replace("objects", landed("arrival-00001", 2), arrival="arrival-00001")
    assert (tmp_path / name / "objects" / "_delta_log").is_dir()
