"""What both engines share: names of points, fields and spaces; checks of what is stored; directions from examples."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from flywheel.encoders.protocol import Vectors
from flywheel.errors import DataError, IndexMismatch
from flywheel.identity import digest
from flywheel.index.protocol import Condition, Points, Scalar, Space

BATCH = 256  # points per write: a few MB, so that neither a request nor a log entry grows large
KINDS = ("keyword", "float", "bool")

_ITEM_ID = re.compile(r"[0-9a-f]{32}")
_PLAIN_FIELD = re.compile(r"[A-Za-z0-9_]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def point_id(item_id: str) -> str:
    """Return the UUID text of an item id.

    Raises:
        DataError: it is not 32 hex characters.
    """
    if not _ITEM_ID.fullmatch(item_id):
        raise DataError(f"an item id is 32 hex characters, found '{item_id}'", (item_id,))
    return str(UUID(hex=item_id))


def item_of(point: object) -> str:
    """Return the item id of a point's id."""
    return UUID(str(point)).hex


def vector_name(space: str) -> str:
    """Return the engine's name for a space: an encoder's id may hold characters no file name should.

    Names stay readable; one that had to be changed carries a digest of the original, so that two never meet.
    """
    if not _UNSAFE.search(space) and len(space) <= 80 and space.strip("."):
        return space
    return f"{_UNSAFE.sub('_', space).lstrip('.')[:64]}-{digest(space)[:8]}"


def payload_key(field: str) -> str:
    """Return the payload's key for a field: a JSON path cannot quote a quote, so quotes are percent-encoded."""
    return field.replace("%", "%25").replace('"', "%22")


def field_of(key: str) -> str:
    """Undo `payload_key`."""
    return key.replace("%22", '"').replace("%25", "%")


def field_path(field: str) -> str:
    """Return the JSON path of a field. Payloads are flat: the dot in `attr.age` is part of the name."""
    return field if _PLAIN_FIELD.fullmatch(field) else f'"{payload_key(field)}"'


@dataclass(frozen=True)
class Range:
    """A closed-open or closed range of numbers; None is unbounded."""

    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None


def alternatives(condition: Condition) -> list[str | bool | Range]:
    """Return what a condition's field may be: exact words or booleans, or ranges of numbers.

    A number is matched by a range, so that 50 and 50.0 are the same number in every engine. The embedded engine keeps
    payloads as JSON and may read a number of 17 digits back with another last one: other than whole numbers are equal
    within 1e-15 of their size.

    Raises:
        DataError: not exactly one of `equals`, `any_of` and the range is given.
    """
    ranged = condition.at_least is not None or condition.below is not None
    if sum((condition.equals is not None, bool(condition.any_of), ranged)) != 1:
        raise DataError(
            f"a condition on '{condition.field}' needs exactly one of equals, any_of or a range, found {condition}"
        )
    if ranged:
        return [Range(condition.at_least, condition.below)]
    values = condition.any_of if condition.equals is None else (condition.equals,)
    return [_exactly(value) for value in values]


def _exactly(value: Scalar) -> str | bool | Range:
    if isinstance(value, str | bool):
        return value
    number = float(value)
    slack = 0.0 if number.is_integer() and abs(number) < 2**53 else abs(number) * 1e-15
    return Range(at_least=number - slack, at_most=number + slack)


def check_points(points: Points, spaces: Mapping[str, Space]) -> None:
    """Check that points fit an index with these spaces.

    Raises:
        DataError: lengths differ, an id is malformed or twice in one call, or a vector is not finite.
        IndexMismatch: a space is unknown or has another length.
    """
    n = len(points.item_ids)
    twice = tuple(sorted(item for item, times in Counter(points.item_ids).items() if times > 1))
    if twice:
        raise DataError(f"{len(twice)} item ids stand twice in one write, like {twice[:3]}", twice)
    if len(points.payloads) not in (0, n):
        raise DataError(f"{n} points came with {len(points.payloads)} payloads")
    for space, vectors in points.vectors.items():
        _check_block(vectors, known_space(space, spaces), points.item_ids)


def _check_block(vectors: Vectors, space: Space, item_ids: Sequence[str]) -> None:
    if vectors.ndim != 2 or len(vectors) != len(item_ids):
        raise DataError(f"{len(item_ids)} points came with vectors of shape {vectors.shape} for '{space.name}'")
    if vectors.shape[1] != space.dim:
        raise IndexMismatch(f"space '{space.name}' holds vectors of length {space.dim}, found {vectors.shape[1]}")
    strange: list[int] = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist()
    if strange:
        bad = tuple(item_ids[row] for row in strange)
        raise DataError(f"{len(bad)} vectors for '{space.name}' are not finite, like that of {bad[0]}", bad)


def known_space(name: str, spaces: Mapping[str, Space]) -> Space:
    """Return the space called `name`.

    Raises:
        IndexMismatch: there is none; the message lists those there are.
    """
    if name not in spaces:
        raise IndexMismatch(
            f"the index has no space '{name}', only {sorted(spaces)}; "
            "was it built with other encoders? Bring it up to the tables again"
        )
    return spaces[name]


def check_vector(vector: Sequence[float], space: Space) -> list[float]:
    """Return a query vector as plain floats.

    Raises:
        IndexMismatch: its length is not the space's.
        DataError: it is not finite.
    """
    values = np.asarray(vector, dtype=np.float32)
    if values.shape != (space.dim,):
        raise IndexMismatch(
            f"space '{space.name}' is searched with vectors of length {space.dim}, found {values.shape}"
        )
    if not np.isfinite(values).all():
        raise DataError(f"the query vector for '{space.name}' is not finite")
    return values.tolist()


def direction(
    found: Mapping[str, Sequence[float]], space: str, positive: Sequence[str], negative: Sequence[str]
) -> list[float]:
    """Return where to search for points like the positive and unlike the negative examples.

    `2 · mean(positive) − mean(negative)`, which is Qdrant's "average vector" recommendation (Rocchio 1971 with equal
    weights); `mean(positive)` without negatives and `−mean(negative)` without positives. Vectors are unit length.

    Raises:
        DataError: no example at all.
        IndexMismatch: an example is not in the index, or has no vector in this space.
    """
    if not positive and not negative:
        raise DataError("a search by examples needs at least one item id")
    missing = [item for item in (*positive, *negative) if item not in found]
    if missing:
        raise IndexMismatch(
            f"{len(missing)} example items have no vector in space '{space}' of the index, like {missing[0]}; "
            "check the item id, or bring the index up to the tables"
        )
    towards = np.mean([found[item] for item in positive], axis=0) if positive else 0.0
    away = np.mean([found[item] for item in negative], axis=0) if negative else towards
    return np.asarray(2 * towards - away, dtype=np.float32).tolist()


def check_spaces(wanted: Sequence[Space]) -> dict[str, Space]:
    """Return the spaces by name.

    Raises:
        IndexMismatch: one name with two lengths, or a length below 1.
    """
    spaces: dict[str, Space] = {}
    for space in wanted:
        if space.dim < 1 or spaces.setdefault(space.name, space) != space:
            other = spaces.get(space.name, space)
            raise IndexMismatch(f"space '{space.name}' is asked for with lengths {other.dim} and {space.dim}")
    return spaces


def check_kinds(filter_fields: Mapping[str, str]) -> None:
    """Check the kinds of filter fields.

    Raises:
        DataError: a kind is not keyword, float or bool.
    """
    for field, kind in filter_fields.items():
        if kind not in KINDS:
            raise DataError(f"filter field '{field}' has kind '{kind}', expected one of {KINDS}")
