"""Drift: whether what is new lies elsewhere than what a turn has seen. Reads `clusters` and `cluster_names`."""

from collections.abc import Set
from dataclasses import dataclass

import polars as pl
from scipy.stats import chi2_contingency

from flywheel.raw import current_items
from flywheel.tables import Tables

LEAST = 30  # new items below which nothing can be said
SURE = 0.001  # p-value of a difference that is no chance


@dataclass(frozen=True)
class Drift:
    """How far new items lie from the others."""

    distance: float  # total variation between the shares of the coarsest clusters, 0..1
    p_value: float  # of the shares being the same, chi-square
    words: str  # for people: where the difference is largest


def find_drift(tables: Tables, fresh: Set[str]) -> Drift | None:
    """Compare how new items spread over the coarsest clusters with how all others do; None where too few are new.

    Args:
        fresh: ids of the new items.
    """
    counts = _counts(tables, fresh)
    new, old = counts["new"].sum(), counts["old"].sum()
    if new < LEAST or old == 0:
        return None
    shares = counts.with_columns(now=pl.col("new") / new, before=pl.col("old") / old)
    distance = float((shares["now"] - shares["before"]).abs().sum() / 2)
    p_value = 1.0 if counts.height < 2 else float(chi2_contingency(counts.select("new", "old").to_numpy()).pvalue)
    most = shares.sort(pl.col("now") - pl.col("before"), "cluster_id", descending=[True, False]).row(0, named=True)
    words = (
        f"{new} new items lie elsewhere: {most['now']:.0%} of them in '{most['name']}', where {most['before']:.0%} of "
        f"the others are (total variation {distance:.2f})"
    )
    return Drift(distance, p_value, words)


def _counts(tables: Tables, fresh: Set[str]) -> pl.DataFrame:
    """Return cluster_id, name and how many new and other items lie in each of the coarsest clusters."""
    places = tables.scan("clusters").filter(pl.col("level") == 0).select("content_id", "cluster_id")
    names = tables.scan("cluster_names").filter(pl.col("level") == 0).select("cluster_id", "name")
    is_new = pl.Series("is_new", sorted(fresh), dtype=pl.String)
    items = current_items(tables).lazy().select("item_id", "content_id").join(places, on="content_id")
    marked = items.with_columns(is_new=pl.col("item_id").is_in(is_new.implode()))
    counted = marked.group_by("cluster_id").agg(new=pl.col("is_new").sum(), old=(~pl.col("is_new")).sum())
    named = counted.join(names, on="cluster_id", how="left").with_columns(
        pl.col("name").fill_null(pl.col("cluster_id"))
    )
    return named.sort("cluster_id").collect()
