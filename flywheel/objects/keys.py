"""What a key may look like, and the errors every store raises about one object."""

import unicodedata

from flywheel.errors import DataError, FlywheelError

MAX_KEY_BYTES = 1024  # the limit of S3


class KeyRefused(DataError):
    """A key that would leave the root, or that no store can hold safely."""


class LinkOutside(KeyRefused):
    """A key that leads out of the root by a symbolic link."""


class ObjectMissing(DataError):
    """There is no object under the key."""


class ObjectTooLarge(DataError):
    """The object is larger than the reader allows."""


class ListingLost(DataError):
    """A listing cannot be continued where it stopped; begin it anew."""


class StoreUnavailable(FlywheelError):
    """The store could not be reached or refused for a reason that may pass; trying again later may help."""

    exit_code = 4


def key_problem(key: str) -> str | None:
    """Say what is wrong with a key, or return None for a good one.

    Good keys are relative, "/"-separated, at most 1,024 UTF-8 bytes, without empty, "." or ".." segments,
    control characters, backslashes (they separate folders on some systems) or unpaired surrogates.
    """
    if not key:
        return "it is empty"
    if key.startswith("/"):
        return "it is absolute; keys are relative to the root"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in key):
        return "it holds control characters or bytes that are not UTF-8"
    if "\\" in key:
        return "it holds a backslash"
    if any(segment in ("", ".", "..") for segment in key.split("/")):
        return "it holds an empty, '.' or '..' segment"
    if len(key.encode("utf-8")) > MAX_KEY_BYTES:
        return f"it is longer than {MAX_KEY_BYTES} bytes"
    return None


def checked(key: str) -> str:
    """Return the key.

    Raises:
        KeyRefused: it is not a good one, see `key_problem`.
    """
    problem = key_problem(key)
    if problem:
        raise KeyRefused(f"the key {key!r} is refused: {problem}; rename the object or correct the key", (key,))
    return key


def is_hidden(key: str) -> bool:
    """Whether a segment of the key begins with a dot; "." and ".." are not hidden but wrong."""
    return any(segment.startswith(".") and segment not in (".", "..") for segment in key.split("/"))


def too_large(address: str, size: int, limit: int) -> ObjectTooLarge:
    """Build the error about an object of `size` bytes where `limit` are allowed."""
    return ObjectTooLarge(f"{address} has {size:,} bytes, at most {limit:,} are read (max_bytes)", (address,))
