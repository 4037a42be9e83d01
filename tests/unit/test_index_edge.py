"""What only the embedded index promises: it survives kills, is owned by one process, and copies itself whole."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flywheel.errors import FlywheelError, IndexMismatch
from flywheel.identity import digest
from flywheel.index import EdgeIndex, Points, Space
from flywheel.index.points import field_of, field_path, payload_key, vector_name

WORDS = Space("words", 4)

WRITER = """
import sys, time
import numpy as np
from flywheel.identity import digest
from flywheel.index import EdgeIndex, Points, Space
index = EdgeIndex(sys.argv[1])
index.__enter__()
index.ensure([Space("words", 4)], {"n": "float"})
for number in range(int(sys.argv[2])):
    ids = [digest("point", str(number), str(row)) for row in range(300)]
    vectors = np.random.default_rng(number).normal(size=(300, 4)).astype(np.float32)
    index.upsert(Points(ids, {"words": vectors}, [{"n": number, "row": row} for row in range(300)]))
    print(number, flush=True)
time.sleep(60)
"""


def start_writer(folder: Path, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(batches)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def read_until(process: subprocess.Popen[str], number: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == number:
            return
    raise AssertionError("the writer ended early")


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def points(numbers: range, **payload: object) -> Points:
    vectors = np.random.default_rng(0).normal(size=(len(numbers), 4)).astype(np.float32)
    return Points(
        [digest(str(number)) for number in numbers], {"words": vectors}, [{"n": n, **payload} for n in numbers]
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with EdgeIndex(tmp_path / "index") as index:
        index.ensure([WORDS], {"n": "float"})
        index.upsert(points(range(20)))
    return tmp_path / "index"


def test_everything_an_upsert_returned_from_should_survive_a_kill(tmp_path: Path) -> None:
    process = start_writer(tmp_path / "index", 4)
    read_until(process, 3)
    kill(process)
    with EdgeIndex(tmp_path / "index") as index:
        assert index.count() == 4 * 300
        rows = index.scroll()
        assert {(row["n"], row["row"]) for row in rows.values()} == {(n, row) for n in range(4) for row in range(300)}
        vector = np.random.default_rng(2).normal(size=(300, 4)).astype(np.float32)[17]
        [hit] = index.query("words", vector.tolist(), limit=1)
        assert hit.item_id == digest("point", "2", "17")
        assert hit.score == pytest.approx(1, abs=1e-5)


def test_a_kill_at_any_moment_should_leave_an_index_that_can_be_completed(tmp_path: Path) -> None:
    for number, delay in enumerate(np.random.default_rng(7).uniform(0.0, 0.4, size=4)):
        folder = tmp_path / f"index-{number}"
        process = start_writer(folder, 3)
        while not (folder / "lock").exists():
            time.sleep(0.005)
        time.sleep(float(delay))
        kill(process)
        with EdgeIndex(folder) as index:
            index.ensure([WORDS], {"n": "float"})
            index.upsert(points(range(20)))
            assert set(index.scroll()) >= set(points(range(20)).item_ids)


def test_a_second_process_should_be_told_who_holds_the_index(tmp_path: Path) -> None:
    process = start_writer(tmp_path / "index", 1)
    read_until(process, 0)
    started = time.monotonic()
    with (
        pytest.raises(FlywheelError, match=rf"held by process {process.pid} .*One process at a time"),
        EdgeIndex(tmp_path / "index", wait_seconds=0.3),
    ):
        pass
    assert time.monotonic() - started < 5
    kill(process)
    with EdgeIndex(tmp_path / "index") as index:
        assert index.count() == 300


def test_a_waiter_should_get_the_index_when_it_is_free(folder: Path) -> None:
    first, second = EdgeIndex(folder), EdgeIndex(folder, wait_seconds=0.2)
    with first, pytest.raises(FlywheelError, match="held by"), second:
        pass
    with second:
        assert second.count() == 20
    with first:
        assert first.count() == 20


def test_entering_twice_should_be_refused_and_leave_the_index_open(folder: Path) -> None:
    with EdgeIndex(folder) as index:
        with pytest.raises(FlywheelError, match="already"):
            index.__enter__()
        assert index.count() == 20


def test_leaving_by_an_error_should_close_the_index_and_keep_what_was_stored(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="oops"), EdgeIndex(folder) as index:
        index.upsert(points(range(20, 25)))
        raise RuntimeError("oops")
    with EdgeIndex(folder, wait_seconds=0) as index:
        assert index.count() == 25


def test_a_saved_generation_should_open_while_the_original_is_open(folder: Path, tmp_path: Path) -> None:
    with EdgeIndex(folder) as index:
        index.save(str(tmp_path / "deep" / "saved"))
        index.delete([digest("0")])
        with EdgeIndex(tmp_path / "other") as other:
            other.restore(str(tmp_path / "deep" / "saved"))
            assert other.count() == 20
            assert index.count() == 19
            other.upsert(points(range(20, 30)))
        index.save(str(tmp_path / "deep" / "saved"))  # again: takes the older copy's place
        index.restore(str(tmp_path / "deep" / "saved"))
        assert index.count() == 19
    with EdgeIndex(folder) as index:
        assert index.count() == 19
    assert len(list(folder.glob("generation-*"))) == 1
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["saved"]


def test_a_copy_should_not_fill_the_disk_with_holes(folder: Path, tmp_path: Path) -> None:
    with EdgeIndex(folder) as index:
        index.save(str(tmp_path / "saved"))
    files = [path.stat() for path in (tmp_path / "saved").rglob("*") if path.is_file()]
    assert sum(stat.st_blocks for stat in files) * 512 < 20_000_000 < sum(stat.st_size for stat in files)


def test_a_half_written_generation_should_never_be_served(folder: Path, tmp_path: Path) -> None:
    with EdgeIndex(folder) as index:
        index.save(str(tmp_path / "saved"))
    (tmp_path / "saved" / "spaces.json").unlink()
    live = (folder / "CURRENT").read_text()
    shutil.copytree(folder / live, folder / "generation-000009")
    shutil.copytree(folder / live, folder / "generation-000010.partial")
    with EdgeIndex(folder) as index:
        with pytest.raises(IndexMismatch, match="no complete generation"):
            index.restore(str(tmp_path / "saved"))
        assert index.count() == 20
    assert (folder / "CURRENT").read_text() == live
    assert [path.name for path in folder.glob("generation-*")] == [live]


def test_a_damaged_generation_should_leave_the_old_one_in_place(folder: Path, tmp_path: Path) -> None:
    with EdgeIndex(folder) as index:
        index.save(str(tmp_path / "saved"))
        shutil.rmtree(tmp_path / "saved" / "shard" / "segments")
        (tmp_path / "saved" / "shard" / "edge_config.json").write_text("{")
        with pytest.raises(IndexMismatch, match="cannot be opened"):
            index.restore(str(tmp_path / "saved"))
        assert index.count() == 20
    with EdgeIndex(folder) as index:
        assert index.count() == 20


def test_damaged_files_should_say_that_the_index_can_be_rebuilt(folder: Path) -> None:
    live = folder / (folder / "CURRENT").read_text()
    shutil.rmtree(live / "shard")
    for _ in range(2):  # the first failure must not leave the lock behind
        with pytest.raises(IndexMismatch, match=r"delete .* and bring it up"), EdgeIndex(folder, wait_seconds=0.1):
            pass


def test_a_large_index_should_be_optimized_on_leaving_and_still_answer(folder: Path) -> None:
    with EdgeIndex(folder, optimize_from=500) as index:
        index.upsert(points(range(600)))
    with EdgeIndex(folder, optimize_from=500) as index:
        assert index.count() == 600
        vector = points(range(600)).vectors["words"][33]
        assert index.query("words", vector.tolist(), limit=1)[0].item_id == digest("33")


def test_names_of_vectors_should_be_safe_and_distinct() -> None:
    names = ["words", "a/b", "a_b", "a?b", "../up", "..", ".", "ü" * 200, "x" * 300, "maker/model@main:fp32/224"]
    made = [vector_name(name) for name in names]
    assert made[0] == "words"
    assert len(set(made)) == len(names)
    assert all(set(name) - set("/\\\0") == set(name) and len(name) <= 80 and name.strip(".") for name in made)


@pytest.mark.parametrize("field", ["plain", "attr.age", 'a "quoted" one', "100%22", "%", '"', "ü[0].x"])
def test_fields_should_survive_the_way_to_the_engine_and_back(field: str) -> None:
    assert field_of(payload_key(field)) == field
    assert field_path(field).strip('"') == payload_key(field)


def test_a_rebuilt_index_should_hold_no_byte_of_what_was_deleted(tmp_path: Path) -> None:
    secret, other = digest("secret"), digest("other")
    vectors = np.array([[0.5, 0.5, 0.5, 0.5], [0.1, 0.7, 0.1, 0.7]], np.float32)
    with EdgeIndex(tmp_path) as index:
        index.ensure([WORDS], {"name": "keyword"})
        index.upsert(Points([secret, other], {"words": vectors}, [{"name": "told-to-nobody"}, {"name": "known"}]))
        index.delete([secret])
        index.rebuild()
        assert set(index.scroll()) == {other}
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"known" in held
    assert b"told-to-nobody" not in held
    with EdgeIndex(tmp_path) as index:
        [hit] = index.query("words", vectors[1].tolist())
        assert (hit.item_id, hit.payload["name"]) == (other, "known")
        assert index.facet("name") == {"known": 1}
