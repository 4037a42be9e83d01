"""The gap report of a turn: gaps first, most valuable first, then what is hard."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.config import WheelConfig
from flywheel.corpus import Corpus, load_corpus, members
from flywheel.gaps.advice import advise
from flywheel.gaps.cells import Counts, count_cells, target_cells, totals
from flywheel.gaps.evidence import Evidence, judge_cells
from flywheel.identity import digest
from flywheel.intervals import Interval, wilson
from flywheel.records import empty
from flywheel.tables import Tables

Mask = NDArray[np.bool_]

MOST_HARD = 5
EXAMPLES = 8
MOSTLY = 0.5  # share of a cell that one class must have to be named with it
OVERLAP = 0.5  # of the smaller one: two cells that share more are the same finding


def report_gaps(tables: Tables, config: WheelConfig, encoder_id: str, turn: int) -> pl.DataFrame:
    """Find the gaps a turn starts from and write them to `gaps`, ranked by what closing them is worth.

    Without training labels there is nothing to compare, and the report is empty.
    """
    corpus = load_corpus(tables, config, encoder_id, turn)
    gaps = find_gaps(corpus, config, turn)
    tables.replace("gaps", gaps, turn=turn)
    return tables.read("gaps", turn=turn).sort("rank")


def find_gaps(corpus: Corpus, config: WheelConfig, turn: int) -> pl.DataFrame:
    """Return the rows of `gaps` for a corpus."""
    whole = totals(corpus)
    if not whole.labeled:
        return empty("gaps")
    cells = count_cells(corpus)
    if config.target is not None:
        cells += target_cells(corpus, config.target, cells)
    judged = judge_cells(cells, whole, config.target)
    found: list[tuple[str, Evidence, Mask]] = []
    for kind, wanted in (
        ("data", [evidence for evidence in judged if evidence.is_data_gap]),
        ("model", [evidence for evidence in judged if evidence.is_model_gap]),
    ):
        found += [(kind, evidence, mask) for evidence, mask in _distinct(wanted, corpus)]
    found.sort(key=lambda gap: (-_gain(gap[1], whole), gap[0] != "model", gap[1].cell.expression))
    hard = _distinct([evidence for evidence in judged if evidence.is_hard], corpus)
    # what overlaps with a gap is told there
    hard = [(one, mask) for one, mask in hard if not any(_overlap(mask, gap) > OVERLAP for _, _, gap in found)]
    found += [("hard", evidence, mask) for evidence, mask in hard[:MOST_HARD]]
    rows = [_row(kind, evidence, mask, corpus, config, whole, turn) for kind, evidence, mask in found]
    for rank, row in enumerate(rows, start=1):
        row["rank"] = rank
    return _link(rows, [mask for _, _, mask in found])


def _distinct(candidates: Sequence[Evidence], corpus: Corpus) -> list[tuple[Evidence, Mask]]:
    """Of cells that overlap, keep the one with the strongest evidence."""
    kept: list[tuple[Evidence, Mask]] = []
    for evidence in sorted(candidates, key=lambda e: (-e.strength, e.cell.expression)):
        mask = members(corpus.frame, evidence.cell.expression)
        if not any(_overlap(mask, other) > OVERLAP for _, other in kept):
            kept.append((evidence, mask))
    return kept


def _overlap(one: Mask, other: Mask) -> float:
    """Shared rows as a share of the smaller mask, 0..1."""
    return float((one & other).sum() / max(1, min(one.sum(), other.sum())))


def _gain(evidence: Evidence, whole: Counts) -> float:
    """Correct answers won per item of the corpus if the cell became as good as the rest, 0..1.

    Without evaluation labels inside, the cell's missing labels stand in for its unknown error.
    """
    if evidence.cell.counts.evaluated:
        return evidence.expected * evidence.excess_error
    overall = whole.errors / whole.evaluated if whole.evaluated else 0.5
    return evidence.expected * overall * (1 - evidence.share / max(evidence.expected, 1e-9))


def _row(
    kind: str, evidence: Evidence, mask: Mask, corpus: Corpus, config: WheelConfig, whole: Counts, turn: int
) -> dict[str, object]:
    inside, counts = corpus.frame.filter(pl.Series(mask)), evidence.cell.counts
    advice = advise(evidence, inside, whole)
    is_data = kind == "data"
    measured = wilson(counts.labeled, whole.labeled) if is_data else wilson(counts.errors, counts.evaluated)
    spec = config.budget
    return {
        "turn": turn,
        "gap_id": digest("gap", kind, evidence.cell.expression)[:12],
        "rank": 0,
        "kind": kind,
        "predicate": evidence.cell.predicate + _mostly(evidence, inside),
        "expression": evidence.cell.expression,
        "size": counts.pool,
        "labeled": counts.labeled,
        "value": measured.value,
        "expected": evidence.expected if is_data else evidence.error_outside,
        "low": measured.low,
        "high": measured.high,
        "p_value": evidence.data_p if is_data else evidence.model_p,
        "evidence": _in_words(is_data, evidence, measured),
        "linked": [],
        "advice": advice.word,
        "advice_text": advice.text,
        "cost": advice.wanted * spec.votes * config.vendor.price,
        "expected_gain": _gain(evidence, whole),
        "examples": _examples(corpus, mask),
    }


def _mostly(evidence: Evidence, inside: pl.DataFrame) -> str:
    """Name the class that most of a group of clusters probably is: encoders name pictures by what they know."""
    if evidence.cell.kind != "cluster":
        return ""
    likely = inside["class.likely"].drop_nulls().value_counts(sort=True)
    likely = likely.sort("count", "class.likely", descending=[True, False])
    if likely.is_empty() or likely["count"][0] < MOSTLY * inside.height:
        return ""
    return f", mostly '{likely['class.likely'][0]}'"


def _in_words(is_data: bool, evidence: Evidence, measured: Interval) -> str:
    counts, low, high = evidence.cell.counts, measured.low, measured.high
    if is_data:
        return (
            f"{counts.labeled} labels are here, {evidence.share:.1%} of all ({low:.1%} to {high:.1%}), "
            f"where {evidence.expected:.1%} was expected"
        )
    return (
        f"{counts.errors} of {counts.evaluated} judged items are wrong, {evidence.error:.0%} "
        f"({low:.0%} to {high:.0%}), against {evidence.error_outside:.0%} elsewhere; {counts.labeled} labels train it"
    )


def _examples(corpus: Corpus, mask: Mask) -> list[str]:
    """Item ids nearest to the middle of the cell: what it looks like."""
    rows = np.flatnonzero(mask)
    if not rows.size:  # a target may speak of what nobody has collected
        return []
    middle = corpus.vectors[rows].mean(axis=0)
    nearest = rows[np.argsort(-(corpus.vectors[rows] @ middle), kind="stable")[:EXAMPLES]]
    return [corpus.frame["item_id"][int(row)] for row in nearest]


def _link(rows: list[dict[str, object]], masks: Sequence[Mask]) -> pl.DataFrame:
    for i, row in enumerate(rows):
        row["linked"] = [
            rows[j]["gap_id"] for j in range(len(rows)) if j != i and _overlap(masks[i], masks[j]) > OVERLAP
        ]
    return pl.DataFrame(rows, schema=empty("gaps").schema)
