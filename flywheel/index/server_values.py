"""Conditions and payloads in the words of the server's client."""

from collections.abc import Mapping, Sequence

from qdrant_client import models

from flywheel.index.points import Range, alternatives, field_of, field_path, payload_key
from flywheel.index.protocol import Condition

KINDS = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "float": models.PayloadSchemaType.FLOAT,
    "bool": models.PayloadSchemaType.BOOL,
}


def server_filter(where: Sequence[Condition], leave_out: Sequence[models.ExtendedPointId] = ()) -> models.Filter | None:
    """Put conditions into the server's words; `leave_out` are points never to return."""
    if not where and not leave_out:
        return None
    must: list[models.Condition] = [
        models.Filter(should=[_clause(field_path(condition.field), one) for one in alternatives(condition)])
        for condition in where
    ]
    must_not: list[models.Condition] = [models.HasIdCondition(has_id=list(leave_out))] if leave_out else []
    return models.Filter(must=must, must_not=must_not)


def _clause(path: str, wanted: str | bool | Range) -> models.FieldCondition:
    if isinstance(wanted, Range):
        between = models.Range(gte=wanted.at_least, lt=wanted.below, lte=wanted.at_most)
        return models.FieldCondition(key=path, range=between)
    return models.FieldCondition(key=path, match=models.MatchValue(value=wanted))


def stored(payload: Mapping[str, object]) -> dict[str, object]:
    """Return the payload as the server keeps it."""
    return {payload_key(field): value for field, value in payload.items()}


def restored(payload: Mapping[str, object] | None) -> dict[str, object]:
    """Undo `stored`."""
    return {field_of(key): value for key, value in (payload or {}).items()}
