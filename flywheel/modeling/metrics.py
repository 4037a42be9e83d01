"""Metrics of probabilities against labels, for the rows as they are and for many resamples of them at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.intervals import Floats, Interval, bootstrap_counts, percentile_interval

BINS = 10
FLOOR = 1e-7  # a probability below this counts as this in the log loss


@dataclass(frozen=True)
class Judged:
    """A model's answers on n labeled rows.

    `truth` and `predicted` are (n,) codes from 0 in one numbering of class names, `confidence` the probability of
    the predicted class, `loss` the negative log of the true class's probability (lower is better).
    """

    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: Floats
    loss: Floats

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right, (n,)."""
        return self.truth == self.predicted

    def at(self, rows: NDArray[np.bool_]) -> "Judged":
        """Return the answers on some rows."""
        return Judged(self.truth[rows], self.predicted[rows], self.confidence[rows], self.loss[rows])

    def __len__(self) -> int:
        return len(self.truth)


def macro_f1(judged: Judged, counts: Floats) -> Floats:
    """Return the mean F1 over the classes that are true somewhere in a resample, (draws,), 0..1, higher is better.

    Args:
        counts: (draws, n) how often each row stands in each resample.
    """
    classes = int(max(judged.truth.max(), judged.predicted.max())) + 1
    truth, predicted = _one_hot(judged.truth, classes), _one_hot(judged.predicted, classes)
    hits, shown = counts @ (truth * predicted), counts @ truth
    doubled = shown + counts @ predicted
    scores = np.divide(2 * hits, doubled, out=np.zeros_like(hits), where=doubled > 0)
    return (scores * (shown > 0)).sum(axis=1) / (shown > 0).sum(axis=1)


def log_loss(judged: Judged, counts: Floats) -> Floats:
    """Return the mean negative log probability of the true class, (draws,), from 0 up, lower is better."""
    return counts @ judged.loss / counts.sum(1)


def calibration_error(judged: Judged, counts: Floats) -> Floats:
    """Return the expected calibration error over 10 equal bins of confidence, (draws,), 0..1, lower is better.

    Naeini et al. 2015. Small samples overstate it: compare only values from about the same number of rows.
    """
    bins = np.minimum((judged.confidence * BINS).astype(np.int64), BINS - 1)
    excess = (judged.confidence - judged.right)[:, None] * _one_hot(bins, BINS)
    return np.abs(counts @ excess).sum(1) / counts.sum(1)


def with_interval(metric: Callable[[Judged, Floats], Floats], judged: Judged, seed: int) -> Interval:
    """Return a metric on the rows as they are, with its bootstrap interval."""
    value = float(metric(judged, np.ones((1, len(judged))))[0])
    return percentile_interval(value, metric(judged, bootstrap_counts(len(judged), seed)))


def _one_hot(codes: NDArray[np.int64], classes: int) -> Floats:
    """(n, classes) with a 1 at each row's code; a row of zeros for code -1, a class nobody knows."""
    found = np.zeros((len(codes), classes))
    known = np.flatnonzero(codes >= 0)
    found[known, codes[known]] = 1.0
    return found
