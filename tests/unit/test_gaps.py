"""Gaps: what is planted is found, what is chance or merely hard is not called a gap."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from flywheel.config import TargetConfig
from flywheel.corpus import Corpus, likely_classes, members
from flywheel.errors import ConfigError
from flywheel.gaps.cells import count_cells, totals
from flywheel.gaps.report import find_gaps
from tests.unit.corpora import corpus, wheel_config


def gaps_of(of: Corpus, **budget: object) -> pl.DataFrame:
    found = find_gaps(of, wheel_config(**budget), turn=1)
    return found.filter(pl.col("kind") != "hard")


@pytest.mark.parametrize("lacking", [0, 3, 6])
def test_a_group_without_labels_is_the_first_gap_in_data_and_model(lacking: int) -> None:
    of = corpus(lacking=lacking)
    found = gaps_of(of)
    assert {"data", "model"} <= set(found["kind"])
    inside = of.frame["cluster.1"].eq(f"k{lacking}").to_numpy()
    mask = members(of.frame, found["expression"][0])
    assert (mask & inside).sum() / mask.sum() > 0.9
    assert found["rank"].to_list() == list(range(1, found.height + 1))
    assert found["labeled"][0] == 0


def test_gaps_about_the_same_items_are_linked() -> None:
    found = gaps_of(corpus(lacking=2))
    model, data = (found.filter(kind=kind).row(0, named=True) for kind in ("model", "data"))
    assert data["gap_id"] in model["linked"]
    assert model["gap_id"] in data["linked"]


@pytest.mark.parametrize("seed", range(12))
def test_random_labels_leave_no_gap(seed: int) -> None:
    assert gaps_of(corpus(seed=seed)).is_empty()


def test_a_class_that_is_hard_though_labeled_is_no_gap() -> None:
    of = corpus()
    frame = of.frame.with_columns(
        predicted=pl.when(pl.col("label") == "dog").then(pl.lit("elk")).otherwise(pl.col("predicted"))
    )
    found = find_gaps(replace(of, frame=frame), wheel_config(), turn=1)
    assert set(found["kind"]) == {"hard"}
    first = found.row(0, named=True)
    assert first["predicate"] == "probably 'dog'"
    assert first["advice"] == "change the spec"
    assert "'dog' with 'elk'" in first["advice_text"]


def test_labels_that_annotators_dispute_are_to_be_fixed() -> None:
    of = corpus()
    frame = of.frame.with_columns(
        predicted=pl.when(pl.col("label") == "dog").then(pl.lit("elk")).otherwise(pl.col("predicted")),
        agreement=pl.when(pl.col("label") == "dog").then(0.5).otherwise(pl.col("agreement")),
    )
    found = find_gaps(replace(of, frame=frame), wheel_config(), turn=1)
    assert found["advice"][0] == "fix labels"


def test_a_named_attribute_is_the_predicate() -> None:
    of = corpus(lacking=3)  # the group whose site is north
    found = gaps_of(of)
    north = members(of.frame, found["expression"][0])
    assert "site is north" in set(found["predicate"])
    assert of.frame.filter(pl.Series(north))["attr.site"].eq("north").mean() > 0.9


def test_a_declared_target_turns_a_balanced_bucket_into_a_gap() -> None:
    of = corpus()
    target = TargetConfig(attribute="site", shares={"north": 0.6, "south": 0.4})
    config = wheel_config().model_copy(update={"target": target})
    found = find_gaps(of, config, turn=1).filter(kind="data")
    assert found["predicate"].to_list() == ["site is north"]
    assert found["expected"][0] == 0.6
    assert found["advice"][0] == "collect"  # the pool has too few of them to label


def test_what_a_target_asks_for_and_nobody_has_is_to_be_collected() -> None:
    target = TargetConfig(attribute="site", shares={"backyard": 0.3, "north": 0.1, "south": 0.6})
    found = find_gaps(corpus(), wheel_config().model_copy(update={"target": target}), turn=1).filter(kind="data")
    row = found.filter(predicate="site is backyard").row(0, named=True)
    assert (row["size"], row["labeled"], row["advice"], row["examples"]) == (0, 0, "collect", [])
    assert row["expected"] == 0.3
    assert not members(corpus().frame, row["expression"]).any()


def test_a_target_over_numbers_finds_their_values() -> None:
    of = corpus()
    floor = pl.when(pl.col("attr.site") == "north").then(2.0).otherwise(1.0).alias("attr.floor")
    target = TargetConfig(attribute="floor", shares={"1": 0.2, "2": 0.5, "3": 0.3})
    config = wheel_config().model_copy(update={"target": target})
    found = find_gaps(replace(of, frame=of.frame.with_columns(floor)), config, turn=1).filter(kind="data")
    assert set(found["predicate"]) == {"floor is 2", "floor is 3"}


def test_a_target_that_does_not_fit_the_data_says_so() -> None:
    of = corpus()
    config = wheel_config().model_copy(update={"target": TargetConfig(attribute="place", shares={"x": 1.0})})
    with pytest.raises(ConfigError, match=r"no item has it; the items have \['site'\]"):
        find_gaps(of, config, turn=1)
    ages = pl.Series("attr.place", np.arange(of.frame.height, dtype=float))
    with pytest.raises(ConfigError, match="more than 50 values"):
        find_gaps(replace(of, frame=of.frame.with_columns(ages)), config, turn=1)


def test_without_labels_there_is_no_report() -> None:
    of = corpus(labeled=0)
    assert find_gaps(of, wheel_config(), turn=0).is_empty()


def test_without_a_model_data_gaps_are_found() -> None:
    found = gaps_of(corpus(lacking=5, predicted=False))
    assert set(found["kind"]) == {"data"}
    assert found["expected_gain"][0] > 0


def test_evidence_carries_its_interval() -> None:
    row = gaps_of(corpus(lacking=1)).filter(kind="model").row(0, named=True)
    assert row["low"] <= row["value"] <= row["high"]
    assert f"{row['low']:.0%} to {row['high']:.0%}" in row["evidence"]
    assert row["cost"] > 0


def test_examples_lie_in_the_gap() -> None:
    of = corpus(lacking=4)
    row = gaps_of(of).row(0, named=True)
    inside = of.frame.filter(pl.Series(members(of.frame, row["expression"])))["item_id"].to_list()
    assert len(row["examples"]) == 8
    assert set(row["examples"]) <= set(inside)


def test_cells_of_the_tree_add_up() -> None:
    of = corpus()
    clusters = [cell for cell in count_cells(of) if cell.kind == "cluster"]
    assert len(clusters) == 8 + 6  # leaves and inner nodes, the root left out
    for cell in clusters:
        mask = members(of.frame, cell.expression)
        assert cell.counts.pool == (mask & of.trainable).sum()
        assert cell.counts.labeled == (mask & of.trainable & of.labeled).sum()
        assert cell.counts.evaluated == (mask & ~of.trainable & of.labeled).sum()
    assert totals(of).pool == of.trainable.sum()


@pytest.mark.parametrize("value", ["it's", 'a "quote"', "'; DROP TABLE x; --", "ü", ""])
def test_hostile_attribute_values_stay_values(value: str) -> None:
    of = corpus()
    frame = of.frame.with_columns(
        pl.when(pl.col("attr.site") == "north").then(pl.lit(value)).otherwise(pl.lit("south")).alias('attr.we"ird')
    )
    named = [cell for cell in count_cells(replace(of, frame=frame)) if cell.predicate == f'we"ird is {value}']
    assert members(frame, named[0].expression).sum() == of.frame["attr.site"].eq("north").sum()


def test_an_expression_that_does_not_fit_says_so() -> None:
    with pytest.raises(ConfigError, match="does not fit the corpus"):
        members(corpus().frame, '"attr.nowhere" = 1')


def test_numbers_are_cut_at_their_quartiles() -> None:
    of = corpus()
    ages = np.random.default_rng(0).normal(50, 10, of.frame.height)
    cells = [
        cell
        for cell in count_cells(replace(of, frame=of.frame.with_columns(pl.Series("attr.age", ages))))
        if cell.predicate.startswith("age from")
    ]
    assert len(cells) == 4
    assert sum(cell.counts.pool for cell in cells) == of.trainable.sum()


def test_likely_classes_follow_the_nearest_labels() -> None:
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32)
    assert likely_classes(vectors, ["cat", None, "dog", None]) == ["cat", "cat", "dog", "dog"]
    assert likely_classes(vectors, [None] * 4) == [None] * 4


def test_what_all_items_share_is_not_missing() -> None:
    of = corpus()
    everywhere = of.frame.with_columns(pl.lit("south").alias("attr.site"))
    target = TargetConfig(attribute="site", shares={"north": 0.5, "south": 0.5})
    config = wheel_config().model_copy(update={"target": target})
    found = find_gaps(replace(of, frame=everywhere), config, turn=1).filter(kind="data")
    assert found["predicate"].to_list() == ["site is north"]
