"""How far annotators agree: pairwise agreement, and Krippendorff's alpha with its interval.

Source: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), the nominal difference; the interval is
a percentile bootstrap over items.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Votes:
    """Answers of annotators to items, one element per answer, all three arrays (v,) int64 and of one order.

    Attributes:
        items: number of the item, 0..n_items - 1.
        annotators: number of the annotator, 0..n_annotators - 1; each answers an item at most once.
        values: number of the class, 0..n_classes - 1.
    """

    items: Counts
    annotators: Counts
    values: Counts
    n_items: int
    n_annotators: int
    n_classes: int

    @property
    def counts(self) -> Counts:
        """How often each item was given each class, (n_items, n_classes) int64."""
        cells = np.bincount(self.items * self.n_classes + self.values, minlength=self.n_items * self.n_classes)
        return cells.reshape(self.n_items, self.n_classes)


def pairwise_agreement(counts: Counts) -> float:
    """Return the share of pairs of answers to the same item that agree, 0..1, higher is better.

    Args:
        counts: (items, classes), how often each item was given each class.

    Returns:
        NaN where no item has two answers.
    """
    answers = counts.sum(axis=1)
    pairs = (answers * (answers - 1)).sum()
    return float((counts * (counts - 1)).sum() / pairs) if pairs else float("nan")


def krippendorff_alpha(counts: Counts) -> float:
    """Return Krippendorff's alpha for classes: 1 is perfect agreement, 0 what chance gives, below 0 worse than chance.

    Args:
        counts: (items, classes), how often each item was given each class; items with fewer than two answers are
            not counted.

    Returns:
        NaN where no item has two answers, or all answers are one class: there is nothing to disagree about.
    """
    parts = _parts(counts)
    return float(_alpha(parts.sum(axis=0, keepdims=True))[0])


def alpha_interval(counts: Counts, *, seed: int, rounds: int = 500, share: float = 0.95) -> tuple[float, float]:
    """Return the bootstrap interval of `krippendorff_alpha` that holds `share` of `rounds` resamplings of the items.

    Cost: rounds x items x classes. (NaN, NaN) where alpha is not defined.
    """
    parts = _parts(counts)
    if np.isnan(krippendorff_alpha(counts)):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    sums = np.empty((rounds, parts.shape[1]))
    for index in range(rounds):
        drawn = np.bincount(rng.integers(0, len(parts), len(parts)), minlength=len(parts))
        sums[index] = drawn @ parts
    alphas = _alpha(sums)
    low, high = np.nanquantile(alphas, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def _parts(counts: Counts) -> Floats:
    """Return what each pairable item adds to alpha's sums, (items, 1 + classes): its disagreement, and its answers by
    class."""
    answers = counts.sum(axis=1)
    kept = counts[answers > 1].astype(np.float64)
    m = answers[answers > 1].astype(np.float64)
    disagreement = (m**2 - (kept**2).sum(axis=1)) / (m - 1)
    return np.column_stack([disagreement, kept])


def _alpha(sums: Floats) -> Floats:
    """Return alpha for each row of sums over items (see `_parts`); 1 - observed / expected disagreement."""
    by_class = sums[:, 1:]
    n = by_class.sum(axis=1)
    expected = n**2 - (by_class**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - (n - 1) * sums[:, 0] / expected, np.nan)
