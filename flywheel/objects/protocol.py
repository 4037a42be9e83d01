"""What the flywheel asks of a place where bytes lie."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class ObjectInfo:
    """One object as a listing shows it. `version` changes whenever the bytes do."""

    key: str  # relative to the store's root, "/"-separated
    version: str  # etag on S3; size and modification time (ns) in a folder
    size: int  # bytes
    modified_at: datetime  # UTC


@dataclass(frozen=True)
class Page:
    """A portion of a listing, in the order the store lists in. A key stands in a listing once."""

    infos: tuple[ObjectInfo, ...]
    next: str | None  # continues the listing after this page, in this process or a later one; None at its end


class ObjectStore(Protocol):
    """A folder or an S3 prefix. Keys are relative, never leave the root, and hold no control characters."""

    @property
    def readers(self) -> int:
        """How many threads should read small objects at once: more than cores where each waits for a server."""
        ...

    def pages(self, token: str | None = None) -> Iterator[Page]:
        """Yield the whole listing in pages, or what follows the page whose `next` was `token`.

        What is listed is what `list` yields; no order is promised.

        Raises:
            ListingLost: the listing cannot be continued at this token; begin it anew.
        """
        ...

    def info(self, key: str) -> ObjectInfo:
        """Describe one object as it stands now.

        Raises:
            DataError: it does not exist, or the key is no good one.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object under `prefix` in the order of its key (UTF-8 bytes). Hidden files are left out."""
        ...

    def read(self, key: str, limit: int | None = None) -> bytes:
        """Return the object's bytes.

        Raises:
            DataError: it does not exist, the key leaves the root, or it is larger than `limit` bytes.
        """
        ...

    def local(self, key: str, limit: int | None = None) -> AbstractContextManager[Path]:
        """Give a file on disk with the object's bytes, to be read only; errors as in `read`."""
        ...

    def write(self, key: str, content: bytes) -> None:
        """Write the object whole or not at all, replacing what stood there."""
        ...

    def write_if_absent(self, key: str, content: bytes) -> bool:
        """Write the object unless one stands there; return whether it was written."""
        ...

    def exists(self, key: str) -> bool:
        """Return whether the object is there."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        ...

    def address(self, key: str) -> str:
        """Return where a person finds the object: an absolute path or an `s3://` address."""
        ...
