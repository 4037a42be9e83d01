"""Turns of the wheel: reads and writes `turns`. What a turn reads is pinned when it opens.

A turn that is opened, killed and opened again is the same turn: it keeps its pinned versions.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from flywheel.errors import DataError
from flywheel.tables import Tables

# What a turn reads as it stood at the start; what it writes itself is read at its newest.
PINNED = ("items", "embeddings", "neighbors", "duplicates", "clusters", "cluster_names", "map_points")


@dataclass(frozen=True)
class Turn:
    """One row of `turns`, with its JSON columns decoded."""

    turn: int
    state: str  # open | closed
    trigger: str
    reason: str
    budget: float
    spent: float
    labels_spent: int
    arrivals: tuple[str, ...]
    pinned: dict[str, int]  # table -> version, -1 for one that did not exist
    snapshot: dict[str, Any]
    stations: dict[str, float]  # seconds
    opened_at: datetime
    closed_at: datetime | None


def turn_key(turn: int) -> str:
    """Return the partition key of a turn: 1 -> "turn-001"."""
    return f"turn-{turn:03d}"


def turn_number(key: str) -> int:
    """Return the number of a turn's partition key: "turn-001" -> 1."""
    head, _, number = key.partition("-")
    if head != "turn" or not number.isdigit():
        raise DataError(f"'{key}' is no turn; expected a key like turn-001", (key,))
    return int(number)


def latest_turn(tables: Tables) -> int | None:
    """Return the number of the newest turn, None before the first."""
    return tables.scan("turns").select(pl.col("turn").max()).collect().item()


def read_turn(tables: Tables, turn: int) -> Turn:
    """Return one turn.

    Raises:
        DataError: it was never opened.
    """
    rows = tables.read("turns", turn=turn)
    if rows.is_empty():
        raise DataError(f"turn {turn} was never opened; the newest is {latest_turn(tables)}", (turn_key(turn),))
    row: dict[str, Any] = rows.row(0, named=True)
    row |= {name: json.loads(row[name]) for name in ("pinned", "snapshot", "stations")}
    row["arrivals"] = tuple(row["arrivals"])
    return Turn(**row)


def open_turn(tables: Tables, turn: int, *, trigger: str, reason: str, budget: float) -> Turn:
    """Open a turn and pin what it reads, or return it as it was opened before.

    Args:
        turn: its number; one more than the newest, or an existing one.
        trigger: what started it, one word.
        reason: why, for people.
        budget: money it may spend.
    """
    newest = latest_turn(tables)
    if newest is not None and turn <= newest:
        return read_turn(tables, turn)
    expected = 0 if newest is None else newest + 1
    if turn != expected:
        raise DataError(f"turn {turn} cannot be opened; the next turn is {expected}", (turn_key(turn),))
    versions = tables.versions()
    arrivals = tables.scan("items", versions["items"]).select(pl.col("arrival").unique().sort()).collect()
    row = {
        "turn": turn,
        "state": "open",
        "trigger": trigger,
        "reason": reason,
        "budget": budget,
        "spent": 0.0,
        "labels_spent": 0,
        "opened_at": datetime.now(UTC),
        "closed_at": None,
        "arrivals": arrivals["arrival"].to_list(),
        "pinned": json.dumps({name: versions[name] for name in PINNED}),
        "snapshot": "{}",
        "stations": "{}",
    }
    tables.replace("turns", pl.DataFrame([row], infer_schema_length=None), turn=turn)
    return read_turn(tables, turn)


def record_station(tables: Tables, turn: int, station: str, seconds: float) -> None:
    """Note how long a station took in this turn; the sum, where it ran more than once."""
    stations = read_turn(tables, turn).stations
    stations[station] = round(stations.get(station, 0.0) + seconds, 3)
    _update(tables, turn, stations=json.dumps(stations, sort_keys=True))


def close_turn(tables: Tables, turn: int, *, snapshot: Mapping[str, object]) -> Turn:
    """Close a turn: what it spent, and the snapshot with which it can be looked at again."""
    if read_turn(tables, turn).state == "closed":
        return read_turn(tables, turn)
    jobs = tables.read("jobs", turn=turn)
    spent = jobs.filter(pl.col("state") != "intent")
    _update(
        tables,
        turn,
        state="closed",
        closed_at=datetime.now(UTC),
        spent=float(spent["cost"].sum()),
        labels_spent=int(spent["tasks"].sum()),
        snapshot=json.dumps({"tables": tables.versions(), **snapshot}, sort_keys=True),
    )
    return read_turn(tables, turn)


def repin_open_turns(tables: Tables) -> list[int]:
    """Let every open turn read the newest table versions and all that has arrived; return which turns those are.

    For when the versions they had pinned are gone.
    """
    turns: list[int] = tables.read("turns", state="open")["turn"].sort().to_list()
    versions = tables.versions()
    arrivals = tables.scan("items").select(pl.col("arrival").unique().sort()).collect()["arrival"].to_list()
    for turn in turns:
        _update(tables, turn, pinned=json.dumps({name: versions[name] for name in PINNED}), arrivals=arrivals)
    return turns


def _update(tables: Tables, turn: int, **values: object) -> None:
    row = tables.read("turns", turn=turn).row(0, named=True) | values
    schema = tables.scan("turns").collect_schema()
    tables.rewrite("turns", pl.DataFrame([row], schema=schema), turn=turn)
