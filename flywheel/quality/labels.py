"""label_quality: reads `annotation_events`, `turns`, `jobs`; writes `labels`."""

import logging
from collections.abc import Mapping, Sequence

import polars as pl

from flywheel.config import WheelConfig
from flywheel.quality.consensus import Consensus, find_consensus
from flywheel.quality.report import QualityReport, summarize
from flywheel.quality.votes import MANIFEST, encode_votes, known_events, standing_votes
from flywheel.records import SCHEMAS
from flywheel.tables import Tables

log = logging.getLogger("flywheel.quality")

STATE = ["content_id", "value", "confidence", "votes", "agreement", "method"]
DECIMALS = 4  # of shares and probabilities in `labels`: smaller moves are no news
WITHDRAWN = "withdrawn"


def derive_labels(tables: Tables, config: WheelConfig, turn: int, *, seed: int = 0) -> QualityReport:
    """Turn the answers known to `turn` into trusted labels; write those that differ from the state before it.

    Labels that came with the data stand as they are until an event rejects them. Otherwise people's answers decide
    (see `flywheel.quality.consensus`). A label whose answers were all rejected is written once more, withdrawn.

    Args:
        seed: of the bootstrap interval in the report; labels do not depend on it.

    Raises:
        DataError: the turn was never opened.
    """
    spec = config.label_spec
    votes = standing_votes(known_events(tables, turn, spec.field, spec.version))
    usable = votes.filter(pl.col("value").is_in(spec.classes))
    if usable.height < votes.height:
        log.warning("%d answers name none of the classes and are not counted", votes.height - usable.height)
    trusted = pl.col("author").str.starts_with(MANIFEST)
    given = _given_labels(usable.filter(trusted), spec.classes)
    asked = usable.filter(~trusted)
    consensus, voted = _voted_labels(asked, spec.classes)
    state = pl.concat([given, voted.join(given, on="content_id", how="anti")]).sort("content_id")
    before = labels_as_of(tables, turn - 1, spec.field, spec.version)
    news = _news(state, before.select(STATE))
    _write(tables, news, turn, spec.field, spec.version)
    return summarize(turn, state, before, news, asked, consensus, spec.classes, seed=seed)


def labels_as_of(
    tables: Tables, turn: int, field: str, spec_version: str, versions: Mapping[str, int] | None = None
) -> pl.DataFrame:
    """Return the labels that stand after `turn`: one row per content, the latest, sorted by content_id.

    Args:
        versions: table versions to read at, as a turn pinned them; the newest where left out.
    """
    asked = (pl.col("turn") <= turn) & (pl.col("field") == field) & (pl.col("spec_version") == spec_version)
    rows = tables.scan("labels", (versions or {}).get("labels")).filter(asked).collect()
    latest = rows.sort("turn").unique("content_id", keep="last", maintain_order=True)
    return latest.filter(pl.col("method") != WITHDRAWN).sort("content_id")


def _given_labels(votes: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Return the labels that came with the data; where copies of one content disagree, the most frequent one."""
    order = pl.col("value").replace_strict(list(classes), list(range(len(classes))), return_dtype=pl.Int64)
    total = pl.len().over("content_id")
    counted = votes.with_columns(votes=total).group_by("content_id", "votes", "value").agg(times=pl.len())
    share = (pl.col("times") / pl.col("votes")).round(DECIMALS)
    return (
        counted.with_columns(order=order)
        .sort("content_id", pl.col("times"), "order", descending=[False, True, False])
        .unique("content_id", keep="first", maintain_order=True)
        .with_columns(confidence=share, agreement=share, method=pl.lit("manifest"))
        .select(pl.col(name).cast(SCHEMAS["labels"][name]) for name in STATE)
    )


def _voted_labels(votes: pl.DataFrame, classes: Sequence[str]) -> tuple[Consensus, pl.DataFrame]:
    """Return the consensus of people's answers, and the labels it makes."""
    coded, contents, _ = encode_votes(votes, classes)
    consensus = find_consensus(coded)
    values = [classes[value] for value in consensus.values]
    counts = coded.counts
    total = counts.sum(axis=1)
    simulated = set(votes.filter(pl.col("source") == "simulated")["content_id"])
    suffix = [", simulated" if content in simulated else "" for content in contents]
    frame = pl.DataFrame(
        {
            "content_id": contents,
            "value": values,
            "confidence": consensus.confidence.round(DECIMALS),
            "votes": total,
            "agreement": (counts[range(len(contents)), consensus.values] / total).round(DECIMALS),
            "method": [consensus.method + end for end in suffix],
        },
        schema={name: SCHEMAS["labels"][name] for name in STATE},
    )
    return consensus, frame


def _news(state: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `state` that differ from `before`, and a withdrawn row for what it no longer holds."""
    changed = state.join(before, on=STATE, how="anti")
    gone = before.join(state, on="content_id", how="anti").with_columns(
        value=pl.lit(""),
        confidence=pl.lit(0.0),
        votes=pl.lit(0, dtype=pl.Int64),
        agreement=pl.lit(0.0),
        method=pl.lit(WITHDRAWN),
    )
    return pl.concat([changed, gone]).sort("content_id")


def _write(tables: Tables, news: pl.DataFrame, turn: int, field: str, spec_version: str) -> None:
    """Make `news` the turn's rows under this label spec; rows of another spec stay."""
    stored = tables.read("labels", turn=turn)
    others = stored.filter((pl.col("field") != field) | (pl.col("spec_version") != spec_version))
    rows = news.with_columns(
        turn=pl.lit(turn, dtype=pl.Int64), field=pl.lit(field), spec_version=pl.lit(spec_version)
    ).select(list(SCHEMAS["labels"]))
    tables.replace("labels", pl.concat([others, rows]), turn=turn)
