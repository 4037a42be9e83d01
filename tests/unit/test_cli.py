"""The command line: what it prints, writes and returns."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from flywheel import __version__
from flywheel.cli.app import app
from flywheel.config import WheelConfig, load_config
from flywheel.encoders import Content, open_encoder
from flywheel.identity import digest
from flywheel.index import Points, Space, open_index
from flywheel.objects import open_tables
from flywheel.records import SCHEMAS
from flywheel.selection import approve_batch, is_approved
from flywheel.tables import Tables
from flywheel.turns import close_turn, open_turn, record_station

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ITEMS = [digest("item", str(number)) for number in range(4)]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A configuration whose tables are empty."""
    path = tmp_path / "flywheel.yaml"
    raw = {
        "name": "small",
        "store": {"root": "wheel"},
        "sources": [{"id": "main", "root": "data"}],
        "label_spec": {"modality": "text", "classes": ["a", "b"]},
        "vendor": {"kind": "file", "folder": "vendor", "price": 0.5},
        "budget": {"votes": 2, "money_per_turn": 50, "open_money": 60},
    }
    path.write_text(yaml.safe_dump(raw))
    return path


def tables_of(path: Path) -> Tables:
    return open_tables(load_config(path))


def rows(table: str, *values: dict[str, Any]) -> pl.DataFrame:
    """Rows of a table, with empty values where none are given."""
    blank: dict[Any, Any] = {pl.String: "", pl.Int64: 0, pl.Float64: 0.0, pl.Boolean: False}
    schema = SCHEMAS[table]
    defaults = {name: blank.get(dtype, NOW if dtype == pl.Datetime else []) for name, dtype in schema.items()}
    return pl.DataFrame([defaults | value for value in values], schema=schema)


def add_arrival(tables: Tables, arrival: str = "arrival-00001") -> None:
    own = {"arrival": arrival, "source": "main"}
    keys = [f"{arrival}/{number}.txt" for number in range(4)]
    tables.replace("objects", rows("objects", *({**own, "key": k, "state": "active"} for k in keys)), arrival=arrival)
    base = {**own, "modality": "text", "status": "active", "split": "pool", "attributes": "{}"}
    found = [
        {**base, "item_id": digest("item", arrival, key), "key": key, "content_id": digest("content", key)}
        for key in keys
    ]
    tables.replace("items", rows("items", *found), arrival=arrival)


def add_batch(tables: Tables, turn: int = 0) -> None:
    """A turn whose batch stands: three rows about two contents, since one item is in two arms."""
    open_turn(tables, turn, trigger="asked", reason="somebody asked", budget=50)
    own = {"turn": turn, "strategy": "typical"}
    batch = [
        {**own, "item_id": ITEMS[0], "content_id": "c0", "arm": "chosen", "gap_id": "g1"},
        {**own, "item_id": ITEMS[1], "content_id": "c1", "arm": "chosen"},
        {**own, "item_id": ITEMS[0], "content_id": "c0", "arm": "random"},
    ]
    tables.replace("batches", rows("batches", *batch), turn=turn)
    gap = {"turn": turn, "gap_id": "g1", "rank": 1, "kind": "data", "predicate": "sizes under ten"}
    tables.replace("gaps", rows("gaps", {**gap, "evidence": "2 of 40.", "advice_text": "Label 20."}), turn=turn)
    record_station(tables, turn, "labeling_batch", 0.1)


def add_job(tables: Tables, turn: int = 0, state: str = "submitted") -> None:
    job = {"turn": turn, "job_id": "j", "state": state, "tasks": 2, "votes": 2, "cost": 2.0}
    tables.replace("jobs", rows("jobs", job), turn=turn)
    record_station(tables, turn, "labeling_job", 0.1)


def invoke(*arguments: str, path: Path) -> Any:
    return CliRunner().invoke(app, [*arguments, "--config", str(path)])


def read_json(*arguments: str, path: Path) -> Any:
    result = invoke(*arguments, "--json", path=path)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_init_writes_what_loads(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", str(tmp_path / "new")])
    assert result.exit_code == 0, result.output
    config = load_config(tmp_path / "new" / "flywheel.yaml")
    assert config.sources[0].root == str(tmp_path / "new" / "data")


def test_init_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("mine: true\n")
    result = CliRunner().invoke(app, ["init", str(path)])
    assert (result.exit_code, path.read_text()) == (2, "mine: true\n")
    assert "is not overwritten" in result.stderr
    assert result.stdout == ""


def test_version_is_the_packages() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"flywheel {__version__}\n"


@pytest.mark.parametrize("command", ["status", "gaps", "search", "quarantine", "report", "approve", "run"])
def test_every_command_says_which_configuration_is_missing(command: str, tmp_path: Path) -> None:
    extra = {"approve": ["1"], "search": ["words"]}.get(command, [])
    result = invoke(command, *extra, path=tmp_path / "no.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no.yaml" in result.stderr
    assert "flywheel init" in result.stderr


def test_status_of_an_empty_wheel_asks_for_data(wheel: Path) -> None:
    found = read_json("status", path=wheel)
    assert (found["items"], found["turns"], found["open_turns"]) == (0, [], [])
    assert "put data where a source looks" in found["next"]


def test_status_before_the_first_turn_names_the_base_line(wheel: Path) -> None:
    add_arrival(tables_of(wheel))
    found = read_json("status", path=wheel)
    assert (found["items"], found["arrivals"], found["unseen_arrivals"]) == (4, 1, ["arrival-00001"])
    assert found["next"] == "`flywheel run` makes turn 0, the base line"


def test_status_asks_for_approval_with_its_cost(wheel: Path) -> None:
    tables = tables_of(wheel)
    add_arrival(tables)
    add_batch(tables)
    found = read_json("status", path=wheel)
    [one] = found["open_turns"]
    assert one == {"turn": 0, "waits_for": "approval", "items": 2, "cost": 2.0, "rejected": False}
    assert "`flywheel approve 0` (2 items, cost 2.00)" in found["next"]


def test_status_tells_a_rejected_batch(wheel: Path) -> None:
    tables = tables_of(wheel)
    add_batch(tables)
    approve_batch(tables, 0, author="ann", decision="rejected")
    found = read_json("status", path=wheel)
    assert found["open_turns"][0]["rejected"]
    assert "was rejected" in found["next"]


def test_status_counts_open_orders_while_answers_are_missing(wheel: Path) -> None:
    tables = tables_of(wheel)
    add_batch(tables)
    approve_batch(tables, 0, author="ann")
    assert "goes on with turn 0 (job)" in read_json("status", path=wheel)["next"]
    add_job(tables)
    found = read_json("status", path=wheel)
    assert (found["open_money"], found["open_money_limit"]) == (2.0, 60.0)
    assert found["open_turns"][0]["waits_for"] == "answers"
    assert "wait for the answers to the 2 items of turn 0" in found["next"]
    assert found["turns"][0]["labels_spent"] == 2


def test_a_vendor_that_is_slow_does_not_hide_a_batch_that_waits_for_a_person(wheel: Path) -> None:
    tables = tables_of(wheel)
    add_batch(tables, 0)
    add_job(tables, 0)
    add_batch(tables, 1)
    assert read_json("status", path=wheel)["next"].startswith("`flywheel approve 1`")


def test_status_after_a_turn_counts_what_arrived_since(wheel: Path) -> None:
    tables = tables_of(wheel)
    add_arrival(tables)
    add_batch(tables)
    add_job(tables, state="returned")
    close_turn(tables, 0, snapshot={})
    metric = {"origin": "turn-000", "turn": 0, "arm": "deployed", "slice": "all", "metric": "accuracy", "value": 0.75}
    tables.replace("evaluations", rows("evaluations", metric), origin="turn-000")
    add_arrival(tables, "arrival-00002")
    found = read_json("status", path=wheel)
    assert found["unseen_arrivals"] == ["arrival-00002"]
    assert found["next"] == "`flywheel run` makes turn 1 and takes in 1 new arrivals"
    [turn] = found["turns"]
    assert (turn["state"], turn["accuracy"], turn["spent"]) == ("closed", 0.75, 2.0)
    assert datetime.fromisoformat(turn["closed_at"]).tzinfo is not None


def test_status_for_people_says_the_same(wheel: Path) -> None:
    tables = tables_of(wheel)
    add_arrival(tables)
    add_batch(tables)
    text = invoke("status", path=wheel).stdout
    assert "small: 4 items in 1 arrivals, 0 refused" in text
    assert "turn 0 waits for: approval (2 items, cost 2.00)" in text
    assert "next: `flywheel approve 0`" in text


def test_approve_shows_what_it_costs_and_writes_who_decided(wheel: Path) -> None:
    tables = tables_of(wheel)
    add_batch(tables)
    result = invoke("approve", "0", "--author", "ann", "--note", "fine", path=wheel)
    assert result.exit_code == 0, result.output
    assert "2 distinct items × 2 votes × 0.5 = 2.00" in result.stdout
    assert "sizes under ten" in result.stdout
    assert is_approved(tables, 0)
    [decision] = tables.read("approvals", turn=0).to_dicts()
    assert (decision["author"], decision["note"], decision["decision"]) == ("ann", "fine", "approved")


def test_approve_can_reject_and_take_it_back(wheel: Path) -> None:
    tables = tables_of(wheel)
    add_batch(tables)
    assert invoke("approve", "0", "--reject", "--author", "ann", path=wheel).exit_code == 0
    assert not is_approved(tables, 0)
    assert invoke("approve", "0", "--author", "bob", path=wheel).exit_code == 0
    assert is_approved(tables, 0)


def test_approving_a_turn_without_a_batch_is_an_error(wheel: Path) -> None:
    result = invoke("approve", "3", "--author", "ann", path=wheel)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "turn 3" in result.stderr
    assert tables_of(wheel).read("approvals").is_empty()


def test_gaps_come_in_order_of_their_rank(wheel: Path) -> None:
    tables = tables_of(wheel)
    for turn in (0, 1):
        open_turn(tables, turn, trigger="asked", reason="somebody asked", budget=50)
        found = [{"turn": turn, "rank": rank, "predicate": f"slice {rank}"} for rank in (2, 1, 3)]
        tables.replace("gaps", rows("gaps", *found), turn=turn)
        record_station(tables, turn, "gap_report", 0.1)
    newest = read_json("gaps", path=wheel)
    assert (newest["turn"], [gap["rank"] for gap in newest["gaps"]]) == (1, [1, 2, 3])
    assert read_json("gaps", "0", path=wheel)["turn"] == 0
    text = invoke("gaps", path=wheel).stdout
    assert text.index("slice 1") < text.index("slice 2") < text.index("slice 3")


def test_gaps_before_any_report_are_an_error(wheel: Path) -> None:
    result = invoke("gaps", path=wheel)
    assert (result.exit_code, result.stdout) == (3, "")


def test_a_turn_without_gaps_says_so(wheel: Path) -> None:
    tables = tables_of(wheel)
    add_batch(tables, 0)
    open_turn(tables, 1, trigger="asked", reason="somebody asked", budget=50)
    record_station(tables, 1, "gap_report", 0.1)
    assert read_json("gaps", "1", path=wheel) == {"turn": 1, "gaps": []}
    assert invoke("gaps", "7", path=wheel).exit_code == 3


def test_quarantine_lists_reasons(wheel: Path) -> None:
    tables = tables_of(wheel)
    add_arrival(tables)
    bad = {"arrival": "arrival-00001", "source": "main", "key": "arrival-00001/bad[1].png", "reason": "undecodable"}
    inventory = tables.read("objects")
    shown = {"arrival": "arrival-00001", "source": "main", "key": bad["key"], "state": "active"}
    tables.replace("objects", pl.concat([inventory, rows("objects", shown)]), arrival="arrival-00001")
    tables.replace("quarantine", rows("quarantine", bad), arrival="arrival-00001")
    [found] = read_json("quarantine", path=wheel)
    assert (found["key"], found["reason"]) == (bad["key"], "undecodable")
    assert "bad[1].png" in invoke("quarantine", path=wheel).stdout


def add_texts(config: WheelConfig, texts: list[str]) -> None:
    """An index of texts, encoded for real."""
    encoder = open_encoder("text", config.encoders.text)
    contents = [Content(digest(text), "text", text.encode()) for text in texts]
    vectors = {encoder.id: encoder.encode(contents)}
    if encoder.words_id != encoder.id:
        vectors[encoder.words_id] = encoder.to_words(vectors[encoder.id])
    payloads = [
        {"modality": "text", "key": f"{i}.txt", "content_id": digest(text), "item_id": ITEMS[i], "attr.age": 40 + i}
        for i, text in enumerate(texts)
    ]
    spaces = [Space(name, matrix.shape[1]) for name, matrix in vectors.items()]
    with open_index(config) as index:
        index.ensure(spaces, {"modality": "keyword", "attr.age": "float", "item_id": "keyword"})
        index.upsert(Points(ITEMS[: len(texts)], vectors, payloads))


@pytest.mark.slow
def test_search_by_words_examples_and_conditions(wheel: Path) -> None:
    add_texts(load_config(wheel), ["The dog barks at the cat.", "Stocks fell sharply today.", "Puppies love to play."])
    by_words = read_json("search", "shares", "and", "markets", path=wheel)
    assert (by_words[0]["key"], len(by_words)) == ("1.txt", 3)
    assert by_words[0]["score"] > by_words[1]["score"]
    assert np.isfinite(by_words[0]["score"])
    like = read_json("search", "--like", ITEMS[0], "--unlike", ITEMS[1], path=wheel)
    assert [hit["item_id"] for hit in like] == [ITEMS[2]]
    where = read_json("search", "animals", "--where", "age>=41 and age<42", path=wheel)
    assert [hit["attr.age"] for hit in where] == [41]
    shown = invoke("search", "animals", "--limit", "1", path=wheel)
    assert shown.exit_code == 0
    assert "1 found" in shown.stdout


def test_search_explains_a_mistake_in_a_condition(wheel: Path) -> None:
    result = invoke("search", "dogs", "--where", "age >", path=wheel)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "age >" in result.stderr


def test_report_says_where_it_lies(wheel: Path) -> None:
    add_arrival(tables_of(wheel))
    result = invoke("report", path=wheel)
    assert result.exit_code == 0, result.output
    page = Path(result.stdout.strip())
    assert page.is_relative_to(wheel.parent / "wheel")
    assert "small" in page.read_text("utf-8")
