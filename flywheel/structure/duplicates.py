"""duplicates: reads `items` and `neighbors`, writes `duplicates`, one row per item that repeats another.

Exact duplicates are items with the same content. Near duplicates are distinct contents whose vectors are almost
the same; each content stands there once, through the item its exact group keeps.
"""

import logging

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from flywheel.encoders import Vectors
from flywheel.identity import digest_of_ids
from flywheel.raw import current_items
from flywheel.records import empty
from flywheel.structure.neighbors import nearest_neighbors, read_neighbors
from flywheel.structure.numeric import Ints, one_thread, pair_cosines
from flywheel.structure.space import (
    ContentSpace,
    StructureReport,
    load_space,
    same_contents,
    stamp,
    standing,
)
from flywheel.tables import Tables

log = logging.getLogger("flywheel.structure.duplicates")

ALGORITHM = "duplicates-1"
# Neighbors to search where no neighbor graph stands.
NEIGHBORS = 10
BLOCK = 1024


def find_duplicates(tables: Tables, encoder_id: str, modality: str, *, threshold: float) -> StructureReport:
    """Write the `duplicates` among the current items of `modality`.

    Of every group the item of the earliest arrival is kept, of those the one with the smallest id. The neighbor
    graph is used where it stands for these contents, and searched for where it does not.

    Args:
        threshold: cosine, -1..1, from which two contents are near duplicates; chains of such pairs are one group.
    """
    space = load_space(tables, encoder_id, modality)
    items = current_items(tables).filter(pl.col("modality") == modality)
    who = digest_of_ids(f"{row[0]} {row[1]} {row[2]}" for row in items.select(_IDENTITY).rows())
    generation = stamp(space, ALGORITHM, threshold, who)
    stands, rows = standing(tables, "duplicates", modality)
    written = False
    if stands != generation:
        rows = duplicate_rows(items, space, _near_groups(tables, space, threshold), generation)
        written = tables.replace("duplicates", rows, modality=modality)
    return StructureReport("duplicates", modality, generation, len(space), rows.height, written, _describe(rows))


def group_duplicates(vectors: Vectors, ids: Ints, similarities: Vectors, threshold: float) -> Ints:
    """Join rows that are as similar as `threshold`, and whatever such pairs chain together.

    Args:
        vectors: (n, d) float32, unit length.
        ids, similarities: (n, k) each row's nearest neighbors, as `nearest_neighbors` returns them.
        threshold: cosine from which two rows are joined.

    Returns:
        (n,) int64: the smallest position in each row's group; a row on its own has its own position.

    A pair can only be missing from the neighbor lists when both lists are full of near duplicates; those rows
    are compared with one another (m² d for m of them).
    """
    n, k = ids.shape
    near = similarities >= threshold
    groups = np.arange(n, dtype=np.int64)
    groups = _join(n, groups, np.nonzero(near)[0].astype(np.int64), ids[near])
    full = np.flatnonzero(near.all(axis=1)) if 0 < k < n - 1 else np.zeros(0, np.int64)
    with one_thread():
        for start in range(0, len(full), BLOCK):
            block = full[start : start + BLOCK]
            left, right = np.nonzero(vectors[block] @ vectors[full].T >= threshold - 1e-5)
            unjoined = groups[block[left]] != groups[full[right]]
            left, right = block[left[unjoined]], full[right[unjoined]]
            sure = pair_cosines(vectors[left], vectors[right]) >= threshold
            groups = _join(n, groups, left[sure], right[sure])
    return groups


def duplicate_rows(items: pl.DataFrame, space: ContentSpace, groups: Ints, generation: str) -> pl.DataFrame:
    """Return the rows of the table `duplicates`: exact groups of `items`, then near groups of kept items."""
    ranked = items.select(_IDENTITY).sort("content_id", *_EARLIEST)
    ranked = ranked.with_columns(
        pl.col("item_id").first().over("content_id").alias("first"), pl.len().over("content_id").alias("members")
    )
    exact = ranked.filter(pl.col("members") > 1).with_columns(
        pl.lit("exact").alias("kind"),
        (pl.lit("exact-") + pl.col("content_id").str.head(12)).alias("group_id"),
        (pl.col("item_id") == pl.col("first")).alias("kept"),
    )
    exact = exact.with_columns(
        pl.when("kept")
        .then(pl.format("first of {} items with this content to arrive", "members"))
        .otherwise(pl.format("same content as item {}", "first"))
        .alias("reason")
    )
    near = _near_rows(ranked.filter(pl.col("item_id") == pl.col("first")), space, groups)
    rows = pl.concat([exact.select(near.columns), near]).with_columns(
        pl.lit(generation).alias("generation"), pl.lit(space.modality).alias("modality")
    )
    return rows.select(empty("duplicates").columns).sort("kind", "group_id", "item_id")


_IDENTITY = ("item_id", "content_id", "arrival")
# "arrival-100000" comes after "arrival-99999"
_EARLIEST = (pl.col("arrival").str.len_chars(), pl.col("arrival"), pl.col("item_id"))
_WRITTEN = ("item_id", "content_id", "group_id", "kind", "kept", "reason")


def _near_rows(representatives: pl.DataFrame, space: ContentSpace, groups: Ints) -> pl.DataFrame:
    places = pl.DataFrame(
        {"content_id": list(space.content_ids), "position": np.arange(len(space)), "group": groups},
        schema_overrides={"content_id": pl.String, "position": pl.Int64, "group": pl.Int64},
    )
    places = places.filter(pl.len().over("group") > 1)
    rows = representatives.drop("members", "first").join(places, on="content_id").sort("group", *_EARLIEST)
    rows = rows.with_columns(
        pl.col("item_id").first().over("group").alias("first"),
        pl.col("position").first().over("group").alias("anchor"),
        pl.len().over("group").alias("members"),
    )
    anchors, positions = rows["anchor"].to_numpy(), rows["position"].to_numpy()
    cosines = pair_cosines(space.vectors[anchors], space.vectors[positions]) if rows.height else np.zeros(0, np.float32)
    rows = rows.with_columns(
        pl.lit("near").alias("kind"),
        (pl.lit("near-") + pl.col("content_id").min().over("group").str.head(12)).alias("group_id"),
        (pl.col("item_id") == pl.col("first")).alias("kept"),
        pl.Series("cosine", [f"{value:.3f}" for value in cosines.tolist()], dtype=pl.String),
    )
    return rows.with_columns(
        pl.when("kept")
        .then(pl.format("first of {} nearly equal contents to arrive", "members"))
        .otherwise(pl.format("cosine {} to item {}", "cosine", "first"))
        .alias("reason")
    ).select(_WRITTEN)


def _near_groups(tables: Tables, space: ContentSpace, threshold: float) -> Ints:
    stands, rows = standing(tables, "neighbors", space.modality)
    if len(space) and same_contents(stands, space):
        ids, similarities = read_neighbors(space, rows)
    else:
        log.info("no neighbor graph stands for these %d contents, searching", len(space))
        ids, similarities = nearest_neighbors(space.vectors, NEIGHBORS)
    return group_duplicates(space.vectors, ids, similarities, threshold)


def _join(n: int, groups: Ints, left: Ints, right: Ints) -> Ints:
    """Join groups along edges; each group is named by its smallest member."""
    rows, columns = np.concatenate([np.arange(n), left]), np.concatenate([groups, right])
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    smallest = np.full(n, n, np.int64)
    np.minimum.at(smallest, labels, np.arange(n))
    return smallest[labels]


def _describe(rows: pl.DataFrame) -> dict[str, float]:
    facts: dict[str, float] = {}
    for kind in ("exact", "near"):
        of_kind = rows.filter(pl.col("kind") == kind)
        facts[f"{kind}_groups"] = float(of_kind["group_id"].n_unique())
        facts[f"{kind}_surplus"] = float(of_kind.filter(~pl.col("kept")).height)
    return facts
