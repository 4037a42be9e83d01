"""Expectation suites: how they are written, what they judge, what is told."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flywheel.config import WheelConfig, load_config
from flywheel.errors import ConfigError
from flywheel.objects import FolderStore
from flywheel.raw.attributes import spread_attributes
from flywheel.raw.expectations import Validation, load_suites, read_validations, validate_arrival, write_data_docs
from flywheel.raw.expectations.columns import draw_rows, spread_items
from flywheel.raw.expectations.measures import measure_text
from flywheel.raw.expectations.suites import Suite, built_in_suites, parse_suite
from tests.raw_world import World, csv, folder_world, image

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVIL = "<script>alert('x')</script>"
BETWEEN = "expect_column_values_to_be_between"


def suite(*expectations: dict[str, Any], **settings: Any) -> Suite:
    return parse_suite({"name": "own", "expectations": list(expectations), **settings}, "own.yaml")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Five pictures, one of them tiny; thirty people, one of 400 years and born in the future."""
    made = folder_world(tmp_path_factory.mktemp("suites"))
    for number in range(4):
        made.put(f"{number}.png", image(number, size=(40, 30)))
    made.put("tiny.png", image(9, size=(3, 2)))
    rows = [f"He is doing well today,{number},2025-01-{number + 1:02d},kind" for number in range(30)]
    made.put("people.csv", csv("text,age,seen,note", *rows, f"9999999 == 1,400,2150-01-01,{EVIL}"))
    made.land()
    return made


def judge(world: World, *suites: Suite) -> Validation:
    return validate_arrival(world.tables, world.sources, suites, "arrival-00001", now=NOW)


def found(validation: Validation) -> dict[str, tuple[bool, str]]:
    """Whether it holds and what was found, by column."""
    return {verdict.column: (verdict.passed, verdict.found) for verdict in validation.verdicts}


def test_built_in_suites_should_speak_of_every_modality_and_stop_nothing() -> None:
    suites = built_in_suites()
    assert {one.modality for one in suites} == {"image", "text", "record", "signal", "video"}
    assert all(one.built_in and statement.why for one in suites for statement in one.statements)
    assert not any(statement.blocking for one in suites for statement in one.statements)


def test_built_in_suites_should_measure_pictures_and_texts(world: World) -> None:
    verdicts = found(judge(world, *built_in_suites()))
    assert verdicts["shorter_side"] == (False, "1 of 5 do not fit (20.0 %)")
    assert verdicts["aspect_ratio"] == (True, "0 of 5 do not fit (0.0 %)")
    assert verdicts["letters_share"] == (True, "1 of 31 do not fit (3.2 %)")
    assert "rate" not in verdicts and "age" not in verdicts  # there are no signals and no records


def test_values_should_be_judged_row_by_row_and_name_what_does_not_fit(world: World) -> None:
    validation = judge(world, suite({"type": BETWEEN, "column": "age", "max_value": 130}))
    [verdict] = validation.failed(blocking=False)
    assert (verdict.found, verdict.examples, verdict.rows) == ("1 of 31 do not fit (3.2 %)", ("400.0",), 36)
    assert judge(world, suite({"type": BETWEEN, "column": "age", "max_value": 400})).failed(blocking=False) == ()
    assert judge(world, suite({"type": BETWEEN, "column": "age", "max_value": 130, "mostly": 0.9})).verdicts[0].passed


@pytest.mark.parametrize(
    ("kind", "bounds", "holds", "told"),
    [
        ("expect_column_mean_to_be_between", {"max_value": 20}, False, "26.94"),
        ("expect_column_mean_to_be_between", {"max_value": 27}, True, "26.94"),
        ("expect_column_max_to_be_between", {"max_value": 400, "strict_max": True}, False, "400"),
        ("expect_column_proportion_of_non_null_values_to_be_between", {"min_value": 0.9}, False, "0.8611"),
        ("expect_column_unique_value_count_to_be_between", {"min_value": 31, "max_value": 31}, True, "31"),
        ("expect_column_sum_to_be_between", {"min_value": 836}, False, "835"),
    ],
)
def test_aggregates_should_be_exact(kind: str, bounds: dict[str, Any], holds: bool, told: str, world: World) -> None:
    assert found(judge(world, suite({"type": kind, "column": "age", **bounds}))) == {"age": (holds, told)}


def test_how_full_a_column_is_should_be_judged_of_text_too(world: World) -> None:
    kind = "expect_column_proportion_of_non_null_values_to_be_between"
    filled = found(judge(world, suite({"type": kind, "column": "note", "min_value": 0.5}, modality="text")))
    assert filled == {"note": (True, "1")}


def test_a_suite_should_judge_only_its_modality_and_source(world: World) -> None:
    rows = {"type": "expect_table_row_count_to_be_between", "min_value": 1}
    counts = [
        judge(world, suite(rows, modality=modality, source=source)).verdicts
        for modality, source in (("image", None), ("text", "photos"), (None, None), ("video", None), (None, "other"))
    ]
    assert [[(one.found, one.scope) for one in verdicts] for verdicts in counts] == [
        [("5", "image")],
        [("31", "text of photos")],
        [("36", "all items")],
        [],
        [],
    ]


def test_a_pattern_should_stand_for_several_columns(world: World) -> None:
    asked = {"type": "expect_column_values_to_not_be_null", "column": "*e*"}
    verdicts = found(judge(world, suite(asked, modality="text")))
    assert set(verdicts) == {"age", "seen", "note", "days_ahead"}  # and not `subject_id`, `size`, `key` …
    assert all(passed for passed, _ in verdicts.values())


def test_a_column_that_is_not_there_should_fail_in_an_own_suite_only(world: World) -> None:
    [verdict] = judge(world, suite({"type": BETWEEN, "column": "weight", "min_value": 0})).verdicts
    assert not verdict.passed and "there is no column 'weight'; found item_id" in verdict.found
    [verdict] = judge(world, suite({"type": "expect_column_to_exist", "column": "weight"})).verdicts
    assert not verdict.passed
    [verdict] = judge(world, suite({"type": "expect_column_to_exist", "column": "age"})).verdicts
    assert verdict.passed


def test_text_where_numbers_are_needed_should_fail_and_say_so(world: World) -> None:
    [verdict] = judge(world, suite({"type": BETWEEN, "column": "note", "min_value": 0})).verdicts
    assert (verdict.passed, verdict.found) == (False, "'note' holds text, like ['kind']; expected numbers")


def test_dates_after_the_present_should_be_ahead(world: World) -> None:
    verdicts = found(judge(world, suite({"type": BETWEEN, "column": "days_ahead", "max_value": 1})))
    assert verdicts == {"days_ahead": (False, "1 of 31 do not fit (3.2 %)")}


def test_blocking_should_come_from_the_suite_or_the_expectation(world: World) -> None:
    wrong = {"type": BETWEEN, "column": "age", "max_value": 1}
    validation = judge(world, suite(wrong, {**wrong, "blocking": False}, blocking=True))
    assert [verdict.blocking for verdict in validation.verdicts] == [True, False]
    assert len(validation.failed(blocking=True)) == len(validation.failed(blocking=False)) == 1
    assert validation.markdown(blocking=True).count("✗") == 1
    assert "no such expectation" in Validation("arrival-00001", ()).markdown(blocking=True)


def test_values_of_the_data_should_stay_data_on_the_page_and_in_the_table(world: World, tmp_path: Path) -> None:
    files = FolderStore(tmp_path)
    odd = {"type": "expect_column_values_to_be_in_set", "column": "note", "value_set": ["kind"]}
    validation = judge(world, suite(odd, name="<b>"))
    page = Path(write_data_docs(files, validation))
    text = page.read_text("utf-8")
    assert page.relative_to(tmp_path).as_posix() == "validation/arrival-00001/index.html"
    assert "&lt;script&gt;alert" in text and "<script" not in text and "<b>" not in text
    assert "http:" not in text and "https:" not in text and "default-src 'none'" in text
    assert "<script" not in validation.markdown(blocking=False).replace("\\<", "")
    assert read_validations(files, ["arrival-00001", "arrival-00002"]) == [validation]
    stamp = page.stat().st_mtime_ns
    assert write_data_docs(files, validation) == str(page) and page.stat().st_mtime_ns == stamp


def test_a_large_arrival_should_be_judged_by_a_sample_that_holds_every_extreme() -> None:
    rows = 20_000
    ids = [f"{(number * 2654435761) % 2**32:08x}{number:024x}" for number in range(rows)]
    ages = [50.0] * rows
    ages[777] = 400.0
    names = [None if number == 5 else "a" * 40 if number == 9 else "abc" for number in range(rows)]
    frame = pl.DataFrame({"item_id": ids, "age": ages, "name": names, "kind": ["x"] * (rows - 1) + ["rare"]})
    drawn = draw_rows(frame, most=500)
    assert 500 <= drawn.height <= 510
    assert drawn["age"].max() == 400.0 and drawn["name"].null_count() == 1 and "rare" in drawn["kind"]
    assert drawn["name"].str.len_chars().max() == 40
    assert (
        draw_rows(frame.sample(fraction=1.0, shuffle=True, seed=1), most=500)
        .sort("item_id")
        .equals(drawn.sort("item_id"))
    )
    assert set(draw_rows(frame, most=500, seed=3)["item_id"]) != set(drawn["item_id"])
    assert draw_rows(frame, most=rows).height == rows


def test_attributes_should_become_columns_of_their_type() -> None:
    encoded = ['{"a": 1, "b": "x", "size": true}', "", '{"a": 2.5, "c": 3}', '{"c": "three"}']
    spread = spread_attributes(encoded)
    assert spread.schema == {"a": pl.Float64, "b": pl.String, "c": pl.String, "size": pl.Boolean}
    assert spread["a"].to_list() == [1.0, None, 2.5, None] and spread["c"].to_list() == [None, None, "3", "three"]
    assert spread_attributes(encoded, lambda name: name == "b").columns == ["b"]


def test_an_attribute_named_like_a_core_column_should_get_a_name_of_its_own(tmp_path: Path) -> None:
    world = folder_world(tmp_path)
    world.put("a.csv", csv("text,size,day", "hello,large,2020-05-05", "hello again,small,not a day"))
    world.land()
    columns = spread_items(world.tables.read("items"), now=NOW)
    assert columns.free == ("attributes.size", "day")  # half of the days are none: no dates
    assert columns.frame["size"].sort().to_list() == [5, 11]


def test_letters_should_be_told_from_signs() -> None:
    assert measure_text("żółw 12") == {"characters": 7.0, "letters_share": 4 / 6, "broken_share": 0.0}
    assert measure_text("a\N{REPLACEMENT CHARACTER}")["broken_share"] == 0.5
    assert measure_text("नमस्ते")["letters_share"] == 1.0


def config(folder: Path, **source: Any) -> WheelConfig:
    (folder / "flywheel.yaml").write_text(
        json.dumps(
            {
                "sources": [{"id": "photos", "root": "./data", **source}],
                "label_spec": {"classes": ["a", "b"]},
                "vendor": {"kind": "file", "folder": "./vendor"},
            }
        )
    )
    return load_config(folder / "flywheel.yaml")


def test_suites_should_come_from_the_folder_beside_the_configuration_and_from_its_sources(tmp_path: Path) -> None:
    folder = tmp_path / "expectations"
    folder.mkdir()
    rows = {"type": "expect_table_row_count_to_be_between", "min_value": 1}
    (folder / "b.yaml").write_text(json.dumps({"name": "b", "source": "photos", "expectations": [rows]}))
    (folder / "a.yml").write_text(json.dumps({"name": "a", "modality": "text", "expectations": [rows]}))
    (folder / "notes.txt").write_text("no suite")
    suites = load_suites(config(tmp_path, expectations=[{**rows, "blocking": True}]))
    own = suites[len(built_in_suites()) :]
    assert [(one.name, one.modality, one.source) for one in own] == [
        ("a", "text", None),
        ("b", None, "photos"),
        ("source photos", None, "photos"),
    ]
    assert [one.statements[0].blocking for one in own] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- 1", ["own.yaml: found list at the top", "expected the keys name and expectations"]),
        ("a: [", ["own.yaml is not a readable YAML file"]),
        ("{name: x, expectations: []}", ["own.yaml has mistakes", "expectations: Tuple should have at least 1 item"]),
        ("{name: x, colour: red, expectations: [{type: expect_x}]}", ["colour: unknown key; expected one of name"]),
        ("{name: x, modality: sound, expectations: [{type: expect_x}]}", ["modality", "'image'", "found 'sound'"]),
        ("{name: x, expectations: [{column: a}]}", ["expectations[0].type: Field required"]),
        ("{name: x, expectations: [{type: mean}]}", ["expectations[0].type", "found 'mean'"]),
        ("{name: x, source: else, expectations: [{type: expect_x}]}", ["source: found 'else'; expected one of photos"]),
    ],
)
def test_a_suite_that_is_written_wrong_should_be_named_with_file_and_place(
    text: str, told: list[str], tmp_path: Path
) -> None:
    (tmp_path / "expectations").mkdir()
    (tmp_path / "expectations" / "own.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_suites(config(tmp_path))
    assert all(part in str(error.value) for part in told), str(error.value)


@pytest.mark.parametrize(
    ("expectation", "told"),
    [
        ({"type": "expect_column_values_to_be_betwen", "column": "a"}, ["expectations[0].type", f"mean '{BETWEEN}'"]),
        ({"type": "expect_zzz"}, ["which is not judged here"]),
        ({"type": BETWEEN, "column": "a", "mostly": 3, "min_value": 1}, ["mostly: ensure", "(found 3)"]),
        ({"type": BETWEEN, "column": "a", "min_valu": 1}, ["min_valu: unknown argument; expected among column"]),
        ({"type": BETWEEN, "min_value": 1}, ["column: is missing"]),
        ({"type": BETWEEN, "column": "a"}, ["min_value and max_value cannot both be None (found column='a')"]),
    ],
)
def test_arguments_that_are_wrong_should_be_named_whatever_arrived(
    expectation: dict[str, Any], told: list[str], world: World
) -> None:
    with pytest.raises(ConfigError) as error:
        judge(world, suite(expectation, modality="video"))
    assert str(error.value).startswith("own.yaml: expectations[0]")
    assert all(part in str(error.value) for part in told), str(error.value)
