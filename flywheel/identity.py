"""Identity is ours and never changes: ids are derived from what a thing is, never drawn at random.

All ids are 128-bit BLAKE2b digests in hex (32 characters); a UUID can be read off each of them.
"""

import hashlib
from collections.abc import Iterable

_SIZES = tuple(size.to_bytes(8, "little") for size in range(256))


def digest(*parts: str | bytes) -> str:
    """Return the 32-character hex digest of `parts`, unambiguous about where one part ends."""
    framed: list[bytes] = []
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        size = len(raw)
        framed += (_SIZES[size] if size < len(_SIZES) else size.to_bytes(8, "little"), raw)
    hasher = hashlib.blake2b(b"".join(framed[:-1]), digest_size=16)  # one call where most parts are short
    for raw in framed[-1:]:  # the last is often long, and is not copied
        hasher.update(raw)
    return hasher.hexdigest()


def item_id(source: str, key: str, part: str = "") -> str:
    """Identity of an item: where it stands. A new version of the object keeps it."""
    return digest("item", source, key, part)


def content_id(content: bytes, decoder: str) -> str:
    """Identity of what an item says: its canonical bytes and the decoder (with version) that read them."""
    return digest("content", decoder, content)


def digest_of_ids(ids: Iterable[str], *context: str) -> str:
    """Order-free digest of a set of ids: the generation of whatever is computed from exactly these."""
    return digest("set", *context, *sorted(ids))


def stable_fraction(text: str, salt: str = "") -> float:
    """Map `text` to [0, 1) uniformly; the same on every machine and in every order of arrival."""
    return int(digest("fraction", salt, text)[:13], 16) / 16**13
