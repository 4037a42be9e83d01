"""The picture of the data map."""

import colorsys
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from numpy.typing import NDArray

from flywheel.errors import DataError
from flywheel.tables import Tables

MOST_NAMES = 24
WIDTH, DPI = 11.0, 110
TITLE = 0.5  # inches
HIGHLIGHTS = (("#111111", "o"), ("#d00000", "X"), ("#0057d9", "D"), ("#00813a", "^"), ("#8a2be2", "s"))
COLOR_BY = ("cluster", "finest", "none")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Map:
    """What is drawn: `points` with content_id, x, y, cluster_id; the `names` of clusters with their sizes."""

    points: pl.DataFrame
    names: pl.DataFrame = field(default_factory=pl.DataFrame)


def draw_map(
    tables: Tables,
    modality: str,
    *,
    color_by: str = "cluster",
    highlight: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
) -> bytes:
    """Return the map of `modality` as a PNG.

    Args:
        color_by: "cluster" (the coarsest level), "finest", or "none"; the names belong to the coarsest level.
        highlight: content ids by what they are ("labeled", "chosen" …), drawn over pale points, with a legend.

    Raises:
        DataError: no map stands for the modality, or `color_by` is another word.
    """
    if color_by not in COLOR_BY:
        raise DataError(f"a map is colored by one of {', '.join(COLOR_BY)}, not by '{color_by}'")
    points = tables.read("map_points", modality=modality).select("content_id", "x", "y")
    if not points.height:
        raise DataError(f"no map stands for modality '{modality}'; lay it out first (lay_out_map, or asset data_map)")
    clusters = tables.read("clusters", modality=modality)
    names = tables.read("cluster_names", modality=modality).select("level", "cluster_id", "name", "size")
    coarse = clusters.filter(pl.col("level") == 0).select("content_id", "cluster_id")
    shown = clusters.filter(pl.col("level") == (pl.col("level").max() if color_by == "finest" else 0))
    points = (
        points.join(coarse, on="content_id", how="left")
        .join(shown.select("content_id", color="cluster_id"), on="content_id", how="left")
        .sort("content_id")
    )
    if color_by == "none":
        points = points.with_columns(pl.lit(None, pl.String).alias("color"))
    chart = Map(points, names.filter(pl.col("level") == 0).sort("size", "cluster_id", descending=[True, False]))
    return render(chart, highlight or {}, title or _title(chart, modality))


def render(chart: Map, highlight: Mapping[str, Sequence[str]], title: str) -> bytes:
    """Draw a map as PNG; the same input gives the same bytes."""
    height = _height(chart)
    figure: Any = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.99 - TITLE / height))
    axes.set_axis_off()
    _draw_points(axes, chart, pale=bool(highlight))
    for position, (name, ids) in enumerate(highlight.items()):
        _draw_highlight(axes, chart, name, ids, position)
    axes.margins(0.03)
    axes.set_aspect("equal", adjustable="datalim")
    figure.text(0.02, 1 - TITLE / 2 / height, title, fontsize=15, fontweight="bold", color="#222222", va="center")
    _draw_names(figure, axes, chart)
    if highlight:
        axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="#dddddd", fontsize=10)
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()


def _height(chart: Map) -> float:
    """Return the height in inches at which the map fills the picture, between a wide and a square one."""
    spans = chart.points.select(pl.col("x", "y").max() - pl.col("x", "y").min()).row(0)
    wide = max(float(spans[0]), 1e-6)
    return TITLE + float(np.clip(WIDTH * float(spans[1]) / wide, 0.55 * WIDTH, 0.95 * WIDTH))


def palette(n: int) -> list[tuple[float, float, float]]:
    """Return `n` colors, neighbors in the list far apart in hue (golden angle) and unlike in lightness."""
    return [
        colorsys.hls_to_rgb((0.58 + position * 0.381966) % 1.0, (0.47, 0.62, 0.38)[position % 3], 0.62)
        for position in range(n)
    ]


def _draw_points(axes: Any, chart: Map, pale: bool) -> None:
    colors = _colors_of(chart)
    size = float(np.clip(26_000 / max(chart.points.height, 1), 1.5, 26))
    alpha = 0.22 if pale else 0.75
    x, y = chart.points["x"].to_numpy(), chart.points["y"].to_numpy()
    axes.scatter(x, y, s=size, c=colors, alpha=alpha, linewidths=0, rasterized=True)


def _draw_highlight(axes: Any, chart: Map, name: str, ids: Sequence[str], position: int) -> None:
    found = chart.points.filter(pl.col("content_id").is_in(list(ids)))
    color, marker = HIGHLIGHTS[position % len(HIGHLIGHTS)]
    axes.scatter(
        found["x"].to_numpy(),
        found["y"].to_numpy(),
        s=float(np.clip(9_000 / max(found.height, 1), 12, 48)),
        c=color,
        marker=marker,
        linewidths=0.6,
        edgecolors="white",
        label=f"{name} ({found.height:,})",
        zorder=3 + position,
    )


def _colors_of(chart: Map) -> Floats:
    order = chart.points["color"].drop_nulls().unique().sort().to_list()
    known = dict(zip(order, palette(len(order))))
    gray = (0.62, 0.65, 0.68)
    return np.asarray([known.get(cluster, gray) for cluster in chart.points["color"].to_list()])


def _draw_names(figure: Any, axes: Any, chart: Map) -> None:
    """Write the names of the largest clusters where they lie thickest, moved apart where they would overlap."""
    texts: list[Text] = []
    anchors: list[tuple[float, float]] = []
    shown = chart.names.head(MOST_NAMES)
    largest = float(shown["size"][0]) if shown.height else 1.0
    for cluster, name, size in shown.select("cluster_id", "name", "size").rows():
        own = chart.points.filter(pl.col("cluster_id") == cluster).select("x", "y").to_numpy()
        if not len(own):
            continue
        x, y = _thickest(own)
        label = textwrap.fill(str(name), 18)
        anchors.append((x, y))
        texts.append(
            axes.text(
                x,
                y,
                label,
                ha="center",
                va="center",
                fontsize=7.5 + 3 * float(np.sqrt(size / largest)),
                color="#1b1b1b",
                linespacing=0.95,
                zorder=20,
                path_effects=[withStroke(linewidth=2.6, foreground=(1, 1, 1, 0.92))],
            )
        )
    _move_apart(figure, axes, texts, np.asarray(anchors, np.float64).reshape(-1, 2))


def _thickest(points: NDArray[Any]) -> tuple[float, float]:
    """Return the point of a cluster that lies nearest to the median of the half around the overall median."""
    middle = np.median(points, axis=0)
    away = np.hypot(*(points - middle).T)
    core = points[away <= np.median(away)]
    x, y = np.median(core, axis=0)
    return float(x), float(y)


def _move_apart(figure: Any, axes: Any, texts: Sequence[Text], anchors: Floats, rounds: int = 200) -> None:
    """Push overlapping texts apart along the axis where they overlap least, and keep them in the picture."""
    if len(texts) < 2:
        return
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts]
    half = np.asarray([(box.width / 2 + 2, box.height / 2 + 1) for box in boxes])
    start = axes.transData.transform(anchors)
    centers = start.copy()
    low, high = half + 4, np.asarray(figure.bbox.size) - (0, TITLE * DPI) - half - 4
    for _ in range(rounds):
        moved = False
        for i in range(len(texts)):
            for j in range(i + 1, len(texts)):
                overlap = half[i] + half[j] - np.abs(centers[i] - centers[j])
                if (overlap <= 0).any():
                    continue
                axis = int(np.argmin(overlap))
                side = 1.0 if centers[i, axis] >= centers[j, axis] else -1.0
                centers[i, axis] += side * overlap[axis] / 2
                centers[j, axis] -= side * overlap[axis] / 2
                moved = True
        centers = np.clip(centers, low, high)
        if not moved:
            break
    for text, place in zip(texts, axes.transData.inverted().transform(centers)):
        text.set_position((float(place[0]), float(place[1])))


def _title(chart: Map, modality: str) -> str:
    things = {"image": "images", "text": "texts"}.get(modality, f"{modality} contents")
    groups = f" in {chart.names.height} groups" if chart.names.height else ""
    return f"{chart.points.height:,} {things}{groups}"
