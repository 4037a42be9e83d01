"""What is particular to folders: links, pipes, half-written files, names that are no text."""

import os
from pathlib import Path

import pytest

from flywheel.errors import DataError
from flywheel.objects import FolderStore, KeyRefused, LinkOutside, ObjectMissing, key_problem


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / "root").mkdir()
    return FolderStore(tmp_path / "root")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_bytes(b"secret")
    return folder


def keys(store: FolderStore) -> list[str]:
    return [info.key for info in store.list()]


def test_links_out_of_the_folder_should_be_listed_and_not_opened(store: FolderStore, outside: Path) -> None:
    (store.root / "file.txt").symlink_to(outside / "secret.txt")
    (store.root / "folder").symlink_to(outside)
    assert keys(store) == ["file.txt", "folder"]
    for key in ["file.txt", "folder/secret.txt"]:
        with pytest.raises(LinkOutside, match="symbolic link"):
            store.read(key)
    with pytest.raises(LinkOutside):
        store.write("folder/new.txt", b"x")
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]


def test_links_within_the_folder_should_be_followed(store: FolderStore) -> None:
    store.write("a/real.txt", b"x")
    (store.root / "link.txt").symlink_to(store.root / "a" / "real.txt")
    (store.root / "again").symlink_to(store.root / "a")
    assert keys(store) == ["a/real.txt", "link.txt"]
    assert store.read("link.txt") == b"x"


def test_links_in_a_circle_and_to_nothing_should_be_left_out(store: FolderStore) -> None:
    (store.root / "one").symlink_to(store.root / "two")
    (store.root / "two").symlink_to(store.root / "one")
    (store.root / "lost").symlink_to(store.root / "nowhere")
    assert keys(store) == []
    with pytest.raises(DataError):
        store.read("one")


def test_a_pipe_should_not_block(store: FolderStore) -> None:
    os.mkfifo(store.root / "pipe.txt")
    assert keys(store) == []
    with pytest.raises(ObjectMissing, match="not a regular file"):
        store.read("pipe.txt")


def test_names_that_are_not_utf8_should_be_listed_as_refused_keys(store: FolderStore) -> None:
    Path(os.fsdecode(os.fsencode(store.root) + b"/caf\xe9.png")).write_bytes(b"x")
    [info] = store.list()
    assert info.key == "caf\\xe9.png"
    assert key_problem(info.key) == "it holds a backslash"


def test_names_too_long_for_the_disk_should_be_refused(store: FolderStore) -> None:
    with pytest.raises(KeyRefused, match="255"):
        store.write("a" * 256, b"x")
    store.write("a" * 255, b"x")


def test_a_folder_that_is_not_there_should_not_look_empty(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "unmounted")
    with pytest.raises(DataError, match="unmounted"):
        list(store.list())
    store.write("a.txt", b"x")
    assert keys(store) == ["a.txt"]


def test_a_failed_write_should_leave_the_old_content_and_nothing_else(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("a.txt", b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(DataError, match="No space left"):
            store.write("a.txt", b"new")
    assert store.read("a.txt") == b"old"
    assert [path.name for path in store.root.iterdir()] == ["a.txt"]


def test_writing_where_a_folder_stands_should_be_refused(store: FolderStore) -> None:
    store.write("a/b.txt", b"x")
    with pytest.raises(DataError, match="cannot be written"):
        store.write("a", b"x")
    with pytest.raises(DataError, match="cannot be written"):
        store.write("a/b.txt/c.txt", b"x")
    assert [path.name for path in store.root.iterdir()] == ["a"]
