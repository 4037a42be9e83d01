"""From the log of events to the answers that stand: reads `annotation_events`, `turns` and `jobs`."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.quality.agreement import Votes
from flywheel.tables import Tables
from flywheel.turns import read_turn

PEOPLE = ("human", "simulated")
MANIFEST = "manifest:"  # authors of labels that came with the data


def known_events(tables: Tables, turn: int, field: str, spec_version: str) -> pl.DataFrame:
    """Return the events a turn knows of: those of its arrivals and of all jobs up to its own.

    Adds `rank`, the order in which their origins became known.
    """
    jobs = tables.scan("jobs").filter(pl.col("turn") <= turn).select("turn", "job_id").collect()
    origins = [
        *sorted(read_turn(tables, turn).arrivals, key=lambda name: (len(name), name)),
        *jobs.sort("turn", "job_id")["job_id"],
    ]
    ranks = pl.LazyFrame(
        {"origin": origins, "rank": range(len(origins))}, schema={"origin": pl.String, "rank": pl.Int64}
    )
    asked = (pl.col("field") == field) & (pl.col("spec_version") == spec_version) & pl.col("origin").is_in(origins)
    return tables.scan("annotation_events").filter(asked).join(ranks, on="origin").collect()


def standing_votes(events: pl.DataFrame) -> pl.DataFrame:
    """Return the answers of people that stand, one row per vote, in an order that depends on their ids alone.

    An event that another one names as its `parent` (by event_id or annotation_uid) is replaced by it; of the rest,
    an annotation's latest counts, and none if that is a reject. A person has one vote per content, the latest; a
    manifest has one per item.

    Args:
        events: of `known_events`.

    Returns:
        content_id, item_id, author, value, source, sorted by content_id, author, item_id.
    """
    parents = events.filter(pl.col("parent") != "").select("annotation_uid", "parent")
    of_others = parents.join(
        events.select("annotation_uid").unique(), left_on="parent", right_on="annotation_uid", how="semi"
    ).filter(pl.col("parent") != pl.col("annotation_uid"))
    latest = (
        events.filter(
            ~pl.col("event_id").is_in(parents["parent"].to_list()),
            ~pl.col("annotation_uid").is_in(of_others["parent"].to_list()),
        )
        .sort("rank", "at", "event_id")
        .unique("annotation_uid", keep="last", maintain_order=True)
        .filter(pl.col("action") != "reject", pl.col("source").is_in(PEOPLE))
    )
    whose = pl.when(pl.col("author").str.starts_with(MANIFEST)).then(pl.col("item_id")).otherwise(pl.lit(""))
    return (
        latest.with_columns(whose=whose)
        .unique(["content_id", "author", "whose"], keep="last", maintain_order=True)
        .sort("content_id", "author", "item_id")
        .select("content_id", "item_id", "author", "value", "source")
    )


def encode_votes(votes: pl.DataFrame, classes: Sequence[str]) -> tuple[Votes, list[str], list[str]]:
    """Return votes as numbers, with the content_ids and the authors that the numbers stand for, both sorted."""
    contents, authors = votes["content_id"].unique().sort().to_list(), votes["author"].unique().sort().to_list()
    return (
        Votes(
            items=_codes(votes["content_id"], contents),
            annotators=_codes(votes["author"], authors),
            values=_codes(votes["value"], classes),
            n_items=len(contents),
            n_annotators=len(authors),
            n_classes=len(classes),
        ),
        contents,
        authors,
    )


def _codes(column: pl.Series, names: Sequence[str]) -> NDArray[np.int64]:
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[name] for name in column], dtype=np.int64)
