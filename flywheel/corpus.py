"""The corpus as one turn sees it: reads the tables pinned by the turn and the labels known before it.

One row per distinct content of the label spec's modality. Gaps are predicates over this frame, batches
are rows of it, and evaluation slices are its subsets, so that all three mean the same items.

Evaluation labels come in two halves, by a stable hash. One half **finds**: gaps are seen by its errors and
classes. The other half **judges**: the corpus does not know its labels, so no gap and no choice can lean on
them, and what is measured on it is not flattered by the search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.config import WheelConfig
from flywheel.encoders import Vectors, load_vectors
from flywheel.errors import ConfigError
from flywheel.identity import stable_fraction
from flywheel.raw import current_items
from flywheel.raw.attributes import spread_attributes
from flywheel.tables import Tables
from flywheel.turns import read_turn

LIKELY_NEIGHBORS = 10


@dataclass(frozen=True)
class Corpus:
    """What a turn knows about its data.

    `frame` has the columns `content_id` (sorted), `item_id` (the smallest of the items with this content),
    `source`, `key`, `part`, `split` (pool | eval; train counts as pool, eval wins), `label` and `agreement` (known
    before the turn, or null), `judges` (it has a label that only evaluation may see), `predicted`, `confidence` and
    `margin` (of the last deployed model, or null), `class.likely` (the label; where there is none, the vote of the
    nearest labeled contents), `attr.<name>` for every attribute and `cluster.<level>`. Row i of `vectors` belongs to
    row i of `frame`.
    """

    frame: pl.DataFrame
    vectors: Vectors
    cluster_names: Mapping[str, str]
    cluster_centers: pl.DataFrame  # cluster_id, center; finest level only

    @property
    def trainable(self) -> NDArray[np.bool_]:
        """Mask of what may be labeled for training: everything outside the evaluation split."""
        return self.frame["split"].ne("eval").to_numpy()

    @property
    def labeled(self) -> NDArray[np.bool_]:
        """Mask of what has a label."""
        return self.frame["label"].is_not_null().to_numpy()


def load_corpus(tables: Tables, config: WheelConfig, encoder_id: str, turn: int) -> Corpus:
    """Return the corpus as it stood when `turn` opened, with labels and predictions of the turns before."""
    pinned = read_turn(tables, turn).pinned
    items = current_items(tables, pinned).filter(pl.col("modality") == config.label_spec.modality)
    encoded = tables.scan("embeddings", pinned["embeddings"]).filter(pl.col("encoder_id") == encoder_id)
    items = items.join(encoded.select("content_id").unique().collect(), on="content_id", how="semi")
    frame = _fold(items)
    frame = _withhold(frame.join(_labels_before(tables, config, turn), on="content_id", how="left"))
    frame = frame.join(_predictions_before(tables, turn), on="content_id", how="left")
    clusters, names, centers = _clusters(tables, config.label_spec.modality, pinned)
    frame = frame.join(clusters, on="content_id", how="left").sort("content_id")
    ids = frame["content_id"].to_list()
    vectors = load_vectors(tables, encoder_id, ids, pinned) if ids else np.zeros((0, 1), np.float32)
    frame = frame.with_columns(pl.Series("class.likely", likely_classes(vectors, frame["label"].to_list()), pl.String))
    return Corpus(frame, vectors, names, centers)


def judges(content_ids: pl.Series) -> NDArray[np.bool_]:
    """Return which evaluation contents judge, rather than find: a half of all, by a stable hash of the id."""
    return np.array([stable_fraction(content, "judges") < 0.5 for content in content_ids], np.bool_)


def members(frame: pl.DataFrame, expression: str) -> NDArray[np.bool_]:
    """Return which rows of a corpus frame meet a gap's expression; unknown values do not.

    Raises:
        ConfigError: the expression names a column that the frame lacks, or is no expression.
    """
    try:
        hit = frame.select(pl.sql_expr(expression).fill_null(value=False).alias("hit"))["hit"]
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"the predicate {expression!r} does not fit the corpus: {error}") from None
    return hit.cast(pl.Boolean).to_numpy()


def likely_classes(vectors: Vectors, labels: Sequence[str | None]) -> list[str | None]:
    """Return each row's label, or the similarity-weighted vote of its nearest labeled rows.

    Args:
        vectors: (n, d) unit vectors.
        labels: a class or None per row.

    Cost: n × labeled × d multiply-adds, in blocks.
    """
    known = np.flatnonzero([label is not None for label in labels])
    if known.size == 0:
        return [None] * len(labels)
    classes = sorted({label for label in labels if label is not None})
    code = np.array([classes.index(str(labels[int(row)])) for row in known])
    likely: list[str | None] = list(labels)
    unknown = np.flatnonzero([label is None for label in labels])
    for start in range(0, unknown.size, 4096):
        rows = unknown[start : start + 4096]
        similarity = vectors[rows] @ vectors[known].T
        k = min(LIKELY_NEIGHBORS, known.size)
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        weight = np.exp(10 * np.take_along_axis(similarity, nearest, axis=1))
        votes = np.stack([np.where(code[nearest] == c, weight, 0).sum(1) for c in range(len(classes))], axis=1)
        for row, winner in zip(rows, votes.argmax(1), strict=True):
            likely[int(row)] = classes[int(winner)]
    return likely


def latest_by_turn(tables: Tables, table: str, turn: int, keys: Sequence[str]) -> pl.DataFrame:
    """Return the state of a turn-partitioned table at `turn`: of each key, its row of the latest turn <= it."""
    rows = tables.scan(table).filter(pl.col("turn") <= turn).sort("turn", *keys)
    return rows.unique(list(keys), keep="last", maintain_order=True).collect()


def _fold(items: pl.DataFrame) -> pl.DataFrame:
    """One row per content: the smallest item id stands for it; a content with an eval item is eval."""
    is_eval = (pl.col("split") == "eval").any().over("content_id")
    split = pl.when(is_eval).then(pl.lit("eval")).otherwise(pl.lit("pool"))
    folded = items.with_columns(split=split).sort("item_id").unique("content_id", keep="first", maintain_order=True)
    keep = folded.select("content_id", "item_id", "source", "key", "part", "split")
    attributes = spread_attributes(folded["attributes"].to_list())
    return keep.hstack(attributes.rename(lambda name: f"attr.{name}"))


def _withhold(frame: pl.DataFrame) -> pl.DataFrame:
    """Take the labels of the judging half out of the frame, and note that they exist."""
    judging = (frame["split"] == "eval") & pl.Series(judges(frame["content_id"]), dtype=pl.Boolean)
    withheld = judging & frame["label"].is_not_null()
    kept = pl.when(~pl.lit(withheld))
    return frame.with_columns(label=kept.then("label"), agreement=kept.then("agreement"), judges=withheld)


def _labels_before(tables: Tables, config: WheelConfig, turn: int) -> pl.DataFrame:
    """Labels that the turns before made trusted, and those that came with the data since."""
    spec = config.label_spec
    asked = (pl.col("field") == spec.field) & (pl.col("spec_version") == spec.version)
    state = latest_by_turn(tables, "labels", turn - 1, ("content_id", "field", "spec_version")).filter(asked)
    came = tables.scan("annotation_events").filter(
        asked,
        pl.col("author").str.starts_with("manifest:"),
        pl.col("origin").is_in(list(read_turn(tables, turn).arrivals)),
        pl.col("value").is_in(spec.classes),
    )
    corrected = came.filter(pl.col("parent") != "").select("parent")
    came = came.join(corrected, left_on="annotation_uid", right_on="parent", how="anti")
    given = came.sort("origin", "item_id").unique("content_id", keep="last", maintain_order=True).collect()
    given = given.join(state, on="content_id", how="anti")
    standing = state.filter(pl.col("method") != "withdrawn")
    return pl.concat(
        [
            standing.select("content_id", "agreement", label="value"),
            given.select("content_id", agreement=pl.lit(1.0), label="value"),
        ]
    )


def _predictions_before(tables: Tables, turn: int) -> pl.DataFrame:
    """Answers of the model deployed last: a turn that still waits for its vendor has none."""
    rows = tables.scan("predictions").filter(pl.col("turn") < turn, pl.col("arm") == "deployed")
    rows = rows.filter(pl.col("turn") == pl.col("turn").max())
    ranked = pl.col("probabilities").list.sort(descending=True)
    margin = ranked.list.get(0) - ranked.list.get(1, null_on_oob=True).fill_null(0.0)
    return rows.select("content_id", "predicted", "confidence", margin=margin).collect()


def _clusters(
    tables: Tables, modality: str, pinned: Mapping[str, int]
) -> tuple[pl.DataFrame, dict[str, str], pl.DataFrame]:
    """Columns `cluster.<level>` per content, names by cluster id, and the centers of the finest level."""
    rows = tables.scan("clusters", pinned["clusters"]).filter(pl.col("modality") == modality).collect()
    named = tables.scan("cluster_names", pinned["cluster_names"]).filter(pl.col("modality") == modality).collect()
    names = dict(zip(named["cluster_id"].to_list(), named["name"].to_list(), strict=True))
    if rows.is_empty():
        return pl.DataFrame(schema={"content_id": pl.String}), names, named.select("cluster_id", "center")
    wide = rows.pivot("level", index="content_id", values="cluster_id", aggregate_function="first")
    wide = wide.rename({column: f"cluster.{column}" for column in wide.columns if column != "content_id"})
    finest = named.filter(pl.col("level") == pl.col("level").max()).sort("cluster_id")
    return wide, names, finest.select("cluster_id", "center")
