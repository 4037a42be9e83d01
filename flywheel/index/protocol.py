"""What the flywheel asks of a vector index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flywheel.encoders.protocol import Vectors

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Space:
    """One named vector of a point: its name (an encoder's `id` or `words_id`) and length; similarity is cosine."""

    name: str
    dim: int


@dataclass(frozen=True)
class Hit:
    """One answer: the item, its cosine similarity (higher is nearer) and its payload."""

    item_id: str
    score: float
    payload: Mapping[str, object]


@dataclass(frozen=True)
class Condition:
    """One condition on a payload field; all conditions of a query must hold.

    Exactly one of `equals`, `any_of`, or the range (`at_least`, `below`; either may stand alone) is given.
    """

    field: str
    equals: Scalar | None = None
    any_of: tuple[Scalar, ...] = ()
    at_least: float | None = None
    below: float | None = None


@dataclass(frozen=True)
class Points:
    """Points to store: one per item, with a vector in some of the spaces and a payload.

    `vectors[space]` is (n, dim) float32; `item_ids` are 32 hex characters; `payloads` hold flat JSON values.
    """

    item_ids: Sequence[str]
    vectors: Mapping[str, Vectors]
    payloads: Sequence[Mapping[str, object]] = field(default_factory=tuple)


class VectorIndex(Protocol):
    """Points with named vectors, searchable by vector, examples and payload. Use as a context manager."""

    def __enter__(self) -> "VectorIndex": ...

    def __exit__(self, *exc: object) -> None: ...

    @property
    def exists(self) -> bool:
        """Whether anything was ever stored here. Asked inside the context."""
        ...

    def ensure(self, spaces: Sequence[Space], filter_fields: Mapping[str, str]) -> None:
        """Create the index, or check that it has these spaces; `filter_fields` maps a field to keyword|float|bool.

        A space that an existing index lacks is added where the engine can.

        Raises:
            IndexMismatch: an existing space has another length, or a missing one cannot be added.
        """
        ...

    def upsert(self, points: Points) -> None:
        """Store points, replacing those with the same item id; durable when it returns."""
        ...

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove points; unknown ids are no error."""
        ...

    def query(
        self,
        space: str,
        vector: Sequence[float],
        limit: int = 10,
        where: Sequence[Condition] = (),
    ) -> list[Hit]:
        """Return the nearest points in `space`, nearest first; ties in no particular order."""
        ...

    def query_by_examples(
        self,
        space: str,
        positive: Sequence[str],
        negative: Sequence[str] = (),
        limit: int = 10,
        where: Sequence[Condition] = (),
    ) -> list[Hit]:
        """Return points like the positive and unlike the negative item ids (which are themselves left out).

        Raises:
            IndexMismatch: an example is not in the index.
        """
        ...

    def count(self, where: Sequence[Condition] = ()) -> int:
        """Return exactly how many points meet the conditions."""
        ...

    def facet(self, field: str, where: Sequence[Condition] = (), limit: int = 100) -> dict[str, int]:
        """Return how many points have each value of a keyword field, most frequent first."""
        ...

    def scroll(self) -> dict[str, Mapping[str, object]]:
        """Return every point's payload by item id: what the index holds, to be compared with the tables."""
        ...

    def save(self, destination: str) -> None:
        """Save a copy of this generation under a local folder; it can be opened while this one stays open."""
        ...

    def restore(self, saved: str) -> None:
        """Replace the content by a saved generation."""
        ...
