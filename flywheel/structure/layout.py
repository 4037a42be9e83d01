"""data_map: reads the space, writes `map_points`, one point in the plane per content.

Contents that are alike lie near one another; distances across the map mean little. Once placed a content stays
where it is, so that two maps of a growing wheel can be compared.
"""

import logging
import warnings
from typing import Any

import numpy as np
import polars as pl

from flywheel.encoders import Vectors
from flywheel.records import empty
from flywheel.structure.numeric import normalize, one_thread
from flywheel.structure.space import (
    ContentSpace,
    StructureReport,
    load_space,
    same_encoder,
    stamp,
    standing,
)
from flywheel.tables import Tables

log = logging.getLogger("flywheel.structure.layout")

ALGORITHM = "map-1"
LANDMARKS = 1500
COMPONENTS = 50
ITERATIONS = 500
PERPLEXITY = 30.0
# Placed contents a new one is placed by.
ANCHORS = 8
# The map is drawn anew when more than this share of its points would be placed after the fact.
MOST_LATER = 0.5
BLOCK = 2048


def lay_out_map(tables: Tables, encoder_id: str, modality: str, *, seed: int) -> StructureReport:
    """Write the `map_points` of `modality`; nothing happens where they stand already.

    Contents that have a point in the same encoder's map keep it, unless more than half of all have none.

    Args:
        seed: of the choice of landmarks.
    """
    space = load_space(tables, encoder_id, modality)
    generation = stamp(space, ALGORITHM, seed)
    stands, rows = standing(tables, "map_points", modality)
    written = False
    facts: dict[str, float] = {}
    if stands != generation and (len(space) or rows.height):
        former = _former_places(space, rows if same_encoder(stands, space) else rows.clear())
        stayed = int(np.isfinite(former[:, 0]).sum())
        facts = {"stayed": float(stayed if stayed >= (1 - MOST_LATER) * len(space) else 0)}
        rows = _point_rows(space, lay_out(space.vectors, seed, former), generation)
        written = tables.replace("map_points", rows, modality=modality)
    return StructureReport("map_points", modality, generation, len(space), rows.height, written, facts)


def lay_out(vectors: Vectors, seed: int, former: Vectors | None = None) -> Vectors:
    """Place rows in the plane.

    Args:
        vectors: (n, d) float32, unit length.
        seed: of the choice of landmarks.
        former: (n, 2) places rows already have, NaN where they have none; they stay if at least half have one.

    Returns:
        (n, 2) float32; on a new map 90 % of the landmarks lie within 1 of the origin. The same to the last bit
        whatever the number of threads.

    Method: t-SNE (van der Maaten and Hinton 2008) of at most 1,500 landmarks, started from their principal
    components (Kobak and Berens 2019); every other row beside the landmarks most similar to it. Cost: that of the
    landmarks, and n · 1,500 · d.
    """
    places = np.full((len(vectors), 2), np.nan, np.float32) if former is None else former.astype(np.float32)
    placed = np.isfinite(places[:, 0])
    if not len(vectors):
        return places
    if placed.sum() < (1 - MOST_LATER) * len(vectors) or not placed.any():
        chosen = np.random.default_rng(seed).permutation(len(vectors))[:LANDMARKS]
        chosen.sort()
        places = np.full((len(vectors), 2), np.nan, np.float32)
        places[chosen] = _embed(vectors[chosen], seed)
        placed = np.isfinite(places[:, 0])
    later = np.flatnonzero(~placed)
    if len(later):
        places[later] = _place_beside(vectors[later], vectors[placed], places[placed])
    return places


def _embed(vectors: Vectors, seed: int) -> Vectors:
    """Lay landmarks (m, d) out by t-SNE."""
    with one_thread():
        components = _principal_components(vectors)
        if len(vectors) < 5:
            return _scaled(components[:, :2])
        start = components[:, :2] / max(float(components[:, 0].std()), 1e-12) * 1e-4
        return _scaled(_neighbor_embedding(components, start, seed))


def _neighbor_embedding(components: Vectors, start: Vectors, seed: int) -> Vectors:
    from sklearn.manifold import TSNE  # pyright: ignore[reportMissingTypeStubs]  # takes a second to import

    perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
    options: dict[str, Any] = {"init": start, "perplexity": perplexity, "max_iter": ITERATIONS}
    model: Any = TSNE(2, **options, random_state=seed, n_jobs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # identical rows divide by zero on the way
        return np.asarray(model.fit_transform(components), np.float32)


def _principal_components(vectors: Vectors) -> Vectors:
    """Return the first components of the centered rows, (m, min(50, d)), each axis turned to its larger side."""
    centered = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh((centered.T @ centered).astype(np.float64))
    axes = axes[:, ::-1][:, :COMPONENTS]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    components = centered @ (axes * signs).astype(np.float32)
    return np.pad(components, ((0, 0), (0, max(0, 2 - components.shape[1]))))


def _scaled(places: Vectors) -> Vectors:
    places = places - np.median(places, axis=0)
    reach = float(np.quantile(np.hypot(places[:, 0], places[:, 1]), 0.9)) if len(places) else 0.0
    return (places / reach if reach > 0 else places).astype(np.float32)


def _place_beside(vectors: Vectors, anchors: Vectors, places: Vectors) -> Vectors:
    """Place each row at the mean of the anchors most similar to it, weighted by similarity, a little to the side:
    by what it differs in from them, so that rows with the same anchors do not fall on one point."""
    found = np.empty((len(vectors), 2), np.float32)
    k = min(ANCHORS, len(anchors))
    sideways = np.random.default_rng(0).standard_normal((vectors.shape[1], 2)).astype(np.float32)
    with one_thread():
        for start in range(0, len(vectors), BLOCK):
            block = vectors[start : start + BLOCK]
            cosines = np.round(block @ anchors.T, 6)
            nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
            weights = _weights(np.take_along_axis(cosines, nearest, axis=1))
            mean = np.einsum("nk,nkd->nd", weights, places[nearest])
            rest = normalize(block - np.einsum("nk,nkd->nd", weights, anchors[nearest]))
            spread = np.sqrt(np.einsum("nk,nkd->n", weights, np.square(places[nearest] - mean[:, None])))
            offset = np.clip(rest @ sideways, -2, 2) * np.minimum(spread, 0.05)[:, None]
            found[start : start + BLOCK] = mean + 0.5 * offset
    return found


def _weights(cosines: Vectors) -> Vectors:
    """Turn cosines (n, k) into weights that sum to 1 and fall off within the range of the row."""
    best, least = cosines.max(axis=1, keepdims=True), cosines.min(axis=1, keepdims=True)
    weights = np.exp(4 * (cosines - best) / np.maximum(best - least, 1e-6))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _former_places(space: ContentSpace, rows: pl.DataFrame) -> Vectors:
    ids = pl.DataFrame({"content_id": list(space.content_ids)}, schema={"content_id": pl.String})
    found = ids.join(rows.select("content_id", "x", "y"), on="content_id", how="left", maintain_order="left")
    return found.select(pl.col("x", "y").fill_null(float("nan"))).to_numpy().astype(np.float32)


def _point_rows(space: ContentSpace, places: Vectors, generation: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "generation": [generation] * len(space),
            "modality": [space.modality] * len(space),
            "content_id": list(space.content_ids),
            "x": places[:, 0],
            "y": places[:, 1],
        }
    ).select(empty("map_points").columns)
