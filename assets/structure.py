"""structure: the neighbor graph over distinct contents, and what follows from it: duplicates, clusters, the map."""

import json
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import polars as pl

from assets.automation import corpus_wide, per_corpus_change
from assets.embeddings import embeddings
from assets.running import explained
from assets.shown import picture, place, preview
from flywheel.config import WheelConfig
from flywheel.encoders import Content, Encoder, show, shown_as
from flywheel.objects import Source
from flywheel.raw import current_items, read_contents
from flywheel.structure import build_clusters, build_neighbors, draw_map, find_duplicates, lay_out_map
from flywheel.tables import Tables


@dg.asset(
    key=["structure", "neighbor_graph"],
    deps=[embeddings],
    group_name="structure",
    kinds={"faiss", "deltalake"},
    owners=["team:data"],
    automation_condition=per_corpus_change,
    code_version="1",
)
def neighbor_graph(
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    encoders: dg.ResourceParam[dict[str, Encoder]],
) -> dg.MaterializeResult:
    """One row is one distinct content with its nearest neighbors and their cosines, nearest first."""
    with explained():
        for modality, encoder in present(tables, encoders):
            build_neighbors(tables, encoder.id, modality, k=wheel.structure.neighbors)
    rows = tables.read("neighbors")
    nearest = rows.select("modality", pl.col("similarities").list.first().alias("cosine of the nearest"))
    spread = nearest.group_by("modality").agg(
        pl.len().alias("contents"),
        *(pl.col("cosine of the nearest").quantile(q).alias(f"nearest, {q:.0%} quantile") for q in (0.05, 0.5, 0.95)),
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows.height,
            "modalities": preview(spread.sort("modality")),
            "table": place(tables, "neighbors"),
        }
    )


@dg.asset(
    key=["structure", "duplicates"],
    deps=[neighbor_graph],
    group_name="structure",
    kinds={"polars", "deltalake"},
    owners=["team:data"],
    automation_condition=corpus_wide,
    code_version="1",
)
def duplicates(
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    encoders: dg.ResourceParam[dict[str, Encoder]],
) -> dg.MaterializeResult:
    """One row is one item in a group of exact or near duplicates, and whether it is the one that is kept."""
    with explained():
        for modality, encoder in present(tables, encoders):
            find_duplicates(tables, encoder.id, modality, threshold=wheel.structure.near_duplicate)
    rows = tables.read("duplicates")
    kinds = rows.group_by("modality", "kind").agg(
        pl.len().alias("items"), pl.col("group_id").n_unique().alias("groups"), (~pl.col("kept")).sum().alias("folded")
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows.height,
            "groups": rows["group_id"].n_unique(),
            "kinds": preview(kinds.sort("modality", "kind")),
            "table": place(tables, "duplicates"),
        }
    )


@dg.asset(
    key=["structure", "clusters"],
    deps=[neighbor_graph],
    group_name="structure",
    kinds={"faiss", "scikitlearn"},
    owners=["team:data"],
    automation_condition=corpus_wide,
    code_version="1",
)
def clusters(
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    sources: dg.ResourceParam[dict[str, Source]],
    encoders: dg.ResourceParam[dict[str, Encoder]],
) -> dg.MaterializeResult:
    """One row is one content's cluster at one level; clusters keep their ids while the corpus grows, and have names."""
    options = wheel.structure
    with explained():
        for modality, encoder in present(tables, encoders):
            words = wheel.label_spec.classes if modality == wheel.label_spec.modality else ()
            # read only if there are clusters to name; pictures are named through the space of words
            texts = words_of(tables, sources, modality) if shown_as(modality) == "text" else None
            if not encoder.words_id:  # nothing but what is said about its members can name a cluster of these
                texts = said_of(tables, modality)
            build_clusters(
                tables,
                encoder,
                sizes=options.cluster_sizes,
                seed=options.seed,
                vocabulary=words,
                texts=texts,
                words_in=wheel.cache / "words",
            )
    rows, names = tables.read("clusters"), tables.read("cluster_names")
    largest = names.sort(["modality", "level", "size"], descending=[False, False, True])
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows.height,
            "clusters": names.height,
            "new clusters": names.filter(pl.col("event") == "birth").height,
            "names": preview(largest.select("modality", "level", "name", "size", "event"), rows=30),
            "table": place(tables, "clusters"),
        }
    )


@dg.asset(
    key=["structure", "data_map"],
    deps=[neighbor_graph, clusters],
    group_name="structure",
    kinds={"matplotlib", "deltalake"},
    owners=["team:data"],
    automation_condition=corpus_wide,
    code_version="1",
)
def data_map(
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    encoders: dg.ResourceParam[dict[str, Encoder]],
) -> dg.MaterializeResult:
    """One row is one content's point on a 2-D map on which similar contents lie together."""
    metadata: dict[str, dg.MetadataValue] = {}
    with explained():
        for modality, encoder in present(tables, encoders):
            lay_out_map(tables, encoder.id, modality, seed=wheel.structure.seed)
            metadata[f"map of {modality}s"] = picture(draw_map(tables, modality), f"map of {modality}s")
    rows = tables.read("map_points")
    return dg.MaterializeResult(
        metadata={"dagster/row_count": rows.height, "table": place(tables, "map_points"), **metadata}
    )


def words_of(tables: Tables, sources: dict[str, Source], modality: str) -> Iterator[Content]:
    """Yield each distinct content of a modality as a person reads it; records as they are."""
    for content in read_contents(sources, contents_of(tables, modality)):
        yield content if modality == "record" else replace(content, data=show(modality, content.data).data)


def said_of(tables: Tables, modality: str) -> Iterator[Content]:
    """Yield, for each distinct content of a modality, the words among its attributes in place of its data."""
    for content_id, attributes in contents_of(tables, modality).select("content_id", "attributes").iter_rows():
        words = [value for value in json.loads(attributes).values() if isinstance(value, str)]
        yield Content(content_id, modality, "; ".join(words).encode("utf-8"))


def contents_of(tables: Tables, modality: str) -> pl.DataFrame:
    """Return one current item for each distinct content of a modality."""
    items = current_items(tables).filter(pl.col("modality") == modality)
    return items.unique("content_id", keep="first", maintain_order=True)


def present(tables: Tables, encoders: dict[str, Encoder]) -> Iterator[tuple[str, Encoder]]:
    """Yield the modalities that the corpus holds now, with their encoders, in alphabetical order."""
    found = set(current_items(tables)["modality"])
    yield from ((modality, encoders[modality]) for modality in sorted(found))
