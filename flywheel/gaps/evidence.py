"""Is it a gap, or chance? Exact tests over all cells at once, and intervals for what is reported.

A **data gap** is a cell whose labels are fewer than its share of the pool (or of the declared target) explains:
one-sided hypergeometric test, family-wise error 5 % over all cells (Bonferroni: cells overlap, so this is safe).
For a class, whose pool members nobody has labeled, the evaluation set's random labels stand in for the pool.

A **model gap** is a cell where the deployed model errs more than elsewhere (binomial test, same family-wise
error) *and* that is poor in labels. A cell where the model errs although its labels are there is **hard**: more
of the same labels will not close it, and calling it a gap would send the budget to label noise and fuzzy classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, hypergeom

from flywheel.config import TargetConfig
from flywheel.gaps.cells import Cell, Counts, value_predicate

FAMILY_ERROR = 0.05
POOR_P = 0.002  # a single cell's label deficit, once the model is known to fail there
POOR_RATIO = 0.6  # labels are poor below this share of what is expected
SMALLEST = 0.005  # of the pool
LARGEST = 0.5


@dataclass(frozen=True)
class Evidence:
    """One cell, judged."""

    cell: Cell
    share: float  # of training labels inside
    expected: float  # share that pool, evaluation labels or target explain
    data_p: float
    model_p: float
    error: float  # rate inside, 0 without evaluation labels
    error_outside: float
    is_data_gap: bool
    is_model_gap: bool
    is_hard: bool

    @property
    def strength(self) -> float:
        """Joint evidence in decimal digits; picks the best of cells that overlap."""
        return float(-np.log10(max(self.data_p, 1e-30)) - np.log10(max(self.model_p, 1e-30)))

    @property
    def excess_error(self) -> float:
        """Error inside above the error outside, at least 0."""
        return max(0.0, self.error - self.error_outside)


def judge_cells(cells: Sequence[Cell], whole: Counts, target: TargetConfig | None) -> list[Evidence]:
    """Test every cell that is neither tiny nor most of the pool, and every one a target speaks of, in the given order.

    Args:
        whole: counts of the whole corpus.
        target: declared shares of one attribute; they replace the pool's share for its cells.
    """
    wanted = _target_shares(target)
    fitting = [cell for cell in cells if cell.predicate in wanted or _has_size(cell, whole)]
    return [_judge(cell, whole, wanted.get(cell.predicate), len(fitting)) for cell in fitting]


def _has_size(cell: Cell, whole: Counts) -> bool:
    smallest = max(5.0, SMALLEST * whole.pool)
    return smallest <= max(cell.counts.pool, cell.counts.evaluated) <= LARGEST * whole.pool


def _judge(cell: Cell, whole: Counts, target: float | None, tests: int) -> Evidence:
    inside = cell.counts
    expected, data_p = _label_deficit(cell, whole, target)
    share = inside.labeled / whole.labeled if whole.labeled else 0.0
    outside = whole.evaluated - inside.evaluated
    error = inside.errors / inside.evaluated if inside.evaluated else 0.0
    error_outside = (whole.errors - inside.errors) / outside if outside else 0.0
    overall = whole.errors / whole.evaluated if whole.evaluated else 0.0
    model_p = float(binom.sf(inside.errors - 1, inside.evaluated, overall)) if inside.evaluated else 1.0
    threshold = FAMILY_ERROR / tests
    poor = share < POOR_RATIO * expected
    fails = model_p < threshold and error > error_outside
    return Evidence(
        cell,
        share,
        expected,
        data_p,
        model_p,
        error,
        error_outside,
        is_data_gap=poor and data_p < threshold,
        is_model_gap=fails and poor and data_p < POOR_P,
        is_hard=fails and not (poor and data_p < POOR_P),
    )


def _label_deficit(cell: Cell, whole: Counts, target: float | None) -> tuple[float, float]:
    """Return the expected share of labels inside, and the chance of having as few of them as there are."""
    inside = cell.counts
    if not whole.labeled:
        return 0.0, 1.0
    if target is not None:
        return target, float(binom.cdf(inside.labeled, whole.labeled, target))
    if cell.kind == "class":
        if not whole.evaluated:
            return 0.0, 1.0
        both = whole.labeled + whole.evaluated
        chance = hypergeom.cdf(inside.labeled, both, inside.labeled + inside.evaluated, whole.labeled)
        return inside.evaluated / whole.evaluated, float(chance)
    return inside.pool / whole.pool, float(hypergeom.cdf(inside.labeled, whole.pool, inside.pool, whole.labeled))


def _target_shares(target: TargetConfig | None) -> dict[str, float]:
    if target is None:
        return {}
    return {value_predicate(target.attribute, value): share for value, share in target.shares.items()}
