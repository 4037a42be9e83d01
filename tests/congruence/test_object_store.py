"""One body for every object store: a folder and a real S3 server must behave alike."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flywheel.config import S3
from flywheel.errors import DataError
from flywheel.objects import KeyRefused, ObjectMissing, ObjectStore, ObjectTooLarge, open_store

BOTH = [pytest.param("folder"), pytest.param("s3", marks=pytest.mark.integration)]
HOSTILE = [
    "../up.txt",
    "a/../../up.txt",
    "/etc/passwd",
    "a//b.txt",
    "./a.txt",
    "a/.",
    "",
    "a\nb.txt",
    "a\0b.txt",
    "a\x1b[2Jb.txt",
    "a\\..\\b.txt",
    "\ud800.txt",
    "é" * 600,
]


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        (tmp_path / "objects").mkdir()
        return open_store(str(tmp_path / "objects"), S3())
    server = request.getfixturevalue("seaweedfs")
    return open_store(server.new_root(), server.s3)


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def test_what_is_written_should_be_read_back(store: ObjectStore) -> None:
    for content in (b"", b"one", bytes(range(256)) * 1000):
        store.write("a/b.bin", content)
        assert store.read("a/b.bin") == content
    assert store.exists("a/b.bin")
    assert store.address("a/b.bin").endswith("/a/b.bin")


def test_listing_should_be_in_the_order_of_keys_whatever_the_order_of_writing(store: ObjectStore) -> None:
    written = ["é.txt", "a/b.txt", "a.txt", "a-b", "B", "a/b/c", "a b+c%20.txt", "z", "𝄞.txt", "日本.txt"]
    for key in written:
        store.write(key, key.encode())
    assert keys(store) == sorted(written, key=lambda key: key.encode("utf-8"))


def test_listing_should_tell_size_time_and_version(store: ObjectStore) -> None:
    store.write("a.txt", b"12345")
    [info] = store.list()
    assert (info.key, info.size) == ("a.txt", 5)
    assert info.modified_at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - info.modified_at) < timedelta(minutes=5)


def test_version_should_change_with_the_bytes_and_only_then(store: ObjectStore) -> None:
    store.write("a.txt", b"one")
    [first] = store.list()
    assert list(store.list()) == [first]
    store.write("a.txt", b"two")
    [second] = store.list()
    assert second.version != first.version


def test_prefix_should_choose_by_the_beginning_of_the_key(store: ObjectStore) -> None:
    for key in ["ab/c.txt", "ab.txt", "abc/d.txt", "b.txt", "ab/d/e.txt"]:
        store.write(key, b"x")
    assert keys(store, "ab") == ["ab.txt", "ab/c.txt", "ab/d/e.txt", "abc/d.txt"]
    assert keys(store, "ab/") == ["ab/c.txt", "ab/d/e.txt"]
    assert keys(store, "ab/d") == ["ab/d/e.txt"]
    assert keys(store, "q") == keys(store, "q/r") == []


def test_hidden_objects_should_not_be_listed(store: ObjectStore) -> None:
    for key in [".hidden", ".git/config", "a/.b/c.txt", "a/b.txt"]:
        store.write(key, b"x")
    assert keys(store) == ["a/b.txt"]


def test_missing_object_should_be_an_error_that_names_it(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing, match=r"nowhere/a\.txt"):
        store.read("nowhere/a.txt")
    assert not store.exists("nowhere/a.txt")
    store.delete("nowhere/a.txt")


def test_object_below_another_object_should_be_missing(store: ObjectStore) -> None:
    store.write("a.txt", b"x")
    assert not store.exists("a.txt/b.txt")
    store.delete("a.txt/b.txt")
    with pytest.raises(ObjectMissing):
        store.read("a.txt/b.txt")


def test_reading_should_stop_at_the_limit(store: ObjectStore) -> None:
    store.write("a.txt", b"12345")
    assert store.read("a.txt", 5) == b"12345"
    with pytest.raises(ObjectTooLarge, match="5 bytes, at most 4"):
        store.read("a.txt", 4)


def test_deleted_object_should_be_gone(store: ObjectStore) -> None:
    store.write("a.txt", b"x")
    store.delete("a.txt")
    assert keys(store) == []
    assert not store.exists("a.txt")


def test_write_if_absent_should_not_replace(store: ObjectStore) -> None:
    assert store.write_if_absent("a.txt", b"one") is True
    assert store.write_if_absent("a.txt", b"two") is False
    assert store.read("a.txt") == b"one"


def test_one_of_many_rivals_should_win(store: ObjectStore) -> None:
    def compete(number: int) -> bool:
        return store.write_if_absent("lock", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(compete, range(8)))
    assert won.count(True) == 1
    assert store.read("lock") == str(won.index(True)).encode()


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_should_be_refused_by_every_operation(store: ObjectStore, key: str) -> None:
    operations: list[Callable[[], object]] = [
        lambda: store.read(key),
        lambda: store.write(key, b"x"),
        lambda: store.write_if_absent(key, b"x"),
        lambda: store.exists(key),
        lambda: store.delete(key),
        lambda: store.address(key),
    ]
    for operation in operations:
        with pytest.raises(KeyRefused) as refused:
            operation()
        assert isinstance(refused.value, DataError)
    assert keys(store) == []
