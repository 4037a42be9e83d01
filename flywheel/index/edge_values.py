"""Conditions and payloads in the words of the embedded engine."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import qdrant_edge as qe

from flywheel.index.points import Range, alternatives, field_of, field_path, payload_key
from flywheel.index.protocol import Condition

PointId = int | UUID | str  # as in the engine's stubs, where it exists for type checkers only
KINDS = {
    "keyword": qe.PayloadSchemaType.Keyword,
    "float": qe.PayloadSchemaType.Float,
    "bool": qe.PayloadSchemaType.Keyword,  # see `stored`
}
_BOOL = {True: "\x00true", False: "\x00false"}


def edge_filter(where: Sequence[Condition], leave_out: Sequence[PointId] = ()) -> qe.Filter | None:
    """Put conditions into the engine's words; `leave_out` are points never to return."""
    if not where and not leave_out:
        return None
    must: list[qe.ConditionType] = [
        qe.Filter(should=[_clause(field_path(condition.field), one) for one in alternatives(condition)])
        for condition in where
    ]
    must_not: list[qe.ConditionType] = [qe.HasIdCondition(set(leave_out))] if leave_out else []
    return qe.Filter(must=must, must_not=must_not)


def _clause(path: str, wanted: str | bool | Range) -> qe.FieldCondition:
    if isinstance(wanted, Range):
        between = qe.RangeFloat(gte=wanted.at_least, lt=wanted.below, lte=wanted.at_most)
        return qe.FieldCondition(path, range=between)
    return qe.FieldCondition(path, match=qe.MatchValue(str(_stored_value(wanted))))


def stored(payload: Mapping[str, object]) -> dict[str, object]:
    """Return the payload as the engine keeps it.

    `MatchValue(True)` of qdrant-edge-py 0.9 is taken for the integer 1 and finds no boolean, so booleans are kept as
    two words that begin with a NUL; text that begins with one gets another in front.
    """
    return {payload_key(field): _stored_value(value) for field, value in payload.items()}


def _stored_value(value: object) -> object:
    if isinstance(value, bool):
        return _BOOL[value]
    return "\x00" + value if isinstance(value, str) and value.startswith("\x00") else value


def restored(payload: Mapping[str, object] | None) -> dict[str, object]:
    """Undo `stored`."""
    return {field_of(key): restored_value(value) for key, value in (payload or {}).items()}


def restored_value(value: object) -> object:
    """Undo `stored` for one value."""
    if not isinstance(value, str) or not value.startswith("\x00"):
        return value
    return value == _BOOL[True] if value in _BOOL.values() else value[1:]
