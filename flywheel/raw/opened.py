"""One object of a source, opened for a decoder; whatever is wrong with fetching it becomes a refusal."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from flywheel.config import SourceConfig
from flywheel.objects import KeyRefused, LinkOutside, ObjectMissing, ObjectTooLarge, Source, key_problem
from flywheel.raw.patterns import matches
from flywheel.raw.reasons import BAD_KEY, EMPTY, LINK_OUTSIDE, MISSING_OBJECT, TOO_LARGE, Refused, shown


class Opened:
    """One object: its bytes, or a file on disk where it may be too large for memory.

    Args:
        source: where it lies.
        key: its key; the ending says how to read it (what it really is, its bytes say).
        size: its size by the listing, judged before anything is asked for; None where nothing is known.
    """

    def __init__(self, source: Source, key: str, size: int | None = None):
        self.key = key
        self.size = size
        self._source = source

    @property
    def config(self) -> SourceConfig:
        """How its source is configured."""
        return self._source.config

    def content(self) -> bytes:
        """Return its bytes, at most `max_bytes` of them.

        Raises:
            Refused: the key is no good one, the object is empty, too large or gone.
            StoreUnavailable: the store cannot be reached; nothing is known about the object.
        """
        limit = self.config.max_bytes
        self._check("max_bytes", limit)
        with self._explained("max_bytes", limit):
            content = self._source.objects.read(self.key, limit)
        if not content:
            raise Refused(EMPTY, f"{self.key} has no bytes; upload it again")
        return content

    @contextmanager
    def file(self) -> Generator[Path]:
        """Give its path on disk, at most `max_file_bytes` large; what lies elsewhere is fetched, and removed after.

        Raises:
            Refused, StoreUnavailable: see `content`.
        """
        limit = self.config.max_file_bytes
        self._check("max_file_bytes", limit)
        with self._explained("max_file_bytes", limit), self._source.objects.local(self.key, limit) as path:
            if path.stat().st_size == 0:
                raise Refused(EMPTY, f"{self.key} has no bytes; upload it again")
            yield path

    def modified_at(self) -> datetime:
        """Return when the object was written, UTC: nothing in it can have happened later.

        Raises:
            Refused, StoreUnavailable: see `content`.
        """
        with self._explained("max_bytes", self.config.max_bytes):
            return self._source.objects.info(self.key).modified_at

    def beside(self, name: str) -> "Opened":
        """Return the object of that name in the same folder."""
        folder = self.key.rpartition("/")[0]
        return Opened(self._source, f"{folder}/{name}" if folder else name)

    def other(self, key: str) -> "Opened":
        """Return another object of the same source."""
        return Opened(self._source, key)

    def others(self, pattern: str) -> list[str]:
        """Return the keys of the source's objects that match a pattern, sorted."""
        start = re.split(r"[*?\[{]", pattern, maxsplit=1)[0].rpartition("/")[0]
        return [
            info.key for info in self._source.objects.list(f"{start}/" if start else "") if matches(pattern, info.key)
        ]

    def _check(self, name: str, limit: int) -> None:
        if problem := key_problem(self.key):
            raise Refused(BAD_KEY, f"the key {shown(self.key)} is refused: {problem}; rename the object")
        if self.size == 0:
            raise Refused(EMPTY, f"{self.key} has no bytes; upload it again")
        if self.size is not None and self.size > limit:
            raise Refused(TOO_LARGE, f"{self.key} has {self.size:,} bytes, at most {limit:,} are read ({name})")

    @contextmanager
    def _explained(self, name: str, limit: int) -> Generator[None]:
        """Turn what a store says about one object into a refusal of that object."""
        key = self.key
        try:
            yield
        except ObjectMissing:
            raise Refused(
                MISSING_OBJECT, f"{key} was listed and is gone; if it is meant to be there, upload it"
            ) from None
        except ObjectTooLarge:
            raise Refused(TOO_LARGE, f"{key} has more than the {limit:,} bytes that are read ({name})") from None
        except LinkOutside:
            raise Refused(LINK_OUTSIDE, f"{key} is a link that leads out of the source; copy the file itself") from None
        except KeyRefused:
            raise Refused(BAD_KEY, f"the key {shown(key)} is one that the source cannot hold; rename it") from None
