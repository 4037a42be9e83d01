"""The budgeted choice of a turn, arm by arm.

- `evaluation`: random items of the evaluation split, until the evaluation set has its size. Gaps never choose here.
- `seed`: where nothing is labeled yet, the items that stand for most others.
- `chosen`: a share for each named gap, the rest by uncertainty and coverage over the whole pool.
- `random`: a control arm drawn from everything that was unlabeled when the wheel started, whether or not the
  chosen arm has labeled it since, so that it stays what a team without the wheel would have labeled.

An item may stand in two arms; it is asked about, and paid for, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.config import WheelConfig
from flywheel.corpus import Corpus, load_corpus, members
from flywheel.identity import stable_fraction
from flywheel.records import empty
from flywheel.selection.coverage import Floats, Rows, SparseKernel, coverage_of, herd, kernel_from_edges
from flywheel.tables import Tables
from flywheel.turns import read_turn

Mask = NDArray[np.bool_]

# A confident model may be confidently wrong inside a gap: there, even sure items keep this much weight.
SURE_WEIGHT = 0.5


@dataclass(frozen=True)
class Pick:
    """One chosen row of the corpus."""

    row: int
    arm: str
    strategy: str
    score: float
    reason: str
    gap_id: str = ""


def choose_batch(tables: Tables, config: WheelConfig, encoder_id: str, turn: int) -> pl.DataFrame:
    """Choose the turn's batch and write it to `batches`; the same tables give the same batch.

    Turn 0 asks for seed and evaluation labels where they are missing, and for nothing else.
    Returns the batch, best first within each arm.
    """
    corpus = load_corpus(tables, config, encoder_id, turn)
    picks = pick_evaluation(corpus, config)
    distinct = _distinct(tables, corpus, turn)
    if not (corpus.labeled & corpus.trainable).any():
        picks += pick_seed(corpus, _kernel(tables, corpus, turn), distinct, config)
    elif turn > 0:
        earlier = tables.scan("batches").filter(pl.col("turn") < turn).collect()
        picks += pick_random(corpus, earlier, config)
        gaps = tables.read("gaps", turn=turn).sort("rank")
        asked = corpus.frame["content_id"].is_in(earlier["content_id"].to_list()).to_numpy()  # answers may be late
        picks += pick_chosen(corpus, gaps, _kernel(tables, corpus, turn), distinct & ~asked, config)
    batch = _rows(corpus, picks, turn)
    tables.replace("batches", batch, turn=turn)
    return tables.read("batches", turn=turn).sort("arm", "position")


def pick_evaluation(corpus: Corpus, config: WheelConfig) -> list[Pick]:
    """Draw what the evaluation set lacks, at random from the evaluation split."""
    has_label = corpus.labeled | corpus.frame["judges"].to_numpy()
    wanted = config.budget.evaluation_labels - int((has_label & ~corpus.trainable).sum())
    rows = _shuffled(corpus, ~has_label & ~corpus.trainable, "evaluation")[: max(0, wanted)]
    reason = "drawn at random for the evaluation set"
    return [Pick(int(row), "evaluation", "random", 0.0, reason) for row in rows]


def pick_seed(corpus: Corpus, kernel: SparseKernel, distinct: Mask, config: WheelConfig) -> list[Pick]:
    """Choose first labels by coverage alone: there is no model yet that could be uncertain."""
    need = corpus.trainable.astype(np.float64)
    candidates = np.flatnonzero(corpus.trainable & distinct)
    chosen = herd(kernel, need, candidates, config.budget.seed_labels, np.zeros(len(need)))
    return [Pick(row, "seed", "coverage", value, f"stands for {_stands_for(kernel, row)}") for row, value in chosen]


def pick_random(corpus: Corpus, earlier: pl.DataFrame, config: WheelConfig) -> list[Pick]:
    """Draw the control arm: as many random items as the control share asks for."""
    wanted = round(config.budget.labels_per_turn * config.budget.control_share)
    drawn = earlier.filter(pl.col("arm") == "random")["content_id"]
    ordered = earlier.filter(pl.col("arm").is_in(["chosen", "random"]))["content_id"]
    ids = corpus.frame["content_id"]
    unlabeled_at_start = ~corpus.labeled | ids.is_in(ordered.to_list()).to_numpy()
    eligible = corpus.trainable & unlabeled_at_start & ~ids.is_in(drawn.to_list()).to_numpy()
    rows = _shuffled(corpus, eligible, "random")[:wanted]
    return [Pick(int(row), "random", "random", 0.0, "random control") for row in rows]


def pick_chosen(
    corpus: Corpus, gaps: pl.DataFrame, kernel: SparseKernel, distinct: Mask, config: WheelConfig
) -> list[Pick]:
    """Choose the turn's items: quotas for the gaps, then uncertainty and coverage over the rest."""
    budget = config.budget.labels_per_turn
    need = _need(corpus)
    free = corpus.trainable & ~corpus.labeled & distinct
    covered = coverage_of(kernel, np.flatnonzero(corpus.labeled & corpus.trainable).tolist(), len(need))
    picks: list[Pick] = []
    for gap, quota in gap_quotas(gaps, round(budget * config.budget.gap_share)):
        inside = members(corpus.frame, gap["expression"])
        weight = np.where(inside & corpus.trainable, SURE_WEIGHT + (1 - SURE_WEIGHT) * need, 0.0)
        candidates = np.flatnonzero(free & inside)
        for row, value in herd(kernel, weight, candidates, quota, covered):
            free[row] = False
            why = f"gap {gap['rank']}: {gap['predicate']}; {_doubt(corpus, row)}"
            picks.append(Pick(row, "chosen", "gap coverage", value, why, gap["gap_id"]))
    left = budget - len(picks)
    for row, value in herd(kernel, need, np.flatnonzero(free), left, covered):
        why = f"{_doubt(corpus, row)}; stands for {_stands_for(kernel, row)}"
        picks.append(Pick(row, "chosen", "uncertainty herding", value, why))
    return picks


def gap_quotas(gaps: pl.DataFrame, budget: int) -> list[tuple[dict[str, Any], int]]:
    """Split `budget` over the gaps that labels can close, by expected gain; gaps with one expression share.

    Every such gap gets at least one label while the budget lasts; the shares sum to the budget.
    """
    closable = gaps.filter(pl.col("kind").is_in(["data", "model"]), pl.col("advice") == "label")
    rows = closable.sort("rank").unique("expression", keep="first", maintain_order=True).head(budget)
    if rows.is_empty():
        return []
    gain = np.maximum(rows["expected_gain"].to_numpy(), 1e-6)
    exact = np.cumsum(gain / gain.sum() * (budget - rows.height))
    extra = np.diff(np.round(exact), prepend=0.0).astype(int)
    return list(zip(rows.to_dicts(), (1 + extra).tolist(), strict=True))


def _need(corpus: Corpus) -> Floats:
    """How much each row needs somebody labeled to stand for it: 1 - margin, 1 without a model, 0 for evaluation."""
    margin = corpus.frame["margin"].fill_null(0.0).to_numpy()
    return np.where(corpus.trainable, 1.0 - margin, 0.0)


def _kernel(tables: Tables, corpus: Corpus, turn: int) -> SparseKernel:
    pinned = read_turn(tables, turn).pinned["neighbors"]
    place = pl.DataFrame({"content_id": corpus.frame["content_id"], "row": np.arange(corpus.frame.height)})
    edges = tables.scan("neighbors", pinned).select("content_id", "ids", "similarities").collect()
    edges = edges.explode("ids", "similarities").drop_nulls()
    edges = edges.join(place, on="content_id").join(place, left_on="ids", right_on="content_id", suffix="_near")
    edges = edges.sort("row", "row_near")
    rows, near = edges["row"].to_numpy().astype(np.int64), edges["row_near"].to_numpy().astype(np.int64)
    return kernel_from_edges(rows, near, edges["similarities"].to_numpy().astype(np.float64), corpus.frame.height)


def _distinct(tables: Tables, corpus: Corpus, turn: int) -> Mask:
    """Mask of rows that are no near duplicate of a kept item."""
    rows = tables.scan("duplicates", read_turn(tables, turn).pinned["duplicates"])
    kept = rows.filter(pl.col("kept")).select("content_id").collect()["content_id"]
    dropped = rows.filter(~pl.col("kept")).select("content_id").collect()["content_id"]
    twins = dropped.filter(~dropped.is_in(kept.to_list()))
    return ~corpus.frame["content_id"].is_in(twins.to_list()).to_numpy()


def _shuffled(corpus: Corpus, mask: Mask, salt: str) -> Rows:
    """Return the rows of `mask` in a random order that depends on nothing but each content's id."""
    rows = np.flatnonzero(mask)
    ids = corpus.frame["content_id"]
    place = np.array([stable_fraction(ids[int(row)], salt) for row in rows])
    return rows[np.argsort(place, kind="stable")].astype(np.int64)


def _doubt(corpus: Corpus, row: int) -> str:
    predicted, confidence = corpus.frame["predicted"][row], corpus.frame["confidence"][row]
    if predicted is None:
        return "no model has seen it"
    return f"the model says '{predicted}' and is {confidence:.0%} sure"


def _stands_for(kernel: SparseKernel, row: int) -> str:
    count = int((kernel.of(row)[1] >= 0.5).sum()) - 1
    return "one close neighbor" if count == 1 else f"{count} close neighbors"


def _rows(corpus: Corpus, picks: Sequence[Pick], turn: int) -> pl.DataFrame:
    if not picks:
        return empty("batches")
    seen: dict[str, int] = {}
    rows: list[dict[str, object]] = []
    for pick in picks:
        position = seen.get(pick.arm, 0)
        seen[pick.arm] = position + 1
        of = corpus.frame.row(pick.row, named=True)
        rows.append(
            {
                "turn": turn,
                "item_id": of["item_id"],
                "content_id": of["content_id"],
                "position": position,
                "arm": pick.arm,
                "strategy": pick.strategy,
                "gap_id": pick.gap_id,
                "score": pick.score,
                "reason": pick.reason,
                "prelabel": of["predicted"] or "",
                "prelabel_confidence": of["confidence"] or 0.0,
            }
        )
    return pl.DataFrame(rows, schema=empty("batches").schema)
