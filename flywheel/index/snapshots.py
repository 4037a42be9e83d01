"""Snapshots of a Qdrant server's collection as local folders: `collection.snapshot` and its checksum."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from flywheel.errors import FlywheelError, IndexMismatch

FILE = "collection.snapshot"
_CHUNK = 1 << 20
_TIMEOUT = httpx.Timeout(30.0, read=600.0, write=600.0)  # a server may take minutes to unpack what it was sent


@dataclass(frozen=True)
class ServerAddress:
    """Where a server is; the key is never shown."""

    url: str
    api_key: str | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        """What a request needs to be let in."""
        return {"api-key": self.api_key} if self.api_key else {}


def download_snapshot(
    address: ServerAddress, collection: str, name: str, checksum: str | None, destination: Path
) -> None:
    """Fetch a snapshot the server made; `destination` appears whole, an older one there is replaced.

    Raises:
        FlywheelError: the server refuses, or what arrived has not the server's SHA-256.
    """
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    url = f"{address.url.rstrip('/')}/collections/{collection}/snapshots/{name}"
    try:
        with httpx.stream("GET", url, headers=address.headers(), timeout=_TIMEOUT) as response:
            response.raise_for_status()
            found = _write(response.iter_bytes(_CHUNK), partial / FILE)
    except httpx.HTTPError as error:
        raise FlywheelError(f"the snapshot {name} could not be fetched from {address.url}: {error}") from error
    if checksum and found != checksum:
        raise FlywheelError(f"the snapshot {name} from {address.url} arrived damaged: {found}, expected {checksum}")
    (partial / "sha256").write_text(found, "utf-8")
    shutil.rmtree(destination, ignore_errors=True)
    partial.rename(destination)


def upload_snapshot(address: ServerAddress, collection: str, saved: Path) -> None:
    """Send a saved snapshot, which replaces the collection; the server checks its SHA-256 before it does.

    Raises:
        IndexMismatch: `saved` holds no complete snapshot.
        FlywheelError: the server refuses.
    """
    try:
        checksum = (saved / "sha256").read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise IndexMismatch(f"{saved} holds no complete snapshot of a server's collection") from None
    url = f"{address.url.rstrip('/')}/collections/{collection}/snapshots/upload"
    params = {"wait": "true", "priority": "snapshot", "checksum": checksum}
    try:
        with (saved / FILE).open("rb") as handle:
            files = {"snapshot": (FILE, handle, "application/octet-stream")}
            response = httpx.post(url, params=params, files=files, headers=address.headers(), timeout=_TIMEOUT)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise FlywheelError(f"the snapshot in {saved} could not be restored on {address.url}: {error}") from error


def _write(chunks: Iterator[bytes], path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("wb") as handle:
        for chunk in chunks:
            hasher.update(chunk)
            handle.write(chunk)
    return hasher.hexdigest()
