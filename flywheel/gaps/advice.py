"""What to do about a gap, in words: label, collect, fix labels, change the spec or reweight."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import polars as pl

from flywheel.gaps.cells import Counts
from flywheel.gaps.evidence import POOR_RATIO, Evidence

DOUBTED = 0.8  # mean agreement of annotators below which the labels themselves are suspect
ONE_CONFUSION = 0.5  # share of a cell's errors between two classes that makes it a question of the spec


@dataclass(frozen=True)
class Advice:
    """One of the words above, the sentence, and how many labels or items it takes."""

    word: str
    text: str
    wanted: int


def advise(evidence: Evidence, inside: pl.DataFrame, whole: Counts) -> Advice:
    """Return what to do about a cell.

    Args:
        inside: the corpus frame's rows in the cell.
        whole: counts of the whole corpus.
    """
    if evidence.is_hard:
        return _about_hard(evidence, inside)
    wanted = max(1, ceil(evidence.expected * whole.labeled) - evidence.cell.counts.labeled)
    free = inside.filter(pl.col("split") != "eval", pl.col("label").is_null()).height
    if free >= wanted:
        return Advice("label", f"label about {wanted} of the {free} unlabeled items there", wanted)
    short = wanted - free
    return Advice("collect", f"only {free} unlabeled items are there: collect or buy about {short} more", short)


def _about_hard(evidence: Evidence, inside: pl.DataFrame) -> Advice:
    labeled = inside.filter(pl.col("label").is_not_null())
    agreement = labeled["agreement"].mean()
    if isinstance(agreement, float) and agreement < DOUBTED:
        text = f"annotators agree on only {agreement:.0%} of the answers there: have {labeled.height} labels checked"
        return Advice("fix labels", text, labeled.height)
    wrong = labeled.filter(pl.col("split") == "eval", pl.col("predicted") != pl.col("label"))
    pair, count = _commonest(_pairs(wrong))
    if wrong.height and count >= ONE_CONFUSION * wrong.height:
        text = f"{count} of {wrong.height} errors confuse {pair}: sharpen the spec or merge the two"
        return Advice("change the spec", text, 0)
    if evidence.share < POOR_RATIO * evidence.expected:
        return Advice("label", "few labels are there, though too few items to call it a gap: label a handful", 5)
    return Advice("reweight", "labels are there in proportion: give them more weight or use a better encoder", 0)


def _pairs(wrong: pl.DataFrame) -> list[str]:
    rows = wrong.select("label", "predicted").iter_rows()
    return [" with ".join(f"'{name}'" for name in sorted(pair)) for pair in rows]


def _commonest(names: Sequence[str]) -> tuple[str, int]:
    if not names:
        return "", 0
    values, counts = np.unique(np.array(names), return_counts=True)
    return str(values[counts.argmax()]), int(counts.max())
