"""Candidate slices and what stands in each of them.

Cells are attribute values, classes, and every node of a tree over the finest clusters, so that a gap is found
at its own size whatever size the clusters have. Counts add up, so a cell costs no pass over the items.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage

from flywheel.config import TargetConfig
from flywheel.corpus import Corpus
from flywheel.errors import ConfigError

# Ward linkage keeps k² distances: beyond this the levels of the clustering itself are the tree.
MOST_LEAVES = 3000
MOST_VALUES = 50
QUANTILES = 4

COUNTS = ("pool", "labeled", "evaluated", "errors", "eval_class")


@dataclass(frozen=True)
class Counts:
    """What stands in a cell: contents that may train, labeled ones of them, judged ones, errors among those."""

    pool: int
    labeled: int
    evaluated: int
    errors: int


@dataclass(frozen=True)
class Cell:
    """One candidate slice: in words, as polars SQL over the corpus frame, and its counts."""

    kind: str  # attribute | class | cluster
    predicate: str
    expression: str
    counts: Counts


def count_cells(corpus: Corpus) -> list[Cell]:
    """Return every cell of the corpus, attributes first. Cost: rows × columns, and clusters² for the tree."""
    marked = corpus.frame.with_columns(
        pool=pl.Series(corpus.trainable),
        labeled=pl.Series(corpus.trainable & corpus.labeled),
        evaluated=pl.Series(~corpus.trainable & corpus.labeled) & pl.col("predicted").is_not_null(),
    ).with_columns(errors=pl.col("evaluated") & (pl.col("predicted") != pl.col("label")))
    return [*_attribute_cells(marked), *_class_cells(marked), *_cluster_cells(marked, corpus)]


def target_cells(corpus: Corpus, target: TargetConfig, cells: Sequence[Cell]) -> list[Cell]:
    """Return a cell for every value of a declared target that no item has: the emptiest gap of all.

    Raises:
        ConfigError: no item has the target's attribute, or it is a number with too many values to have shares.
    """
    column = f"attr.{target.attribute}"
    known = sorted(name.removeprefix("attr.") for name in corpus.frame.columns if name.startswith("attr."))
    if target.attribute not in known:
        raise ConfigError(f"target.attribute '{target.attribute}': no item has it; the items have {known}")
    if corpus.frame[column].n_unique() > MOST_VALUES:
        raise ConfigError(
            f"target.attribute '{target.attribute}' has more than {MOST_VALUES} values; shares need one with few"
        )
    found = {cell.predicate for cell in cells}
    missing = [value for value in target.shares if value_predicate(target.attribute, value) not in found]
    nothing = Counts(0, 0, 0, 0)
    return [
        Cell("attribute", value_predicate(target.attribute, value), f"{_as_text(column)} = {literal(value)}", nothing)
        for value in missing
    ]


def value_predicate(attribute: str, value: object) -> str:
    """Return in words that an attribute has a value; numbers without needless digits."""
    return f"{attribute} is {value:g}" if isinstance(value, float) else f"{attribute} is {value}"


def totals(corpus: Corpus) -> Counts:
    """Return the counts of the whole corpus."""
    evaluated = corpus.frame.filter(pl.col("split") == "eval", pl.col("label").is_not_null())
    judged = evaluated.filter(pl.col("predicted").is_not_null())
    return Counts(
        pool=int(corpus.trainable.sum()),
        labeled=int((corpus.trainable & corpus.labeled).sum()),
        evaluated=judged.height,
        errors=judged.filter(pl.col("predicted") != pl.col("label")).height,
    )


def _group(marked: pl.DataFrame, column: str) -> list[tuple[str, Counts]]:
    sums = [pl.col(name).sum() for name in ("pool", "labeled", "evaluated", "errors")]
    grouped = marked.drop_nulls(column).group_by(column).agg(sums).sort(column)
    return [(value, Counts(*map(int, counts))) for value, *counts in grouped.iter_rows()]


def _attribute_cells(marked: pl.DataFrame) -> Iterator[Cell]:
    for column in [name for name in marked.columns if name.startswith("attr.")]:
        name = column.removeprefix("attr.")
        if marked[column].dtype == pl.Float64:
            yield from _range_cells(marked, column, name)
        elif marked[column].n_unique() <= MOST_VALUES:
            for value, counts in _group(marked, column):
                yield Cell("attribute", value_predicate(name, value), f"{quoted(column)} = {literal(value)}", counts)


def _range_cells(marked: pl.DataFrame, column: str, name: str) -> Iterator[Cell]:
    """Numbers with few values are values; others are cut at their quartiles."""
    values = marked[column].drop_nulls()
    if values.n_unique() <= MOST_VALUES:
        for value, counts in _group(marked, column):
            yield Cell("attribute", value_predicate(name, value), f"{quoted(column)} = {float(value)!r}", counts)
        return
    cuts = [float(np.quantile(values.to_numpy(), q / QUANTILES)) for q in range(QUANTILES + 1)]
    for low, high in pairwise(cuts):
        last = high == cuts[-1]
        inside = (pl.col(column) >= low) & ((pl.col(column) <= high) if last else (pl.col(column) < high))
        [(_, counts)] = _group(marked.filter(inside).with_columns(all=pl.lit("all")), "all") or [
            ("", Counts(0, 0, 0, 0))
        ]
        upper = f"{quoted(column)} {'<=' if last else '<'} {high!r}"
        yield Cell("attribute", f"{name} from {low:g} to {high:g}", f"{quoted(column)} >= {low!r} AND {upper}", counts)


def _class_cells(marked: pl.DataFrame) -> Iterator[Cell]:
    for value, counts in _group(marked, "class.likely"):
        yield Cell("class", f"probably '{value}'", f'"class.likely" = {literal(value)}', counts)


def _cluster_cells(marked: pl.DataFrame, corpus: Corpus) -> Iterator[Cell]:
    levels = sorted(name for name in marked.columns if name.startswith("cluster."))
    if not levels:
        return
    finest = levels[-1]
    ids = corpus.cluster_centers["cluster_id"].to_list()
    if not 2 <= len(ids) <= MOST_LEAVES:
        for level in levels:
            for cluster, counts in _group(marked, level):
                yield _cluster_cell(level, [cluster], counts, corpus.cluster_names)
        return
    leaf_counts = dict(_group(marked, finest))
    per_leaf = [leaf_counts.get(cluster, Counts(0, 0, 0, 0)) for cluster in ids]
    for leaves in _tree(np.array(corpus.cluster_centers["center"].to_list(), np.float64)):
        inside = [per_leaf[leaf] for leaf in leaves]
        summed = Counts(*(sum(getattr(counts, name) for counts in inside) for name in COUNTS[:4]))
        yield _cluster_cell(finest, [ids[leaf] for leaf in leaves], summed, corpus.cluster_names)


def _tree(centers: NDArray[np.float64]) -> list[list[int]]:
    """Return the leaves under every node of a Ward tree over the centers, the root left out."""
    k = len(centers)
    nodes = [[leaf] for leaf in range(k)]
    merges = np.asarray(linkage(centers, "ward"))[:, :2].astype(int)
    pairs: list[tuple[int, int]] = [(int(left), int(right)) for left, right in merges]
    for left, right in pairs:
        nodes.append(sorted(nodes[left] + nodes[right]))
    return nodes[:-1]


def _cluster_cell(column: str, clusters: Sequence[str], counts: Counts, names: Mapping[str, str]) -> Cell:
    shown = [names.get(cluster, cluster) for cluster in clusters[:2]]
    more = f" and {len(clusters) - 2} more groups" if len(clusters) > 2 else ""
    inside = ", ".join(literal(cluster) for cluster in clusters)
    return Cell("cluster", f"like “{'” or “'.join(shown)}”{more}", f"{quoted(column)} IN ({inside})", counts)


def quoted(column: str) -> str:
    """Return a column name as SQL."""
    return '"' + column.replace('"', '""') + '"'


def _as_text(column: str) -> str:
    """Return a column of any type as text in SQL."""
    return f"CAST({quoted(column)} AS VARCHAR)"


def literal(value: object) -> str:
    """Return a value as SQL."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return "'" + str(value).replace("'", "''") + "'"
