"""Batches: budgets hold, gaps get their share, evaluation stays random, the control arm stays blind."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.errors import DataError
from flywheel.gaps.report import find_gaps
from flywheel.records import empty
from flywheel.selection import approve_batch, batch_id, is_approved
from flywheel.selection.batch import gap_quotas, pick_chosen, pick_evaluation, pick_random, pick_seed
from flywheel.selection.coverage import SparseKernel, coverage_of, herd, kernel_from_edges
from flywheel.tables import Tables
from tests.unit.corpora import corpus, wheel_config

NOBODY = empty("batches")


def kernel_of(vectors: np.ndarray, k: int = 10) -> SparseKernel:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    near = np.argsort(-similarity, axis=1)[:, :k]
    rows = np.repeat(np.arange(len(vectors)), k)
    return kernel_from_edges(rows, near.ravel(), similarity[rows, near.ravel()].astype(float), len(vectors))


def everything(of: object) -> np.ndarray:
    return np.ones(of.frame.height, bool)  # type: ignore[attr-defined]


def test_gaps_get_their_share_and_the_budget_holds() -> None:
    of = corpus(lacking=3)
    config = wheel_config(labels_per_turn=50, gap_share=0.6)
    gaps = find_gaps(of, config, turn=1)
    picks = pick_chosen(of, gaps, kernel_of(of.vectors), everything(of), config)
    assert len(picks) == len({pick.row for pick in picks}) == 50
    inside = of.frame["cluster.1"].eq("k3").to_numpy()
    for_gaps = [pick for pick in picks if pick.gap_id]
    assert len(for_gaps) == 30
    assert np.mean([inside[pick.row] for pick in for_gaps]) > 0.9
    assert all(of.trainable[pick.row] and not of.labeled[pick.row] for pick in picks)


def test_a_budget_larger_than_the_pool_takes_the_pool() -> None:
    of = corpus(size=200, labeled=50)
    config = wheel_config(labels_per_turn=1000)
    picks = pick_chosen(of, empty("gaps"), kernel_of(of.vectors), everything(of), config)
    assert {pick.row for pick in picks} == set(np.flatnonzero(of.trainable & ~of.labeled).tolist())


def test_near_duplicates_are_not_chosen() -> None:
    of = corpus()
    distinct = np.arange(of.frame.height) % 2 == 0
    picks = pick_chosen(of, empty("gaps"), kernel_of(of.vectors), distinct, wheel_config(labels_per_turn=40))
    assert all(pick.row % 2 == 0 for pick in picks)


def test_every_choice_says_why() -> None:
    of = corpus(lacking=3)
    config = wheel_config(labels_per_turn=20)
    picks = pick_chosen(of, find_gaps(of, config, turn=1), kernel_of(of.vectors), everything(of), config)
    assert all("80% sure" in pick.reason for pick in picks)
    assert any(pick.reason.startswith("gap 1: ") for pick in picks)
    assert any("close neighbor" in pick.reason for pick in picks)


def test_the_control_arm_does_not_see_what_was_chosen() -> None:
    of = corpus(lacking=3)
    config = wheel_config(labels_per_turn=40, control_share=1.0)
    first = [pick.row for pick in pick_random(of, NOBODY, config)]
    ids = of.frame["content_id"].gather(first)
    chosen = pl.DataFrame({"content_id": of.frame["content_id"], "arm": ["chosen"] * of.frame.height})
    as_if_all_were_chosen = pick_random(of, chosen, config)
    labeled_rows = set(np.flatnonzero(of.labeled).tolist())
    assert not labeled_rows & set(first)
    assert {pick.row for pick in as_if_all_were_chosen} <= set(np.flatnonzero(of.trainable).tolist())
    drawn = pl.DataFrame({"content_id": ids, "arm": ["random"] * len(ids)})
    second = [pick.row for pick in pick_random(of, drawn, config)]
    assert not set(first) & set(second)
    assert len(first) == len(second) == 40


def test_the_control_arm_is_drawn_evenly() -> None:
    of = corpus(size=4000, labeled=100)
    rows = [pick.row for pick in pick_random(of, NOBODY, wheel_config(labels_per_turn=800, control_share=1.0))]
    groups = of.frame["cluster.1"].gather(rows).value_counts()["count"]
    assert groups.min() > 60  # 100 expected in each of eight groups
    assert groups.max() < 140


def test_evaluation_is_topped_up_from_its_own_split() -> None:
    of = corpus()
    assert pick_evaluation(of, wheel_config(evaluation_labels=10)) == []
    blind = of.frame.with_columns(label=pl.lit(None, pl.String))
    empty_corpus = type(of)(blind, of.vectors, of.cluster_names, of.cluster_centers)
    picks = pick_evaluation(empty_corpus, wheel_config(evaluation_labels=25))
    assert len(picks) == 25
    assert not any(of.trainable[pick.row] for pick in picks)


def test_first_labels_cover_every_group() -> None:
    of = corpus(labeled=0)
    picks = pick_seed(of, kernel_of(of.vectors), everything(of), wheel_config(seed_labels=24))
    assert of.frame["cluster.1"].gather([pick.row for pick in picks]).n_unique() == 8
    assert all(of.trainable[pick.row] for pick in picks)


def test_quotas_sum_to_the_budget_and_leave_no_gap_out() -> None:
    rows = pl.DataFrame(
        {
            "kind": ["data", "model", "hard", "model", "data"],
            "advice": ["label", "label", "change the spec", "label", "collect"],
            "rank": [1, 2, 3, 4, 5],
            "expression": ["a", "b", "c", "a", "e"],
            "expected_gain": [0.06, 0.0, 0.9, 0.06, 0.9],
        }
    )
    quotas = gap_quotas(rows, 20)
    assert [(gap["expression"], count) for gap, count in quotas] == [("a", 19), ("b", 1)]
    assert gap_quotas(rows, 1)[0][1] == 1
    assert gap_quotas(rows, 0) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_lazy_greedy_is_greedy(seed: int, budget: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(30, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kernel, need = kernel_of(vectors, k=5), random.random(30)

    def value(rows: list[int]) -> float:
        return float((need * coverage_of(kernel, rows, 30)).sum())

    chosen = [row for row, _ in herd(kernel, need, np.arange(30), budget, np.zeros(30))]
    greedy: list[int] = []
    for _ in range(budget):
        greedy.append(
            max((row for row in range(30) if row not in greedy), key=lambda row: (value([*greedy, row]), -row))
        )
    assert value(chosen) == pytest.approx(value(greedy))
    if budget == 2:  # submodular: greedy is within 1 - 1/e of the best pair
        best = max(value(list(pair)) for pair in itertools.combinations(range(30), 2))
        assert value(chosen) >= (1 - 1 / np.e) * best


def test_the_kernel_is_symmetric_and_knows_itself() -> None:
    kernel = kernel_of(corpus(size=100).vectors)
    dense = np.zeros((100, 100))
    for row in range(100):
        near, weight = kernel.of(row)
        dense[row, near] = weight
    assert np.allclose(dense, dense.T)
    assert np.allclose(np.diag(dense), 1)
    assert dense.min() >= 0
    assert dense.max() <= 1


def batch_rows(*items: str) -> pl.DataFrame:
    rows = [dict.fromkeys(empty("batches").columns) | {"turn": 1, "item_id": item, "arm": "chosen"} for item in items]
    return pl.DataFrame(rows, schema=empty("batches").schema)


def test_an_approval_holds_for_exactly_what_was_seen(tables: Tables) -> None:
    assert is_approved(tables, 1)  # nothing to pay for
    tables.replace("batches", batch_rows("a", "b"), turn=1)
    assert not is_approved(tables, 1)
    seen = approve_batch(tables, 1, author="kim")
    assert seen == batch_id(batch_rows("b", "a"))
    assert is_approved(tables, 1)
    tables.replace("batches", batch_rows("a", "b", "c"), turn=1)
    assert not is_approved(tables, 1)


def test_the_last_decision_counts(tables: Tables) -> None:
    tables.replace("batches", batch_rows("a"), turn=1)
    approve_batch(tables, 1, author="kim")
    approve_batch(tables, 1, author="lee", decision="rejected", note="too dear")
    assert not is_approved(tables, 1)
    approve_batch(tables, 1, author="kim")
    assert is_approved(tables, 1)


def test_decisions_about_nothing_are_refused(tables: Tables) -> None:
    with pytest.raises(DataError, match="no batch"):
        approve_batch(tables, 3, author="kim")
    with pytest.raises(DataError, match="'approved' or 'rejected'"):
        approve_batch(tables, 3, author="kim", decision="maybe")
