"""A folder as an object store. Writes are whole or not at all; nothing outside the folder is ever reached."""

import contextlib
import os
import stat
import uuid
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from flywheel.errors import DataError
from flywheel.objects.keys import KeyRefused, LinkOutside, ObjectMissing, checked, is_hidden, key_problem, too_large
from flywheel.objects.protocol import ObjectInfo, Page

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_NAME_BYTES = 255  # of one file or folder, on the usual file systems


class FolderStore:
    """The files under one folder.

    Symbolic links to files inside the folder are followed; links that leave it are listed and not opened, linked
    folders are not listed (what is in them is listed where it really lies).

    Args:
        root: the folder. It need not exist before the first write.
        page_size: files in one page of a listing.
    """

    readers = 2

    def __init__(self, root: str | Path, page_size: int = 1000):
        self.root = Path(root).resolve()
        self._page_size = page_size

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every file under `prefix` in the order of its key (UTF-8 bytes). Hidden files are left out.

        A name that is no good key (see `key_problem`) is yielded too, so that it can be reported; bytes that
        are not UTF-8 are shown as backslash escapes.

        Raises:
            DataError: the folder does not exist. An unmounted disk must not look like an empty one.
        """
        self._check_there()
        start = prefix.rpartition("/")[0]
        if start and (key_problem(start) or not (self.root / start).is_dir()):
            return
        yield from self._walk(self.root / start, f"{start}/" if start else "", prefix, "")

    def pages(self, token: str | None = None) -> Iterator[Page]:
        """Yield the listing in pages, in the order of keys; the token is the last key of the page before.

        Raises:
            DataError: the folder does not exist.
        """
        self._check_there()
        found = self._walk(self.root, "", "", token or "")
        infos = tuple(islice(found, self._page_size))
        while len(infos) == self._page_size:
            following = tuple(islice(found, self._page_size))
            if not following:
                break
            yield Page(infos, infos[-1].key)
            infos = following
        self._check_there()  # a disk that was unmounted meanwhile
        yield Page(infos, None)

    def info(self, key: str) -> ObjectInfo:
        """Describe one file as it stands now.

        Raises:
            ObjectMissing: there is no such regular file.
            KeyRefused: the key leaves the folder.
        """
        path = self._inside(key)
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectMissing(f"there is no file {path}", (key,)) from None
        if not stat.S_ISREG(found.st_mode):
            raise ObjectMissing(f"{path} is not a regular file", (key,))
        return _described(key, found)

    def read(self, key: str, limit: int | None = None) -> bytes:
        """Return the file's bytes; see `ObjectStore.read`.

        Raises:
            ObjectMissing: there is no such regular file.
            KeyRefused: the key leaves the folder.
            ObjectTooLarge: it has more than `limit` bytes.
        """
        path = self._inside(key)
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
                raise ObjectMissing(f"{path} is not a regular file", (key,))
            if limit is not None and found.st_size > limit:
                raise too_large(str(path), found.st_size, limit)
            with path.open("rb") as file:
                content = file.read() if limit is None else file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectMissing(f"there is no file {path}", (key,)) from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}; check its permissions", (key,)) from error
        if limit is not None and len(content) > limit:  # it grew while it was read
            raise too_large(str(path), len(content), limit)
        return content

    @contextlib.contextmanager
    def local(self, key: str, limit: int | None = None) -> Generator[Path]:
        """Give the file itself; see `ObjectStore.local`. Errors: see `read`."""
        path, size = self._inside(key), self.info(key).size
        if limit is not None and size > limit:
            raise too_large(str(path), size, limit)
        yield path

    def write(self, key: str, content: bytes) -> None:
        """Write the file whole or not at all, replacing what stood there. It is on disk when this returns."""
        path = self._inside(key)
        temporary = self._temporary(path, content)
        try:
            temporary.replace(path)
        except OSError as error:
            _discard(temporary)
            raise _unwritable(path, error) from error
        _sync_folder(path.parent)

    def write_if_absent(self, key: str, content: bytes) -> bool:
        """Write the file unless one stands there; return whether it was written. One of two rivals wins."""
        path = self._inside(key)
        if path.exists():
            return False
        temporary = self._temporary(path, content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            _discard(temporary)
        _sync_folder(path.parent)
        return True

    def exists(self, key: str) -> bool:
        """Return whether the file is there."""
        return self._inside(key).is_file()

    def delete(self, key: str) -> None:
        """Remove the file; a missing one is no error."""
        path = self._inside(key)
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise DataError(f"{path} cannot be removed: {error.strerror}", (key,)) from error

    def address(self, key: str) -> str:
        """Return the absolute path of the file."""
        return str(self._inside(key))

    def _inside(self, key: str) -> Path:
        path = self.root / checked(key)
        if any(len(segment.encode("utf-8")) > MAX_NAME_BYTES for segment in key.split("/")):
            raise KeyRefused(f"the key {key!r} is refused: a name in it has more than {MAX_NAME_BYTES} bytes", (key,))
        try:
            stays = self._stays(path)
        except OSError:
            raise ObjectMissing(f"the key {key!r} leads in a circle of symbolic links", (key,)) from None
        if not stays:
            raise LinkOutside(f"the key {key!r} leads out of {self.root} by a symbolic link", (key,))
        return path

    def _stays(self, path: Path) -> bool:
        """Whether the path, its links followed, ends inside the folder.

        Raises:
            OSError: the links lead in a circle.
        """
        try:
            return path.resolve().is_relative_to(self.root)
        except RuntimeError as circle:
            raise OSError(str(circle)) from circle

    def _temporary(self, path: Path, content: bytes) -> Path:
        """Write `content` to a hidden file beside `path`, synced to disk."""
        temporary = path.parent / f".tmp-{uuid.uuid4().hex}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            _discard(temporary)
            raise _unwritable(path, error) from error
        return temporary

    def _check_there(self) -> None:
        if not self.root.is_dir():
            raise DataError(f"there is no folder {self.root}; create or mount it, or correct 'root' in flywheel.yaml")

    def _walk(self, folder: Path, above: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """Yield the files below `folder` whose keys begin with `prefix` and come after `after`, in key order."""
        for name, entry in _entries(folder):
            key = above + name
            if is_hidden(key) or not (key.startswith(prefix) or prefix.startswith(key)):
                continue
            if name.endswith("/"):
                if key > after or after.startswith(key):
                    yield from self._walk(Path(entry.path), key, prefix, after)
            elif key > after and key.startswith(prefix) and (info := self._info(key, entry)):
                yield info

    def _info(self, key: str, entry: os.DirEntry[str]) -> ObjectInfo | None:
        """Describe one directory entry; None for what is no file, leads in a circle or vanished meanwhile."""
        try:
            if entry.is_symlink() and not self._stays(Path(entry.path)):
                return _described(key, entry.stat(follow_symlinks=False))  # the link itself, so that it is reported
            found = entry.stat()
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return _described(key, found)


def _described(key: str, found: os.stat_result) -> ObjectInfo:
    modified = EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000)
    return ObjectInfo(key, f"{found.st_size}-{found.st_mtime_ns}", found.st_size, modified)


def _entries(folder: Path) -> list[tuple[str, os.DirEntry[str]]]:
    """Return a folder's entries by name, sorted; nothing where the folder vanished while its parent was read.

    Of names that read the same after their broken bytes were escaped the first one (by its bytes) stands for all.
    """
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted({_sort_name(entry): entry for entry in ordered}.items())


def _sort_name(entry: os.DirEntry[str]) -> str:
    """Name an entry so that a sorted walk meets keys in their own order: a folder ends in "/".

    Bytes that are not UTF-8 become backslash escapes, which `key_problem` names.
    """
    name = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
    return f"{name}/" if entry.is_dir(follow_symlinks=False) else name


def _discard(temporary: Path) -> None:
    """Remove a half-written file; where that fails too, it stays hidden and the first failure is the one to tell."""
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be written: {error.strerror}; check the folder's permissions and free space")


def _sync_folder(folder: Path) -> None:
    """Bring the folder's own entry to disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
