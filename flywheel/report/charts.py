"""The charts of the report, as PNG bytes. Names in them come from data: they are drawn as they are, never parsed."""

import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from flywheel.modeling import Interval

AFTER, BEFORE, INK = "#2563a8", "#b9c3cf", "#24303c"
DPI = 130
LONGEST = 42  # characters of a name on one of its two lines


@dataclass(frozen=True)
class Bar:
    """One slice: its name, evaluation rows, and the accuracy before (None on the first turn) and after."""

    name: str
    n: int
    before: Interval | None
    after: Interval


def draw_accuracy(bars: Sequence[Bar]) -> bytes:
    """Draw accuracy per slice with 95 % intervals, before in gray and after in blue, the first slice on top."""
    figure: Any = Figure(figsize=(8.6, 1.1 + 0.5 * len(bars)), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = np.arange(len(bars))[::-1]
    beside = 0.19 if any(bar.before for bar in bars) else 0.0
    _draw_side(axes, rows - beside, [bar.after for bar in bars], AFTER, "after this turn")
    known = [(row + beside, bar.before) for row, bar in zip(rows, bars) if bar.before is not None]
    if known:
        places, values = zip(*known)
        _draw_side(axes, np.array(places), values, BEFORE, "before it")
    axes.set_yticks(rows, [_label(bar) for bar in bars], fontsize=9, color=INK)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a "$" in a class name is a "$"
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)], fontsize=9, color=INK)
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.grid(axis="x", color="#e6eaee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return _png(figure)


def _draw_side(axes: Any, rows: Any, measured: Sequence[Interval], color: str, label: str) -> None:
    values = np.array([one.value for one in measured])
    below = [one.value - one.low for one in measured]
    above = [one.high - one.value for one in measured]
    style = {"ecolor": INK, "elinewidth": 1.1, "capsize": 2.5}
    axes.barh(rows, values, xerr=[below, above], height=0.34, color=color, label=label, error_kw=style)


def _label(bar: Bar) -> str:
    lines = textwrap.wrap(bar.name, LONGEST, max_lines=2, placeholder=" …") or ["?"]
    return "\n".join([*lines[:-1], f"{lines[-1]}  (n = {bar.n})"])


def _png(figure: Any) -> bytes:
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # shown as boxes; the table has the text
        figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()
