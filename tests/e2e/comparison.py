"""Whether two wheels hold the same: all their tables, their index and their snapshots."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import polars as pl

from flywheel.index import open_index
from flywheel.records import SCHEMAS, VOLATILE
from flywheel.tables import Tables
from flywheel.turns import read_turn
from tests.assets.tiny_wheel import TinyWheel

VECTOR_TOLERANCE = 2e-3  # of a component: batches in bf16 may differ by that much


def assert_same_tables(
    found: Tables, expected: Tables, *, aside: Collection[str] = (), names: Collection[str] = tuple(SCHEMAS)
) -> None:
    """Assert that all tables hold the same rows, in any order, volatile columns and those in `aside` left out."""
    for name in names:
        here, there = (comparable(tables, name, aside) for tables in (found, expected))
        assert here.height == there.height, f"{name}: {here.height} rows, expected {there.height}"
        for column in here.columns:
            if name == "embeddings" and column == "vector":
                assert here[column].list.len().equals(there[column].list.len())
                components = (frame[column].explode().to_numpy() for frame in (here, there))
                np.testing.assert_allclose(*components, rtol=0, atol=VECTOR_TOLERANCE)
            elif not here[column].equals(there[column], null_equal=True):
                different = here[column].ne_missing(there[column])
                rows = [frame.filter(different).head(3).to_dicts() for frame in (here, there)]
                raise AssertionError(f"{name}.{column} differs in {different.sum()} rows: {rows[0]} and {rows[1]}")


def comparable(tables: Tables, name: str, aside: Collection[str] = ()) -> pl.DataFrame:
    """Return a table's rows without what may differ, in an order that depends on the rows alone."""
    left_out = {*VOLATILE.get(name, ()), *aside}
    columns = [column for column in SCHEMAS[name] if column not in left_out]
    plain = [column for column in columns if not isinstance(SCHEMAS[name][column], pl.List)]
    return tables.read(name).select(columns).sort(plain)


def snapshots(wheel: TinyWheel) -> list[dict[str, Any]]:
    """Return what each turn's snapshot says beside the numbers of table versions."""
    turns = sorted(wheel.tables.read("turns")["turn"].to_list())
    return [
        {name: value for name, value in read_turn(wheel.tables, turn).snapshot.items() if name != "tables"}
        for turn in turns
    ]


def index_content(wheel: TinyWheel) -> Mapping[str, Mapping[str, object]]:
    """Return every point of a wheel's index: payload by item id, with a digest of what the point was made from."""
    with open_index(wheel.config) as index:
        return {item: json.loads(json.dumps(payload)) for item, payload in index.scroll().items()}
