"""What the tables refuse, and how names get into predicates."""

import polars as pl
import pytest

from flywheel.errors import DataError
from flywheel.records import PARTITION, SCHEMAS, VOLATILE, empty
from flywheel.tables import Tables


def gap(turn: int, gap_id: str) -> pl.DataFrame:
    return pl.DataFrame([{"turn": turn, "gap_id": gap_id}], schema=SCHEMAS["gaps"])


def test_rows_outside_the_partition_should_be_refused(tables: Tables) -> None:
    with pytest.raises(DataError, match="1 rows for 'gaps' lie outside turn=1") as refused:
        tables.replace("gaps", pl.concat([gap(1, "a"), gap(2, "b")]), turn=1)
    assert refused.value.count == 1
    assert tables.version("gaps") is None


def test_partition_by_another_column_should_be_refused(tables: Tables) -> None:
    with pytest.raises(DataError, match="partitioned by 'turn', not by 'gap_id'"):
        tables.replace("gaps", gap(1, "a"), gap_id="a")


def test_missing_columns_should_be_named(tables: Tables) -> None:
    with pytest.raises(DataError, match="'evidence'"):
        tables.replace("gaps", gap(1, "a").drop("evidence"), turn=1)


def test_integers_should_partition_as_well_as_texts(tables: Tables) -> None:
    for turn in (0, 1, 10, 2):
        tables.replace("gaps", gap(turn, f"of {turn}"), turn=turn)
    tables.replace("gaps", gap(1, "changed"), turn=1)
    found = tables.read("gaps").sort("turn").select("turn", "gap_id").rows()
    assert found == [(0, "of 0"), (1, "changed"), (2, "of 2"), (10, "of 10")]


@pytest.mark.parametrize("name", ["it's", "a'b''c", "x' OR 'a' = 'a", "é/ü %20", 'quo"te'])
def test_names_should_not_escape_their_quotes(tables: Tables, name: str) -> None:
    def event(origin: str, value: str) -> pl.DataFrame:
        return pl.DataFrame([{"origin": origin, "value": value}], schema=SCHEMAS["annotation_events"])

    tables.replace("annotation_events", event("other", "kept"), origin="other")
    tables.replace("annotation_events", event(name, "first"), origin=name)
    tables.replace("annotation_events", event(name, "second"), origin=name)
    found = dict(tables.read("annotation_events").select("origin", "value").iter_rows())
    assert found == {"other": "kept", name: "second"}


def test_nulls_and_lists_should_survive(tables: Tables) -> None:
    row = pl.DataFrame([{"turn": 1, "gap_id": "a", "linked": ["b", "c"], "p_value": None}], schema=SCHEMAS["gaps"])
    tables.replace("gaps", row, turn=1)
    assert tables.read("gaps").to_dicts() == row.to_dicts()
    assert tables.replace("gaps", row, turn=1) is False


def test_a_change_inside_a_list_should_be_written(tables: Tables) -> None:
    tables.replace("gaps", gap(1, "a").with_columns(linked=pl.lit(["b"])), turn=1)
    assert tables.replace("gaps", gap(1, "a").with_columns(linked=pl.lit(["c"])), turn=1) is True
    assert tables.read("gaps")["linked"].to_list() == [["c"]]


def test_the_tables_should_agree_with_one_another() -> None:
    for table, column in PARTITION.items():
        assert column in SCHEMAS[table], table
    for table, columns in VOLATILE.items():
        assert columns <= set(SCHEMAS[table]) - {PARTITION.get(table)}, table
    for table in SCHEMAS:
        assert empty(table).schema == SCHEMAS[table]
