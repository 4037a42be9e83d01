"""The slices a turn is judged on: everything, each class, each gap found so far, each coarse cluster."""

import logging
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.config import WheelConfig
from flywheel.corpus import load_corpus, members
from flywheel.errors import ConfigError
from flywheel.tables import Tables
from flywheel.turns import read_turn

log = logging.getLogger("flywheel.modeling")

SMALLEST_CLUSTER = 20  # evaluation labels a cluster needs to be a slice of its own


@dataclass(frozen=True)
class Slice:
    """A named part of the evaluation rows: `rows` is an (n,) mask over them, `predicate` says it in words."""

    name: str
    predicate: str
    rows: NDArray[np.bool_]


def find_slices(
    tables: Tables, config: WheelConfig, encoder_id: str, turn: int, evaluation: pl.DataFrame
) -> list[Slice]:
    """Return the slices that hold at least one evaluation row.

    Args:
        evaluation: one row per evaluation content: content_id, label.
    """
    everything = Slice("all", "all evaluation items", np.ones(evaluation.height, np.bool_))
    slices = [
        everything,
        *_classes(config, evaluation),
        *_gaps(tables, config, encoder_id, turn, evaluation),
        *_clusters(tables, config, turn, evaluation),
    ]
    return [part for part in slices if part.rows.any()]


def _classes(config: WheelConfig, evaluation: pl.DataFrame) -> list[Slice]:
    return [
        Slice(f"class={name}", f"labeled '{name}'", evaluation["label"].eq(name).to_numpy())
        for name in config.label_spec.classes
    ]


def _gaps(tables: Tables, config: WheelConfig, encoder_id: str, turn: int, evaluation: pl.DataFrame) -> list[Slice]:
    """One slice per gap of this turn's report and the ones before; a gap keeps the words of its newest report."""
    gaps = tables.scan("gaps").filter(pl.col("turn") <= turn).collect().sort("turn", "rank")
    gaps = gaps.unique("gap_id", keep="last", maintain_order=True)
    if gaps.is_empty():
        return []
    frame = load_corpus(tables, config, encoder_id, turn).frame
    frame = evaluation.select("content_id").join(frame, on="content_id", how="left", maintain_order="left")
    slices: list[Slice] = []
    for gap_id, predicate, expression in gaps.select("gap_id", "predicate", "expression").iter_rows():
        try:
            slices.append(Slice(f"gap:{gap_id}", predicate, members(frame, expression)))
        except ConfigError as error:  # of an old report: the attribute it speaks of may be gone from the data
            log.warning("gap %s can no longer be evaluated: %s", gap_id, error)
    return slices


def _clusters(tables: Tables, config: WheelConfig, turn: int, evaluation: pl.DataFrame) -> list[Slice]:
    pinned, coarsest = read_turn(tables, turn).pinned, pl.col("level") == 0
    modality = pl.col("modality") == config.label_spec.modality
    placed = tables.scan("clusters", pinned["clusters"]).filter(modality, coarsest).select("content_id", "cluster_id")
    named = tables.scan("cluster_names", pinned["cluster_names"]).filter(modality, coarsest)
    place = evaluation.select("content_id").join(placed.collect(), on="content_id", how="left", maintain_order="left")
    slices: list[Slice] = []
    for cluster, name in named.select("cluster_id", "name").collect().sort("cluster_id").iter_rows():
        rows = place.select(pl.col("cluster_id").eq(cluster).fill_null(value=False))["cluster_id"].to_numpy()
        if rows.sum() >= SMALLEST_CLUSTER:
            slices.append(Slice(f"cluster:{cluster}", f"in cluster “{name}”", rows))
    return slices
