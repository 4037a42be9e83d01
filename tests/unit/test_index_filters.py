"""Filters as people type them."""

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.errors import ConfigError
from flywheel.index import Condition
from flywheel.index.filters import parse_filter
from flywheel.index.points import alternatives

ABOVE_50 = math.nextafter(50, math.inf)


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("age>50", [Condition("attr.age", at_least=ABOVE_50)]),
        ("age >= 50", [Condition("attr.age", at_least=50)]),
        ("age<-1.5e2", [Condition("attr.age", below=-150)]),
        ("age<=50", [Condition("attr.age", below=ABOVE_50)]),
        ("age=.5", [Condition("attr.age", equals=0.5)]),
        ("sex='F'", [Condition("attr.sex", equals="F")]),
        ('sex="F"', [Condition("attr.sex", equals="F")]),
        ("smokes = TRUE and x=false", [Condition("attr.smokes", equals=True), Condition("attr.x", equals=False)]),
        (
            "age>50 AND sex='F'and split='eval'",
            [
                Condition("attr.age", at_least=ABOVE_50),
                Condition("attr.sex", equals="F"),
                Condition("split", equals="eval"),
            ],
        ),
        ("site in ('a', 2 ,true)", [Condition("attr.site", any_of=("a", 2, True))]),
        ("name='it''s and \"so\"'", [Condition("attr.name", equals='it\'s and "so"')]),
        ('"the ""age"" of"=1', [Condition('attr.the "age" of', equals=1)]),
        ("attr.key='x' and key='y'", [Condition("attr.key", equals="x"), Condition("key", equals="y")]),
        (
            "body-part.left_2='x' and größe<3",
            [Condition("attr.body-part.left_2", equals="x"), Condition("attr.größe", below=3)],
        ),
        ("cluster_name='and'", [Condition("cluster_name", equals="and")]),
        ("x=''", [Condition("attr.x", equals="")]),
    ],
)
def test_a_filter_should_mean_what_it_says(text: str, conditions: list[Condition]) -> None:
    assert parse_filter(text) == conditions


@pytest.mark.parametrize(
    ("text", "position", "found", "expected"),
    [
        ("", 1, "the end", "the name of a field"),
        ("   ", 4, "the end", "the name of a field"),
        ("age", 4, "the end", "one of = > >= < <= in"),
        ("age > ", 7, "the end", "a number"),
        ("age > 'x'", 7, "''x''", "a number"),
        ("age > true", 7, "'true'", "a number"),
        ("sex = F", 7, "'F'", "a word in quotes"),
        ("sex != 'F'", 5, "'!='", "one of = > >= < <= in"),
        ("sex == 'F'", 6, "'='", "a word in quotes"),
        ("sex = 'F", 7, "''F'", "a name, a comparison"),
        ("sex='F' or age>1", 9, "'or'", "'and' or the end"),
        ("sex='F' and", 12, "the end", "the name of a field"),
        ("sex in 'F'", 8, "''F''", "'('"),
        ("sex in ()", 9, "')'", "a number"),
        ("sex in ('F'", 12, "the end", "',' or ')'"),
        ("and = 1", 1, "'and'", "the name of a field"),
        ("age > 1e999", 7, "'1e999'", "a number up to 1e+300"),
        ("age > 12abc", 7, "'12abc'", "a name, a comparison"),
        ("''=1", 1, "''''", "the name of a field"),
        ("a=1; drop", 4, "'; drop'", "a name, a comparison"),
        ("a='\ud800'", 4, "'\\ud800'", "a character"),
        ("a=" + "1" * 20_000, 10_001, "20002 characters", "at most 10000"),
    ],
)
def test_a_mistake_should_be_located_and_explained(text: str, position: int, found: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_filter(text)
    message = str(refused.value)
    assert f"character {position}: found {found}" in message
    assert expected in message


PIECES = [
    "age",
    "and",
    "in",
    "(",
    ")",
    ",",
    "'",
    '"',
    "''",
    "=",
    ">",
    ">=",
    "<",
    " ",
    "1",
    "-1e9",
    "1e999",
    "true",
    "%",
    ".",
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=20).map("".join)))
def test_hostile_text_should_give_conditions_or_a_config_error(text: str) -> None:
    try:
        conditions = parse_filter(text)
    except ConfigError as refused:
        assert "character" in str(refused)
    else:
        assert conditions
        assert all(alternatives(condition) for condition in conditions)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_any_name_and_any_word_should_be_expressible(name: str, value: str) -> None:
    quoted_name, quoted_value = name.replace('"', '""'), value.replace("'", "''")
    [condition] = parse_filter(f"\"attr.{quoted_name}\" = '{quoted_value}'")
    assert condition == Condition(f"attr.{name}", equals=value)


@given(st.floats(-1e300, 1e300), st.sampled_from(["=", ">", ">=", "<", "<="]), st.floats(-1e300, 1e300))
def test_bounds_should_hold_exactly_what_the_comparison_holds(limit: float, operator: str, value: float) -> None:
    [condition] = parse_filter(f"x {operator} {limit!r}")
    [between] = alternatives(condition)
    held = (
        (between.at_least is None or value >= between.at_least)
        and (between.below is None or value < between.below)
        and (between.at_most is None or value <= between.at_most)
    )
    equal = math.isclose(value, limit, rel_tol=1e-15)
    wanted = {"=": equal, ">": value > limit, ">=": value >= limit, "<": value < limit, "<=": value <= limit}
    assert held == wanted[operator]


def test_names_should_begin_with_a_letter() -> None:
    for character in string.punctuation.replace("_", "").replace('"', ""):
        with pytest.raises(ConfigError):
            parse_filter(f"{character}age=1")
