"""Turns: opened once, pinned, closed with a snapshot."""

import polars as pl
import pytest

from flywheel.errors import DataError
from flywheel.records import empty
from flywheel.tables import Tables
from flywheel.turns import close_turn, latest_turn, open_turn, read_turn, record_station, turn_key, turn_number


def item(arrival: str, name: str) -> pl.DataFrame:
    row = dict.fromkeys(empty("items").columns, "") | {"item_id": name, "size": 1, "arrival": arrival}
    return pl.DataFrame([row], schema=empty("items").schema)


def opened(tables: Tables, turn: int) -> object:
    return open_turn(tables, turn, trigger="asked", reason="because", budget=5.0)


def test_a_turn_opened_twice_keeps_what_it_pinned(tables: Tables) -> None:
    tables.replace("items", item("arrival-00001", "a"), arrival="arrival-00001")
    first = opened(tables, 0)
    tables.replace("items", item("arrival-00002", "b"), arrival="arrival-00002")
    assert opened(tables, 0) == first
    turn = read_turn(tables, 0)
    assert turn.arrivals == ("arrival-00001",)
    assert tables.read("items", turn.pinned["items"])["item_id"].to_list() == ["a"]
    assert turn.pinned["clusters"] == -1
    assert tables.read("clusters", turn.pinned["clusters"]).is_empty()


def test_turns_are_numbered_without_holes(tables: Tables) -> None:
    assert latest_turn(tables) is None
    with pytest.raises(DataError, match="the next turn is 0"):
        opened(tables, 1)
    opened(tables, 0)
    opened(tables, 1)
    assert latest_turn(tables) == 1
    with pytest.raises(DataError, match="never opened"):
        read_turn(tables, 2)


def test_closing_adds_up_what_was_ordered(tables: Tables) -> None:
    opened(tables, 0)
    row = dict.fromkeys(empty("jobs").columns)
    paid = row | {"turn": 0, "job_id": "a", "state": "returned", "tasks": 3, "cost": 1.5}
    intended = row | {"turn": 0, "job_id": "b", "state": "intent", "tasks": 9, "cost": 9.0}
    tables.replace("jobs", pl.DataFrame([paid, intended], schema=empty("jobs").schema), turn=0)
    record_station(tables, 0, "model", 1.0)
    record_station(tables, 0, "model", 0.5)
    closed = close_turn(tables, 0, snapshot={"model": "m1"})
    assert (closed.state, closed.spent, closed.labels_spent) == ("closed", 1.5, 3)
    assert closed.stations == {"model": 1.5}
    assert closed.snapshot["model"] == "m1"
    assert closed.snapshot["tables"]["jobs"] == tables.version("jobs")
    assert close_turn(tables, 0, snapshot={"model": "other"}) == closed


def test_keys_and_numbers_go_both_ways() -> None:
    assert turn_key(7) == "turn-007"
    assert turn_number("turn-007") == 7
    assert turn_number(turn_key(1234)) == 1234
    with pytest.raises(DataError, match="is no turn"):
        turn_number("arrival-00001")
