"""Intervals for measured values; all 95 % unless a level is given."""

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 500


@dataclass(frozen=True)
class Interval:
    """A measured value with its interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, n: int, level: float = 0.95) -> Interval:
    """Return the share of `hits` in `n` with Wilson's score interval (Wilson 1927).

    Raises:
        ValueError: n is not above 0, or hits lie outside 0..n.
    """
    if n <= 0 or not 0 <= hits <= n:
        raise ValueError(f"a share needs 0 <= hits <= n and n > 0, found {hits} of {n}")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return Interval(share, max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share)))


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_], level: float = 0.95) -> Interval:
    """Return the share of hits of `first` minus that of `second` on the same rows, in -1..1, with its interval.

    Only rows on which the two disagree carry evidence, as in McNemar's test. Wald's interval for paired shares after
    adding half a row to each of the four cells (Agresti & Min 2005), so that no disagreement is not certainty.

    Args:
        first, second: (n,) whether each is right, row by row; n > 0.
    """
    n = len(first)
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    middle = (gained - lost) / (n + 2)
    spread = ((gained + lost + 1) - (gained - lost) ** 2 / (n + 2)) ** 0.5 / (n + 2)
    half = NormalDist().inv_cdf(0.5 + level / 2) * spread
    value = (gained - lost) / n
    return Interval(value, max(-1.0, min(middle - half, value)), min(1.0, max(middle + half, value)))


@lru_cache(maxsize=2)  # the arms and metrics of one slice ask for the same resamples, one after the other
def bootstrap_counts(n: int, seed: int, draws: int = DRAWS) -> Floats:
    """Return how often each of n rows stands in each resample, (draws, n) float64, read-only; every row sums to n."""
    rows = np.random.default_rng([seed, n]).integers(0, n, (draws, n))
    places = rows + n * np.arange(draws)[:, None]
    counts = np.bincount(places.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
    counts.flags.writeable = False
    return counts


def percentile_interval(value: float, resampled: Floats, level: float = 0.95) -> Interval:
    """Return a `value` that cannot be negative with the percentile interval of its resamples (Efron 1979).

    The resamples are shifted to have the value as their mean: what resampling adds to a metric on average, as it
    does to calibration errors, is no part of the uncertainty.
    """
    tail = (1 - level) / 2
    low, high = np.quantile(resampled - resampled.mean() + value, [tail, 1 - tail])
    return Interval(value, max(0.0, min(float(low), value)), max(float(high), value))
