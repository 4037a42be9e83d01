"""gaps: where the labels and the model fall short, at the start of one turn."""

import dagster as dg
import polars as pl

from assets.automation import once_per_turn
from assets.partitions import turns
from assets.plots import interval_bars
from assets.running import encoder_id, station
from assets.shown import picture, place, preview
from assets.structure import clusters, duplicates
from flywheel.config import WheelConfig
from flywheel.encoders import Encoder
from flywheel.gaps import report_gaps
from flywheel.tables import Tables
from flywheel.turns import open_turn

SHOWN = ["rank", "kind", "predicate", "size", "labeled", "value", "expected", "evidence", "advice", "expected_gain"]
BARS = 15


@dg.asset(
    key=["gaps", "gap_report"],
    deps=[clusters, duplicates],
    group_name="gaps",
    kinds={"polars", "deltalake"},
    owners=["team:labeling"],
    partitions_def=turns,
    automation_condition=once_per_turn,
    code_version="1",
)
def gap_report(
    context: dg.AssetExecutionContext,
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    encoders: dg.ResourceParam[dict[str, Encoder]],
) -> dg.MaterializeResult:
    """One row is one gap in words: data too thinly labeled, or a slice where the model errs, with evidence and advice.

    It reads the tables as they stood when the turn was opened; the way back from the last turn's evaluation
    is through the tables, not through the graph.
    """
    with station(context, tables) as turn:
        budget = wheel.budget.money_per_turn
        open_turn(tables, turn, trigger="by hand", reason="its gap report was asked for", budget=budget)
        found = report_gaps(tables, wheel, encoder_id(wheel, encoders), turn).sort("rank")
    bars = found.head(BARS)
    metadata: dict[str, dg.MetadataValue] = {}
    if not bars.is_empty():
        names = [f"{row['rank']}. {row['predicate']}" for row in bars.iter_rows(named=True)]
        value, low, high, expected = (bars[name].to_list() for name in ("value", "low", "high", "expected"))
        title = "share of labels or error inside (bar, 95 % interval), expected (tick)"
        png = interval_bars(names, value, low, high, expected, title)
        metadata["gaps, drawn"] = picture(png, "gaps with intervals")
    gaps = found.filter(pl.col("kind") != "hard")
    if not gaps.is_empty():
        metadata["first gap"] = dg.MetadataValue.text(f"{gaps['predicate'][0]}: {gaps['evidence'][0]}")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": found.height,
            "data gaps": found.filter(pl.col("kind") == "data").height,
            "model gaps": found.filter(pl.col("kind") == "model").height,
            "hard slices": found.filter(pl.col("kind") == "hard").height,
            "gaps": preview(found.select(SHOWN), rows=20),
            "table": place(tables, "gaps"),
            **metadata,
        }
    )
