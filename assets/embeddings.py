"""embeddings: each distinct content of an arrival becomes one durable vector."""

import logging
import time

import dagster as dg
import polars as pl

from assets.automation import per_arrival
from assets.partitions import arrivals
from assets.raw import raw_data
from assets.running import explained
from assets.shown import place, preview
from flywheel.encoders import Encoder, embed_arrival
from flywheel.objects import Source
from flywheel.raw import current_items
from flywheel.tables import Tables

progress = logging.getLogger("flywheel.progress")

PACE = 5.0  # seconds between two lines


@dg.asset(
    key=["embeddings", "embeddings"],
    deps=[raw_data],
    group_name="embeddings",
    kinds={"pytorch", "deltalake"},
    owners=["team:data"],
    partitions_def=arrivals,
    automation_condition=per_arrival,
    code_version="1",
)
def embeddings(
    context: dg.AssetExecutionContext,
    tables: dg.ResourceParam[Tables],
    sources: dg.ResourceParam[dict[str, Source]],
    encoders: dg.ResourceParam[dict[str, Encoder]],
) -> dg.MaterializeResult:
    """One row is the unit vector of one distinct content by one encoder.

    A content that has its vector is never encoded again.
    """
    arrival = context.partition_key
    with explained():
        report = embed_arrival(tables, sources, encoders, arrival, progress=_Pace(arrival))
    rows = tables.read("embeddings", arrival=arrival)
    by_encoder = rows.group_by("encoder_id").agg(
        pl.len().alias("vectors"), pl.col("vector").list.len().max().alias("dim")
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows.height,
            "encoded": report.encoded,
            "reused": report.reused,
            "refused": report.refused,
            "encoders": preview(by_encoder.sort("encoder_id")),
            "table": place(tables, "embeddings"),
        }
    )


@dg.asset_check(asset=embeddings, partitions_def=arrivals)
def every_item_has_one_embedding(
    context: dg.AssetCheckExecutionContext,
    tables: dg.ResourceParam[Tables],
    encoders: dg.ResourceParam[dict[str, Encoder]],
) -> dg.AssetCheckResult:
    """Each content of the arrival's items has exactly one vector by its modality's encoder."""
    found = embedding_counts(tables, encoders).filter(pl.col("arrival") == context.partition_key)
    wrong = found.filter(pl.col("vectors") != 1)
    return dg.AssetCheckResult(
        passed=wrong.is_empty(),
        description=f"{wrong.height} of {found.height} contents have no vector, or several" if wrong.height else None,
        metadata={"contents": found.height, "without exactly one": preview(wrong)},
    )


class _Pace:
    """Tells, every few seconds, how far an arrival's contents are."""

    def __init__(self, arrival: str):
        self._arrival = arrival
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._told >= PACE or done == total > 1024:
            self._told = time.monotonic()
            progress.info("%s: %s of %s contents embedded", self._arrival, f"{done:,}", f"{total:,}")


def embedding_counts(tables: Tables, encoders: dict[str, Encoder]) -> pl.DataFrame:
    """Return how many vectors each content of each arrival's current items has by its modality's encoder.

    Columns arrival, content_id, modality, vectors; sorted by the first two. What a later arrival replaced before it
    was embedded is no longer current and needs no vector.
    """
    names = pl.LazyFrame(
        {"modality": list(encoders), "encoder_id": [encoder.id for encoder in encoders.values()]},
        schema={"modality": pl.String, "encoder_id": pl.String},
    )
    stored = tables.scan("embeddings").group_by("content_id", "encoder_id").len("vectors")
    contents = current_items(tables).lazy().select("arrival", "content_id", "modality").unique()
    return (
        contents.join(names, on="modality", how="left")
        .join(stored, on=["content_id", "encoder_id"], how="left")
        .select("arrival", "content_id", "modality", pl.col("vectors").fill_null(0))
        .sort("arrival", "content_id")
        .collect()
    )
