"""The pictures in the assets' metadata, as PNG bytes. Drawn on bare figures: no window, no shared state."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK, MUTED, ACCENT = "#1f2430", "#9aa3b2", "#d1495b"
BINS = 10


def interval_bars(
    names: Sequence[str],
    values: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    references: Sequence[float | None],
    title: str,
) -> bytes:
    """Draw one horizontal bar per name with its 95 % interval, first name on top, and a tick at its reference.

    Args:
        values: shares or metrics in [0, 1]; `lows` and `highs` bound them, `references` is what was expected.
    """
    figure = Figure(figsize=(8, 1.2 + 0.38 * len(names)), dpi=90, layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(names))[::-1]
    error = [
        [max(0.0, value - low) for value, low in zip(values, lows, strict=True)],
        [max(0.0, high - value) for value, high in zip(values, highs, strict=True)],
    ]
    axes.barh(rows, values, xerr=error, color=MUTED, ecolor=INK, height=0.6, capsize=2)
    known = [(row, reference) for row, reference in zip(rows, references, strict=True) if reference is not None]
    axes.plot([reference for _, reference in known], [row for row, _ in known], "|", color=ACCENT, ms=14, mew=2)
    axes.set_yticks(rows, [name if len(name) <= 60 else name[:59] + "…" for name in names], fontsize=8)
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> bytes:
    """Draw how often answers were right against how sure the model was; the diagonal is perfect.

    Args:
        confidence: (n,) in [0, 1]. correct: (n,).
    """
    figure = Figure(figsize=(4.2, 4), dpi=90, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1)
    sure, right, weight = binned(confidence, correct)
    axes.scatter(sure, right, s=20 + 200 * weight / max(1, weight.sum()), color=ACCENT)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share that is right")
    axes.set_title("reliability (size: items)", loc="left", fontsize=10)
    return _png(figure)


def binned(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return mean confidence, share of right answers and number of items of each non-empty tenth of [0, 1]."""
    bins = np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    kept = count > 0
    sure = np.bincount(bins, weights=confidence, minlength=BINS)[kept] / count[kept]
    right = np.bincount(bins, weights=correct.astype(np.float64), minlength=BINS)[kept] / count[kept]
    return sure, right, count[kept]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
