"""Signals and clips as people see them, the same bytes every time.

A signal is a plot, its leads under one another; a clip is a sheet of its frames, to be read line by line.
"""

import io
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from flywheel.raw.decoders.signals import Signal
from flywheel.raw.decoders.video import Clip

MOST_LEADS = 16  # drawn of a window; it says so where there are more
MOST_POINTS = 4000  # of a lead; of longer ones the highest and lowest of each stretch
WIDTH, HEIGHT = 9.0, 0.9  # inches; the height is one lead's
COLUMNS = 4  # frames in a line of a contact sheet


def contact_sheet(clip: Clip) -> bytes:
    """Return a PNG of a clip's frames in the order of time, four in a line."""
    count, height, width = clip.frames.shape[:3]
    columns = min(count, COLUMNS)
    sheet = Image.new("RGB", (columns * width, -(-count // columns) * height))
    for place, frame in enumerate(clip.frames):
        sheet.paste(Image.fromarray(frame), (place % columns * width, place // columns * height))
    target = io.BytesIO()
    sheet.save(target, "PNG", compress_level=6)
    return target.getvalue()


def plot_signal(signal: Signal) -> bytes:
    """Return a PNG of a window, each lead in its own range; missing samples are left blank."""
    shown = min(len(signal.leads), MOST_LEADS)
    figure: Any = Figure(figsize=(WIDTH, HEIGHT * shown + 0.6), dpi=80)
    FigureCanvasAgg(figure)
    axes = figure.subplots(shown, 1, sharex=True, squeeze=False)[:, 0]
    for place, (axis, name) in enumerate(zip(axes, signal.leads)):
        times, values = _thinned(signal.samples[place], signal.rate)
        axis.plot(times, values, linewidth=0.7, color="#1f4e79")
        axis.set_ylabel(name.replace("$", r"\$"), rotation=0, ha="right", va="center", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(True, linewidth=0.3)
    rest = f", {len(signal.leads) - shown} more leads are not drawn" if len(signal.leads) > shown else ""
    axes[-1].set_xlabel(f"seconds ({signal.rate:g} samples per second{rest})", fontsize=8)
    target = io.BytesIO()
    figure.subplots_adjust(left=0.12, right=0.98, top=0.98, bottom=0.5 / (HEIGHT * shown + 0.6), hspace=0.15)
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()


def _thinned(lead: np.ndarray[Any, np.dtype[np.float32]], rate: float) -> tuple[Any, Any]:
    """Times and values to draw: all, or the extremes of as many stretches as can be told apart."""
    times = np.arange(len(lead)) / rate
    if len(lead) <= MOST_POINTS:
        return times, lead
    stretch = -(-2 * len(lead) // MOST_POINTS)
    usable = len(lead) // stretch * stretch
    blocks = lead[:usable].reshape(-1, stretch)
    values = np.stack([blocks.min(axis=1), blocks.max(axis=1)], axis=1).ravel()
    return np.repeat(times[:usable:stretch], 2), values
