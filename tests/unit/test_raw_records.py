"""Tables become records: rows, and subjects with what joined tables say of them before a time."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel.config import RecordsConfig, SourceConfig, parse_config
from flywheel.errors import ConfigError
from flywheel.objects import FolderStore, Source
from flywheel.raw.datum import Datum
from flywheel.raw.decoders import decode
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import Refusal
from tests.raw_world import csv, jsonl, parquet

LABS = {"match": "labs.csv", "time": "days", "name": "test", "value": "value"}
EVENTS = {"match": "events.csv", "time": "days", "name": "event"}
HEALTH: dict[str, Any] = {"subject": "id", "subjects": "people.csv", "as_of": 0, "tables": [LABS, EVENTS]}

PEOPLE = csv("id,age,sex", "7,61,f", "8,44,m", "9,70,f")
LAB_ROWS = ("id,days,test,value", "7,-400,sbp,150", "7,-100,sbp,140", "7,-100,hdl,51.5", "8,-3,sbp,120", "7,5,sbp,200")
EVENT_ROWS = ("id,days,event", "7,-900,diabetes", "7,-20,stroke", "7,-50,stroke", "9,0,stroke")
FILES = {"people.csv": PEOPLE, "labs.csv": csv(*LAB_ROWS), "events.csv": csv(*EVENT_ROWS)}

WRITTEN = 1_500_000_000  # 14 July 2017


class Tables:
    """Files in a folder, decoded as a source's objects."""

    def __init__(self, folder: Path, files: Mapping[str, bytes], **records: Any):
        config = SourceConfig.model_validate({"id": "clinic", "root": "-", "records": {**HEALTH, **records}})
        self._source = Source(config, FolderStore(folder))
        for key, content in files.items():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, (WRITTEN, WRITTEN))

    def decode(self, key: str = "people.csv") -> tuple[dict[str, Datum], list[Refusal]]:
        found = list(decode(Opened(self._source, key), contents=True))
        items = {one.part: one for one in found if isinstance(one, Datum)}
        return items, [one for one in found if isinstance(one, Refusal)]

    def values(self, key: str = "people.csv") -> dict[str, dict[str, Any]]:
        return {part: json.loads(item.data or b"") for part, item in self.decode(key)[0].items()}

    def ids(self, key: str = "people.csv") -> dict[str, str]:
        return {part: item.content_id for part, item in self.decode(key)[0].items()}

    def refused(self, key: str = "people.csv") -> set[tuple[str, str]]:
        return {(refusal.part, refusal.reason) for refusal in self.decode(key)[1]}


def test_a_subject_holds_what_its_tables_say_before_the_time(tmp_path: Path) -> None:
    tables = Tables(tmp_path, FILES)
    items, refused = tables.decode()
    assert refused == []
    assert list(items) == ["7", "8", "9"]
    assert {item.said.subject for item in items.values() if item.said} == {"7", "8", "9"}
    assert tables.values()["7"] == {
        "age": 61,
        "sex": "f",
        "sbp_last": 140,
        "sbp_mean": 145,
        "sbp_min": 140,
        "sbp_max": 150,
        "sbp_count": 2,
        "sbp_ago": 100,
        "hdl_last": 51.5,
        "hdl_mean": 51.5,
        "hdl_min": 51.5,
        "hdl_max": 51.5,
        "hdl_count": 1,
        "hdl_ago": 100,
        "diabetes": True,
        "diabetes_count": 1,
        "diabetes_ago": 900,
        "stroke": True,
        "stroke_count": 2,
        "stroke_ago": 20,
    }
    assert tables.values()["9"] == {"age": 70, "sex": "f"}  # a row of the very day does not count
    assert items["7"].said and items["7"].said.attributes["stroke_ago"] == 20


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_joined_tables_say_the_same_in_every_format(tmp_path: Path, ending: str) -> None:
    rows = [
        {"id": 7, "day": "2015-01-01", "test": "sbp", "value": 120.5},
        {"id": 7, "day": "2015-03-01", "test": "sbp", "value": 130.0},
        {"id": 8, "day": "2015-02-01", "test": "hdl", "value": 50.0},
        {"id": 8, "day": "2016-01-01", "test": "hdl", "value": 99.0},
    ]
    written = {
        "csv": csv("id,day,test,value", *(",".join(map(str, row.values())) for row in rows)),
        "jsonl": jsonl(*rows),
        "parquet": parquet([{**row, "id": float(row["id"]), "day": date.fromisoformat(row["day"])} for row in rows]),
    }[ending]
    labs = {"match": f"labs.{ending}", "time": "day", "name": "test", "value": "value"}
    tables = Tables(tmp_path, {"people.csv": PEOPLE, f"labs.{ending}": written}, as_of=date(2016, 1, 1), tables=[labs])
    values = tables.values()
    assert tables.refused() == set()
    assert values["7"] == {
        "age": 61,
        "sex": "f",
        "sbp_last": 130,
        "sbp_mean": 125.25,
        "sbp_min": 120.5,
        "sbp_max": 130,
        "sbp_count": 2,
        "sbp_ago": 306,
    }
    assert (values["8"]["hdl_count"], values["8"]["hdl_ago"]) == (1, 334)


def test_each_subject_may_have_a_time_of_its_own(tmp_path: Path) -> None:
    people = csv("id,age,seen", "7,61,2015-02-01", "8,44,2015-04-01", "9,70,soon")
    labs = csv("id,days,test,value", *(f"{i},{day},sbp,1" for i in (7, 8, 9) for day in ("2015-01-01", "2015-03-01")))
    tables = Tables(tmp_path, {"people.csv": people, "labs.csv": labs}, as_of="seen", tables=[LABS])
    values = tables.values()
    assert [values[one].get("sbp_count") for one in "789"] == [1, 2, None]
    assert all("seen" not in one for one in values.values())
    assert tables.refused() == {("9", "bad_value")}
    assert tables.decode()[0]["7"].said.attributes["seen"] == "2015-02-01"  # pyright: ignore[reportOptionalMemberAccess]


def test_without_a_time_all_rows_count(tmp_path: Path) -> None:
    visits = {"match": "visits.csv", "value": "cost"}
    files = {"people.csv": PEOPLE, "visits.csv": csv("id,cost", "7,3", "7,5", "8,1")}
    values = Tables(tmp_path, files, as_of=None, tables=[visits]).values()["7"]
    assert (values["visits_count"], values["visits_mean"], values["visits_last"]) == (2, 4, 5)
    assert "visits_ago" not in values


def test_a_change_of_one_row_changes_its_own_subject_only(tmp_path: Path) -> None:
    before = Tables(tmp_path / "a", FILES).ids()
    more = csv(*LAB_ROWS, "8,-1,sbp,125", *(f"9,-{n},new{n},1" for n in range(200)))
    after = Tables(tmp_path / "b", {**FILES, "labs.csv": more}).ids()
    assert after["7"] == before["7"]
    assert after["8"] != before["8"] and after["9"] != before["9"]
    words = csv("id,age,sex", "7,61,f", "8,unknown,m", "9,70,f")
    other = Tables(tmp_path / "c", {**FILES, "people.csv": words}).ids()
    assert (other["7"], other["9"]) == (before["7"], before["9"])


Rows = list[tuple[str, int, str, float]]
ROWS: st.SearchStrategy[Rows] = st.lists(
    st.tuples(
        st.sampled_from(["7", "8", "9"]),
        st.integers(-30, 30),
        st.sampled_from(["sbp", "hdl"]),
        st.floats(-1e6, 1e6, allow_nan=False, width=32),
    ),
    max_size=20,
)


def lab_file(rows: Sequence[tuple[str, int, str, float]]) -> bytes:
    return csv("id,days,test,value", *(f"{i},{day},{test},{value!r}" for i, day, test, value in rows))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, later=ROWS, random=st.randoms(use_true_random=False))
def test_later_rows_and_the_order_of_rows_never_matter(tmp_path: Path, rows: Rows, later: Rows, random: Any) -> None:
    past = [row for row in rows if row[1] < 0]
    mixed = [*past, *((i, abs(day), test, value) for i, day, test, value in later)]
    random.shuffle(mixed)
    files = {"people.csv": PEOPLE, "labs.csv": lab_file(past)}
    quiet = Tables(tmp_path / "past", files, tables=[LABS])
    loud = Tables(tmp_path / "all", {**files, "labs.csv": lab_file(mixed)}, tables=[LABS])
    assert loud.ids() == quiet.ids()
    for person, values in quiet.values().items():
        for test in ("sbp", "hdl"):
            own = [(day, value) for i, day, name, value in past if (i, name) == (person, test)]
            assert values.get(f"{test}_count", 0) == len(own)
            if own:
                assert values[f"{test}_last"] == pytest.approx(max(own)[1])
                assert values[f"{test}_ago"] == -max(own)[0]
                mean = sum(value for _, value in own) / len(own)
                assert values[f"{test}_mean"] == pytest.approx(mean, rel=1e-4, abs=1e-4)


BAD = {
    "no subject": (",-1,sbp,120", "missing_subject"),
    "a subject nobody knows": ("77,-1,sbp,120", "unknown_subject"),
    "a time that is a date": ("7,2015-01-01,sbp,120", "bad_value"),
    "no time": ("7,,sbp,120", "bad_value"),
    "an infinite time": ("7,inf,sbp,120", "bad_value"),
    "a value in words": ("7,-1,sbp,high", "bad_value"),
    "no value": ("7,-1,sbp,", "not_finite"),
    "NaN": ("7,-1,sbp,NaN", "not_finite"),
    "infinity": ("7,-1,sbp,-inf", "not_finite"),
    "no name": ("7,-1,,120", "bad_value"),
    "a long name": (f"7,-1,{'x' * 300},120", "field_too_large"),
    "a name that is no text": ("7,-1,s\0bp,120", "bad_encoding"),
    "an impossible age": ("7,-1,AGE,900", "impossible_value"),
    "an impossible pressure": ("7,-1,sbp,9000", "impossible_value"),
    "a field too many": ("7,-1,sbp,120,5", "malformed_row"),
    "a field too few": ("7,-1", "bad_value"),
    "a broken quote": ('7,-1,"sb"p,120', "malformed_row"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_of_a_joined_table_is_named_and_the_rest_goes_on(tmp_path: Path, case: str) -> None:
    line, reason = BAD[case]
    clean = Tables(tmp_path / "clean", FILES)
    labs = csv(*LAB_ROWS[:3], *[line] * 40, *LAB_ROWS[3:])
    broken = Tables(tmp_path / "broken", {**FILES, "labs.csv": labs}, limits={"sbp": [20, 400]})
    assert broken.ids() == clean.ids()
    [refusal] = broken.decode()[1]
    assert (refusal.part, refusal.reason) == ("labs.csv", reason)
    assert refusal.message.startswith("40 rows have") and "row 3, 4, 5, 6, 7, … of labs.csv" in refusal.message


def test_what_a_joined_table_says_of_the_future_is_refused(tmp_path: Path) -> None:
    labs = csv("id,days,test,value", "7,2015-01-01,sbp,120", "7,2019-01-01,sbp,120")
    tables = Tables(tmp_path, {"people.csv": PEOPLE, "labs.csv": labs}, as_of="2020-01-01", tables=[LABS])
    assert tables.refused() == {("labs.csv", "date_in_future")}
    assert tables.values()["7"]["sbp_count"] == 1
    planned = Tables(
        tmp_path, {"people.csv": PEOPLE, "labs.csv": labs}, as_of="2020-01-01", tables=[LABS], plans=["days"]
    )
    assert planned.values()["7"]["sbp_count"] == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing_object"),
        (b"", "empty"),
        (csv("id,days,test", "7,-1,sbp"), "malformed_row"),
        (csv("id,id,days,test,value"), "malformed_row"),
        (b"\xff\xfe\x00\x01", "bad_encoding"),
    ],
)
def test_a_joined_table_that_cannot_be_used_leaves_the_others(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    files = {key: value for key, value in {**FILES, "labs.csv": content}.items() if value is not None}
    tables = Tables(tmp_path, files)
    assert tables.refused() == {("labs.csv", reason)}
    assert tables.values()["7"]["stroke_count"] == 2 and "sbp_last" not in tables.values()["7"]


def test_damaged_parquet_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    whole = parquet([{"id": 7, "days": -1, "test": "sbp", "value": 1.0}] * 500)
    labs = {**LABS, "match": "labs.parquet"}
    tables = Tables(tmp_path, {"people.csv": PEOPLE, "labs.parquet": whole[:-20] + bytes(20)}, tables=[labs])
    assert tables.refused() == {("labs.parquet", "undecodable")}
    assert len(tables.values()) == 3


def test_a_pattern_joins_the_files_of_the_same_delivery(tmp_path: Path) -> None:
    labs = {**LABS, "match": "{when}/labs-*.csv"}
    head = LAB_ROWS[0]
    files = {
        "may/people.csv": PEOPLE,
        "may/labs-1.csv": csv(head, "7,-1,sbp,1"),
        "may/labs-2.csv": csv(head, "7,-2,sbp,5"),
        "june/labs-1.csv": csv(head, "7,-3,sbp,9"),
    }
    tables = Tables(tmp_path, files, subjects="{when}/people.csv", tables=[labs])
    values = tables.values("may/people.csv")["7"]
    assert (values["sbp_count"], values["sbp_last"], values["sbp_max"]) == (2, 1, 5)


def test_names_are_bounded_and_kept_apart(tmp_path: Path) -> None:
    rows = [f"7,-{n},test{n:03},1" for n in range(1, 30)] + ["7,-5,test020,1", "7,-5,sex,3"]
    files = {"people.csv": PEOPLE, "labs.csv": csv("id,days,test,value", *rows)}
    values = Tables(tmp_path, files, tables=[{**LABS, "value": None}], most_names=3).values()["7"]
    assert values == {
        "age": 61,
        "sex": "f",
        "labs_sex": True,
        "sex_count": 1,
        "sex_ago": 5,
        "test020": True,
        "test020_count": 2,
        "test020_ago": 5,
        "test001": True,
        "test001_count": 1,
        "test001_ago": 1,
    }


def test_subjects_without_an_id_and_repeated_ones_are_refused(tmp_path: Path) -> None:
    people = csv("id,age", "7,61", ",50", "7,62", "007,63", "1.10,64", "8")
    tables = Tables(tmp_path, {**FILES, "people.csv": people})
    assert tables.refused() == {("row-2", "missing_subject"), ("row-3", "duplicate_id"), ("row-6", "malformed_row")} | {
        ("labs.csv", "unknown_subject"),
        ("events.csv", "unknown_subject"),
    }
    assert {part: values["age"] for part, values in tables.values().items()} == {"7": 61, "007": 63, "1.10": 64}
    [labs] = [refusal for refusal in tables.decode()[1] if refusal.part == "labs.csv"]
    assert "1 row has a subject that 'people.csv' does not have (1 subject; row 4 of labs.csv)" in labs.message


IMPOSSIBLE = {
    "too old": ("age", "400", "impossible_value"),
    "not born": ("Age", "-1", "impossible_value"),
    "no weight": ("weight", "0", "impossible_value"),
    "infinite": ("dose", "inf", "not_finite"),
    "to come": ("admitted", "2031-05-01", "date_in_future"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
@pytest.mark.parametrize("subjects", ["people.csv", None])
def test_an_impossible_value_is_left_out_and_named_and_the_record_stays(
    tmp_path: Path, case: str, subjects: str | None
) -> None:
    column, value, reason = IMPOSSIBLE[case]
    people = csv(f"id,{column},sex,born", f"7,{value},f,1950-02-01", "8,,m,1960-02-01")
    tables = Tables(
        tmp_path, {"people.csv": people}, subjects=subjects, as_of=None, tables=[], limits={"weight": [1, 500]}
    )
    items, refused = tables.decode()
    [refusal] = refused
    assert (refusal.part, refusal.reason) == ("7", reason)
    assert column in refusal.message and "row 1 of people.csv" in refusal.message
    assert tables.values() == {"7": {"born": "1950-02-01", "sex": "f"}, "8": {"born": "1960-02-01", "sex": "m"}}
    assert items["7"].said and items["7"].said.subject == ("7" if subjects else None)


def test_what_is_kept_apart_is_an_attribute_and_not_encoded(tmp_path: Path) -> None:
    rows = csv("patient,visit,age,site", "p1,v1,61,north", "p1,v2,62,south")
    tables = Tables(
        tmp_path,
        {"visits.csv": rows},
        subjects=None,
        tables=[],
        as_of=None,
        id="visit",
        subject="patient",
        apart=["site"],
    )
    items, refused = tables.decode("visits.csv")
    assert refused == []
    assert tables.values("visits.csv") == {"v1": {"age": 61}, "v2": {"age": 62}}
    assert [item.said and (item.said.subject, item.said.attributes["site"]) for item in items.values()] == [
        ("p1", "north"),
        ("p1", "south"),
    ]


def test_a_row_is_read_the_same_whatever_other_rows_hold(tmp_path: Path) -> None:
    def ids(name: str, other: str) -> dict[str, str]:
        rows = csv("id,age,code,smokes", "1,61,007,none", f"2,{other}")
        return Tables(tmp_path / name, {"people.csv": rows}, subjects=None, tables=[]).ids()

    assert ids("a", "44,12,NA")["1"] == ids("b", "old,x1,yes")["1"]
    rows = csv("id,age,code,smokes", "1,61,007,none", "2,44,12,NA")
    assert Tables(tmp_path, {"people.csv": rows}, subjects=None, tables=[]).values() == {
        "1": {"age": 61, "code": "007", "smokes": "none"},
        "2": {"age": 44, "code": 12},
    }


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ({"tables": [LABS]}, "name it in 'subjects'"),
        ({"subjects": "p.csv", "as_of": 0, "tables": [{"match": "labs.csv"}]}, "needs its 'time', labs.csv has none"),
        ({"subject": "a'b"}, "subject"),
        ({"tabels": []}, "did you mean 'tables'"),
        ({"subjects": "p.csv", "tables": [{"match": "x", "tiem": "t"}]}, "did you mean 'time'"),
    ],
)
def test_a_wrong_section_is_named(tmp_path: Path, records: dict[str, Any], told: str) -> None:
    raw = {
        "sources": [{"id": "s", "root": "r", "records": records}],
        "label_spec": {"classes": ["a", "b"]},
        "vendor": {"kind": "file", "folder": "x"},
    }
    with pytest.raises(ConfigError, match=told):
        parse_config(raw, tmp_path)


def test_the_time_is_a_number_a_date_or_a_column() -> None:
    def read(as_of: Any) -> Any:
        return RecordsConfig.model_validate({"as_of": as_of}).as_of

    assert (read(3), read(date(2015, 1, 1)), read("index")) == (3.0, date(2015, 1, 1), "index")
    assert read("2015-01-01") == "2015-01-01"
