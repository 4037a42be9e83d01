"""Schema drift: every kind of change, and none where nothing changed."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flywheel.errors import DataError
from flywheel.raw.drift import compare_schemas, report_drift, stability_index
from tests.raw_world import csv, folder_world

ROWS = 400


def people(rows: int = ROWS, seed: int = 1) -> pl.DataFrame:
    """Two columns of numbers, categories, yes or no, and free text, some of it missing."""
    drawn = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "age": drawn.normal(50, 12, rows),
            "visits": drawn.integers(0, 4, rows).astype(float),
            "country": drawn.choice(["de", "fr", "pl"], rows, p=[0.5, 0.3, 0.2]),
            "smokes": drawn.random(rows) < 0.3,
            "name": [f"person {number}" for number in drawn.integers(0, 10**9, rows)],
            "weight": [None if missing else 70.0 + missing for missing in drawn.random(rows) < 0.1],
        }
    )


def kinds(before: pl.DataFrame, now: pl.DataFrame) -> set[tuple[str, str]]:
    return {(change.column, change.kind) for change in compare_schemas(before, now)}


def test_the_same_population_should_not_drift() -> None:
    assert all(kinds(people(), people(seed=seed)) == set() for seed in range(2, 40))
    assert kinds(people(5000), people(5000, seed=2)) == set()


def changed(**columns: pl.Expr) -> pl.DataFrame:
    return people(seed=2).with_columns(**columns)


def first(rows: int, value: object, column: str) -> pl.Expr:
    """The column with another value in its first rows."""
    return pl.when(pl.int_range(pl.len()) < rows).then(pl.lit(value)).otherwise(pl.col(column))


AGE, COUNTRY = pl.col("age"), pl.col("country")


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (changed(height=pl.lit(1.8)), {("height", "new column")}),
        (people(seed=2).drop("smokes"), {("smokes", "vanished column")}),
        (changed(smokes=pl.lit(None, dtype=pl.Boolean)), {("smokes", "vanished column")}),
        (changed(age=AGE.cast(pl.Int64).cast(pl.String)), {("age", "other type")}),
        (changed(age=AGE + 40), {("age", "shifted"), ("age", "new range")}),
        (changed(age=first(30, 999.0, "age")), {("age", "new range")}),
        (changed(weight=first(150, None, "weight")), {("weight", "missing values")}),
        (changed(country=COUNTRY.replace("pl", "cz")), {("country", "new values"), ("country", "vanished values")}),
        (changed(country=first(2, "cz", "country")), {("country", "new values")}),
        (changed(country=COUNTRY.replace("fr", "de")), {("country", "vanished values")}),
        (changed(country=first(200, "pl", "country")), {("country", "shifted")}),
        (changed(smokes=~pl.col("smokes")), {("smokes", "shifted")}),
    ],
)  # fmt: skip
def test_a_change_should_be_named_with_its_column(now: pl.DataFrame, found: set[tuple[str, str]]) -> None:
    assert kinds(people(), now) == found


def test_a_change_should_say_what_was_and_what_is() -> None:
    [change] = compare_schemas(people(), changed(country=COUNTRY.replace("fr", "de")))
    assert (change.before, change.now) == ("fr", "2 values") and change.evidence.endswith("of the rows before")
    [change] = compare_schemas(people(), people(seed=2).drop("smokes"))
    assert (change.before, change.now) == ("yes or no", "")
    [change] = compare_schemas(people(), changed(age=AGE.cast(pl.Int64).cast(pl.String)))
    assert (change.before, change.now) == ("numbers", "text")


def test_few_rows_should_tell_of_columns_only() -> None:
    few = changed(age=AGE + 100, country=pl.lit("cz"), more=pl.lit("x")).head(20)
    assert kinds(people(), few) == {("more", "new column")}


def test_the_stability_index_should_be_zero_for_equal_shares_and_symmetric() -> None:
    before, now = np.array([10, 20, 30]), np.array([30, 20, 10])
    assert stability_index(before, before) == (0.0, 1.0)
    assert stability_index(before, now) == pytest.approx(stability_index(now, before))
    index, chance = stability_index(np.array([500, 500]), np.array([250, 750]))
    assert index == pytest.approx(0.25 * np.log(3), abs=0.01) and chance < 1e-10


def test_an_arrival_should_be_compared_with_what_its_source_brought_before(tmp_path: Path) -> None:
    world = folder_world(tmp_path)
    for arrival, country in enumerate(("de", "de", "cz")):
        rows = [f"text number {arrival} {number},{country},{number % 7}" for number in range(40)]
        world.put(f"{arrival}.csv", csv("text,country,visits", *rows))
        world.land()
    first, second, third = (report_drift(world.tables, f"arrival-0000{number}") for number in (1, 2, 3))
    assert [part.before for report in (first, second, third) for part in report.parts] == [0, 40, 80]
    assert (first.changes, second.changes) == (0, 0)
    assert first.markdown == "*(nothing came before)*" and second.markdown == "*(as before)*"
    [part] = third.parts
    assert (part.source, part.modality, part.rows) == ("photos", "text", 40)
    assert {(change.column, change.kind) for change in part.changes} == {
        ("country", "new values"),
        ("country", "vanished values"),
    }
    assert "| photos | text | country | new values | 1 value | cz | 40 of 40 rows |" in third.markdown


def test_only_the_latest_arrivals_should_be_compared_with(tmp_path: Path) -> None:
    world = folder_world(tmp_path)
    for arrival in range(3):
        world.put(f"{arrival}.csv", csv("text", *[f"text number {arrival} {number}" for number in range(30)]))
        world.land()
    [part] = report_drift(world.tables, "arrival-00003", most=20).parts
    assert part.before == 30


def test_cells_should_stay_text_whatever_they_hold(tmp_path: Path) -> None:
    world = folder_world(tmp_path)
    for arrival, name in enumerate(("plain", "<script>|`x`")):
        world.put(f"{arrival}.csv", csv(f"text,{name}", *[f"text {arrival} {number},1" for number in range(40)]))
        world.land()
    text = report_drift(world.tables, "arrival-00002").markdown
    assert "\\<script\\>\\|\\`x\\`" in text and "<script" not in text.replace("\\<", "")


def test_what_is_no_arrival_should_be_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no arrival"):
        report_drift(folder_world(tmp_path).tables, "today")
