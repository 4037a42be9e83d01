"""clusters: reads the space, writes `clusters` (where each content belongs) and `cluster_names` (what each cluster is).

Levels nest, level 0 is the coarsest. A cluster keeps its id as data comes and goes: k-means starts from the centers
that stand, and the new centers are matched with them. `cluster_names` is written last, so a run that was killed
before starts from the same centers again.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.optimize import linear_sum_assignment

from flywheel.encoders import Content, Encoder, Vectors
from flywheel.records import empty
from flywheel.structure.kmeans import cluster_vectors, distances_to
from flywheel.structure.naming import Ranking, WordCounts, choose_names, rank_by_texts, rank_by_words, wording
from flywheel.structure.numeric import DECIMALS, Ints, one_thread
from flywheel.structure.space import (
    ContentSpace,
    StructureReport,
    load_space,
    same_encoder,
    stamp,
    standing,
)
from flywheel.tables import Tables

log = logging.getLogger("flywheel.structure.clusters")

ALGORITHM = "clusters-1"

Texts = Mapping[str, str] | Iterable[Content]


@dataclass(frozen=True)
class Level:
    """One level of clusters: `labels` (n,) count `centers` (k, d); `ids`, `kept` and `former_terms` are per center."""

    labels: Ints
    centers: Vectors
    ids: tuple[str, ...]
    kept: tuple[bool, ...]
    former_terms: tuple[tuple[str, ...], ...]


def build_clusters(
    tables: Tables,
    encoder: Encoder,
    *,
    sizes: Sequence[int],
    seed: int,
    vocabulary: Sequence[str] = (),
    texts: Texts | None = None,
    words_in: Path | None = None,
) -> StructureReport:
    """Write the `clusters` of the encoder's modality and their names; nothing happens where they stand already.

    Args:
        sizes: contents per cluster at each level, coarsest first.
        seed: of the first centers.
        vocabulary: words a cluster may be named by (the label spec's classes, say); see `naming.wording`.
        texts: texts by content id, or contents to decode, which are only read when there is something to name;
            with them clusters are named by their own words.
        words_in: folder that keeps the vectors of the vocabulary from one call to the next.
    """
    space = load_space(tables, encoder.id, encoder.modality)
    naming = "texts" if texts is not None else (encoder.words_id, tuple(vocabulary))
    wanted = stamp(space, ALGORITHM, tuple(sizes), seed, naming)
    stands, names = standing(tables, "cluster_names", space.modality)
    written = False
    if stands.rpartition("/")[0] != wanted and (len(space) or names.height):
        former = names if same_encoder(stands, space) else names.clear()
        levels = cluster_space(space, sizes, seed, former)
        generation = f"{wanted}/{_high_water(levels, stands if former.height else '')}"
        rankings = _rank(space, levels, encoder, vocabulary, texts, words_in)
        written = tables.replace("clusters", cluster_rows(space, levels, generation), modality=space.modality)
        names = name_rows(space, levels, rankings, generation)
        written = tables.replace("cluster_names", names, modality=space.modality) or written
    generation = str(names["generation"][0]) if names.height else wanted
    rows = names.filter(pl.col("level") == 0)["size"].sum() * len(sizes)
    return StructureReport("clusters", space.modality, generation, len(space), int(rows), written, _describe(names))


def cluster_space(space: ContentSpace, sizes: Sequence[int], seed: int, former: pl.DataFrame) -> list[Level]:
    """Cluster a space at every level, starting from the `former` rows of `cluster_names` of the same encoder."""
    if not len(space):
        return []
    before = [former.filter(pl.col("level") == level).sort("cluster_id") for level in range(len(sizes))]
    old_centers = [_centers_of(rows, space.vectors.shape[1]) for rows in before]
    labels, centers = cluster_vectors(space.vectors, tuple(sizes), seed, old_centers)
    tops = _parse_high_water(str(former["generation"][0])) if former.height else {}
    return [
        _identify(space.modality, level, labels[level], centers[level], before[level], tops.get(level, 0))
        for level in range(len(sizes))
    ]


def match_centers(new: Vectors, old: Vectors) -> Ints:
    """Pair new centers (k, d) with old ones (m, d), all unit length, so that the sum of cosines is largest.

    Returns:
        (k,) int64: the position of each new center's old one, or -1. A pair only counts where no other old center
        is nearer to the new one: otherwise the cluster has moved into another's place. (Hungarian method; Kuhn 1955.)
    """
    matched = np.full(len(new), -1, np.int64)
    if not len(new) or not len(old):
        return matched
    with one_thread():
        cosines = np.round(new @ old.T, DECIMALS)
    rows, columns = linear_sum_assignment(-cosines)
    nearest = cosines[rows, columns] >= cosines[rows].max(axis=1)
    matched[rows[nearest]] = columns[nearest]
    return matched


def cluster_rows(space: ContentSpace, levels: Sequence[Level], generation: str) -> pl.DataFrame:
    """Return the rows of the table `clusters`, one per content and level."""
    frames = [
        pl.DataFrame(
            {
                "generation": [generation] * len(space),
                "modality": [space.modality] * len(space),
                "content_id": list(space.content_ids),
                "level": [number] * len(space),
                "cluster_id": [level.ids[int(label)] for label in level.labels.tolist()],
                "distance": distances_to(space.vectors, level.centers, level.labels),
            }
        )
        for number, level in enumerate(levels)
    ]
    return _concat("clusters", frames)


def name_rows(
    space: ContentSpace, levels: Sequence[Level], rankings: Sequence[Sequence[Ranking]], generation: str
) -> pl.DataFrame:
    """Return the rows of the table `cluster_names`, one per cluster; `rankings[level]` ranks terms per cluster."""
    frames: list[pl.DataFrame] = []
    for number, (level, ranked) in enumerate(zip(levels, rankings)):
        names = choose_names(ranked, level.former_terms)
        sizes = np.bincount(level.labels, minlength=len(level.ids))
        frames.append(
            pl.DataFrame(
                {
                    "generation": [generation] * len(names),
                    "modality": [space.modality] * len(names),
                    "level": [number] * len(names),
                    "cluster_id": list(level.ids),
                    "name": [name for name, _ in names],
                    "terms": [terms for _, terms in names],
                    "size": sizes.tolist(),
                    "center": level.centers.tolist(),
                    "event": ["kept" if kept else "birth" for kept in level.kept],
                },
                schema_overrides={"center": pl.List(pl.Float32), "terms": pl.List(pl.String)},
            )
        )
    return _concat("cluster_names", frames)


def _identify(modality: str, number: int, labels: Ints, centers: Vectors, before: pl.DataFrame, top: int) -> Level:
    """Give clusters the ids of the former ones they continue; new ones are numbered on, the largest first."""
    matched = match_centers(centers, _centers_of(before, centers.shape[1]))
    ids = [before["cluster_id"][int(old)] if old >= 0 else "" for old in matched]
    terms = [tuple(before["terms"][int(old)]) if old >= 0 else () for old in matched]
    sizes = np.bincount(labels, minlength=len(centers))
    for position in np.argsort(-sizes, kind="stable"):
        if not ids[position]:
            top += 1
            ids[position] = f"{modality}-{number}-{top:04d}"
    return Level(labels, centers, tuple(ids), tuple(bool(old >= 0) for old in matched), tuple(terms))


def _rank(
    space: ContentSpace,
    levels: Sequence[Level],
    encoder: Encoder,
    vocabulary: Sequence[str],
    texts: Texts | None,
    words_in: Path | None,
) -> list[list[Ranking]]:
    """Rank the terms of every cluster of every level."""
    if not levels:
        return []
    if texts is None:
        words = wording(vocabulary)
        return [rank_by_words(encoder, space.vectors, level.labels, level.centers, words, words_in) for level in levels]
    finest = levels[-1]
    label_of = dict(zip(space.content_ids, finest.labels.tolist()))
    counts = WordCounts.of(texts, label_of, len(finest.ids))
    rankings: list[list[Ranking]] = []
    for level in levels:
        parents = np.zeros(len(finest.ids), np.int64)
        parents[finest.labels] = level.labels
        sizes = np.bincount(level.labels, minlength=len(level.ids))
        rankings.append(rank_by_texts(counts.merged(parents, len(level.ids)), sizes.tolist()))
    return rankings


def _centers_of(rows: pl.DataFrame, dim: int) -> Vectors:
    return np.asarray(rows["center"].to_list(), np.float32).reshape(rows.height, dim)


def _high_water(levels: Sequence[Level], stands: str) -> str:
    """Tell the highest number ever given at each level, so that the id of a vanished cluster never comes back."""
    before = _parse_high_water(stands) if stands else {}
    tops = [max([before.get(number, 0), *map(_number, level.ids)]) for number, level in enumerate(levels)]
    return "-".join(str(top) for top in tops)


def _parse_high_water(generation: str) -> dict[int, int]:
    numbers = generation.rpartition("/")[2]
    return {level: int(top) for level, top in enumerate(numbers.split("-")) if top}


def _number(cluster_id: str) -> int:
    return int(cluster_id.rpartition("-")[2])


def _concat(table: str, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    order = ["level", "content_id" if table == "clusters" else "cluster_id"]
    return pl.concat(frames).select(empty(table).columns).sort(order) if frames else empty(table)


def _describe(names: pl.DataFrame) -> dict[str, float]:
    facts = {f"clusters_level_{level}": float(n) for level, n in sorted(names.group_by("level").len().rows())}
    facts["births"] = float(names.filter(pl.col("event") == "birth").height)
    facts["kept"] = float(names.filter(pl.col("event") == "kept").height)
    return facts
