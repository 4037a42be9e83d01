"""Items' attributes as columns: what `items.attributes` holds as JSON, spread for whatever computes with it."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl


def spread_attributes(encoded: Iterable[str], wanted: Callable[[str], bool] | None = None) -> pl.DataFrame:
    """Return one column per attribute, sorted by name, and one row per JSON object, in their order.

    Numbers become Float64 and booleans Boolean; a column with anything else, or of mixed types, becomes text. A value
    that is not there is null.

    Args:
        encoded: JSON objects as `items.attributes` holds them; "" for none.
        wanted: says by its name whether a column is needed; all are when left out.
    """
    columns: dict[str, list[Any]] = {}
    count = 0
    for count, text in enumerate(encoded, 1):
        row: dict[str, Any] = json.loads(text) if text else {}
        for name, value in row.items():
            if wanted is None or wanted(name):
                values = columns.setdefault(name, [])
                values.extend([None] * (count - 1 - len(values)))
                values.append(value)
    filled = {name: values + [None] * (count - len(values)) for name, values in columns.items()}
    return pl.DataFrame([_column(name, filled[name]) for name in sorted(filled)])


def _column(name: str, values: list[Any]) -> pl.Series:
    kinds: set[type] = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return pl.Series(name, values, pl.Float64, strict=False)
    if kinds == {bool}:
        return pl.Series(name, values, pl.Boolean)
    return pl.Series(name, [None if value is None else str(value) for value in values], pl.String)
