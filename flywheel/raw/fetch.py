"""Fetches and decodes one object of a source; whatever is wrong with it becomes a refusal."""

from flywheel.objects import KeyRefused, ObjectMissing, ObjectTooLarge, Source, key_problem
from flywheel.raw.decode import ENDINGS, Datum, decode
from flywheel.raw.reasons import BAD_KEY, EMPTY, MISSING_OBJECT, TOO_LARGE, UNKNOWN_TYPE, Refusal, Refused, shown


def fetch(source: Source, key: str, size: int | None = None) -> bytes:
    """Return an object's bytes; a size known from the listing is judged before they are asked for.

    Raises:
        Refused: the key is no good one, the object is empty, too large or gone.
        StoreUnavailable: the store cannot be reached; nothing is known about the object.
    """
    where, limit = source.objects, source.config.max_bytes
    if problem := key_problem(key):
        raise Refused(BAD_KEY, f"the key {shown(key)} is refused: {problem}; rename the object")
    if size == 0:
        raise Refused(EMPTY, f"{key} has no bytes; upload it again")
    if size is not None and size > limit:
        raise Refused(TOO_LARGE, f"{key} has {size:,} bytes, at most {limit:,} are read (max_bytes)")
    try:
        return where.read(key, limit)
    except ObjectMissing:
        raise Refused(MISSING_OBJECT, f"{key} was listed and is gone; if it is meant to be there, upload it") from None
    except ObjectTooLarge:
        raise Refused(TOO_LARGE, f"{key} has more than the {limit:,} bytes that are read (max_bytes)") from None
    except KeyRefused:
        raise Refused(BAD_KEY, f"the key {shown(key)} leads out of the source; move the object into it") from None


def fetch_data(source: Source, key: str, size: int | None = None, *, texts: bool = False) -> list[Datum | Refusal]:
    """Fetch and decode one object; an object whose ending is not read is not fetched. See `decode`."""
    try:
        if not key_problem(key) and not key.lower().endswith(ENDINGS):
            raise Refused(
                UNKNOWN_TYPE, f"{key} has an ending the flywheel does not read; expected {', '.join(ENDINGS)}"
            )
        content = fetch(source, key, size)
    except Refused as refused:
        return [refused.refusal]
    limits = source.config
    return decode(content, key, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels, texts=texts)
