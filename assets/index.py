"""index: Qdrant is brought up to the tables. Vectors are durable before; an index that is down loses nothing."""

import dagster as dg
import polars as pl

from assets.automation import per_corpus_change
from assets.embeddings import embeddings
from assets.running import explained
from assets.structure import clusters
from flywheel.config import WheelConfig
from flywheel.encoders import Encoder
from flywheel.index import VectorIndex, refresh_index
from flywheel.raw import current_items
from flywheel.tables import Tables

POOL = "vector_index"  # whatever opens the embedded index: it belongs to one process at a time


@dg.asset(
    key=["index", "vector_index"],
    deps=[embeddings, clusters],
    group_name="index",
    kinds={"qdrant"},
    owners=["team:data"],
    automation_condition=per_corpus_change,
    pool=POOL,
    code_version="1",
)
def vector_index(
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    encoders: dg.ResourceParam[dict[str, Encoder]],
    vector_index: dg.ResourceParam[VectorIndex],
) -> dg.MaterializeResult:
    """One point is one item: its content's vector, its place in the space of words, and a payload to filter by."""
    with explained(), vector_index as index:
        report = refresh_index(tables, index, encoders)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.total,
            "written": report.upserted,
            "removed": report.deleted,
            "stood already": report.unchanged,
            "index": f"{wheel.index.kind}: {wheel.index.collection if wheel.index.kind == 'server' else wheel.cache}",
        }
    )


@dg.asset_check(asset=vector_index, pool=POOL)
def index_matches_the_tables(
    tables: dg.ResourceParam[Tables],
    encoders: dg.ResourceParam[dict[str, Encoder]],
    vector_index: dg.ResourceParam[VectorIndex],
) -> dg.AssetCheckResult:
    """The index holds exactly the current items that have a vector, each with the content that stands in the tables."""
    with vector_index as index:
        held = {item: str(payload.get("content_id")) for item, payload in index.scroll().items()}
    expected = dict(searchable_items(tables, encoders).iter_rows())
    missing = sorted(expected.keys() - held.keys())
    stray = sorted(held.keys() - expected.keys())
    outdated = sorted(item for item in expected.keys() & held.keys() if expected[item] != held[item])
    return dg.AssetCheckResult(
        passed=not (missing or stray or outdated),
        description=f"{len(missing)} missing, {len(stray)} too many, {len(outdated)} outdated of {len(expected)}",
        metadata={"missing": missing[:20], "too many": stray[:20], "outdated": outdated[:20]},
    )


def searchable_items(tables: Tables, encoders: dict[str, Encoder]) -> pl.DataFrame:
    """Return item_id and content_id of the current items whose content has its encoder's vector, by item_id."""
    names = pl.DataFrame(
        {"modality": list(encoders), "encoder_id": [encoder.id for encoder in encoders.values()]},
        schema={"modality": pl.String, "encoder_id": pl.String},
    )
    stored = tables.scan("embeddings").select("content_id", "encoder_id").unique().collect()
    items = current_items(tables).join(names, on="modality")
    return items.join(stored, on=["content_id", "encoder_id"], how="semi").select("item_id", "content_id")
