"""Lays the report out as one HTML file that works from disk, with nothing loaded from elsewhere and no script."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from flywheel.config import WheelConfig
from flywheel.corpus import load_corpus, members
from flywheel.errors import ConfigError, DataError, VersionErased
from flywheel.modeling import Interval
from flywheel.objects import ObjectStore, Source
from flywheel.raw import current_items, current_quarantine
from flywheel.report.charts import Bar, draw_accuracy
from flywheel.report.facts import TurnFacts, answer_sources, gather_turn, shown_items
from flywheel.report.previews import data_uri, make_previews
from flywheel.structure import draw_map
from flywheel.tables import Tables

log = logging.getLogger("flywheel.report")

PATH = "reports/report.html"
SHOWN = 24  # items listed per arm
EXAMPLES = 8  # items shown per gap
MOST_BARS = 16
MOST_REFUSALS = 8
MARKED = {"seed": "first labels", "random": "random control", "chosen": "chosen"}  # arms on the map
SPACE = "\N{NO-BREAK SPACE}"


def write_report(
    tables: Tables,
    sources: Mapping[str, Source],
    files: ObjectStore,
    config: WheelConfig,
    *,
    turns: Sequence[int] | None = None,
    title: str = "Flywheel report",
    notes: Sequence[str] = (),
) -> str:
    """Write the report of some turns and return where a person finds it.

    Everything from data (keys, texts, class names, reasons) is escaped. A report that would not change is not
    written again.

    Args:
        turns: the turns to tell of, all that were opened when left out.
        title: headline of the page.
        notes: sentences that say what was simulated or is otherwise particular; they stand near the top.

    Raises:
        DataError: a turn in `turns` was never opened.

    Cost: a map per turn, and thumbnails of what is shown.
    """
    opened = sorted(tables.scan("turns").select("turn").collect()["turn"].to_list())
    facts = [
        gather_turn(tables, config, turn, shown=SHOWN, examples=EXAMPLES)
        for turn in (opened if turns is None else sorted(turns))
    ]
    items = current_items(tables)
    content = render(
        "report.html",
        title=title,
        notes=list(notes),
        name=config.name,
        spec=config.label_spec,
        turns=facts,
        items=items.height,
        splits=dict(items.group_by("split").len().sort("split").iter_rows()),
        maps={turn.number: _map(tables, config, turn) for turn in facts},
        charts={turn.number: _chart(turn) for turn in facts},
        previews=make_previews(sources, items, shown_items(facts)),
        answers=answer_sources(tables),
        quarantine=_quarantine(tables),
    ).encode("utf-8", "replace")
    if not files.exists(PATH) or files.read(PATH) != content:
        files.write(PATH, content)
    return files.address(PATH)


def render(template: str, **facts: object) -> str:
    """Return a page as HTML."""
    environment = Environment(
        loader=PackageLoader("flywheel.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"percent": percent, "points": points, "span": span, "money": money, "spread": spread}
    cast(Any, environment).filters.update(filters)
    return environment.get_template(template).render(**facts)


def percent(share: float | None) -> str:
    """Return a share as text: 0.841 -> "84.1 %", never broken over two lines."""
    return "–" if share is None else f"{100 * share:.1f}{SPACE}%"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def span(measured: Interval) -> str:
    """Return an interval of a share: "81.0–86.9 %"."""
    return f"{100 * measured.low:.1f}–{100 * measured.high:.1f}{SPACE}%"


def spread(measured: Interval) -> str:
    """Return an interval of a difference in percentage points."""
    return f"{points(measured.low)} to {points(measured.high)}"


def money(amount: float) -> str:
    """Return an amount in the vendor's currency."""
    return f"{amount:,.2f}"


def _map(tables: Tables, config: WheelConfig, turn: TurnFacts) -> str:
    """The data map with the turn's labels, choice and first gap, as a data URI; "" where no map stands."""
    training = tables.read("training_sets", turn=turn.number).filter(pl.col("split") == "train")
    batch = tables.read("batches", turn=turn.number)
    before = training.join(batch, on="content_id", how="anti")
    overlays = {
        "in the first gap": _gap_members(tables, config, turn),
        "labeled before": before["content_id"].unique().sort().to_list(),
        **{name: batch.filter(pl.col("arm") == arm)["content_id"].to_list() for arm, name in MARKED.items()},
    }
    try:
        picture = draw_map(
            tables,
            config.label_spec.modality,
            highlight={name: ids for name, ids in overlays.items() if ids},
            title=f"Turn {turn.number}: what there is, what is labeled, what was chosen",
        )
    except DataError as error:
        log.info("the report goes without a map: %s", error)
        return ""
    return data_uri(picture)


def _gap_members(tables: Tables, config: WheelConfig, turn: TurnFacts) -> list[str]:
    models = tables.scan("models").filter(pl.col("turn") <= turn.number).collect().sort("turn")
    if not turn.gaps or models.is_empty():
        return []
    try:
        frame = load_corpus(tables, config, models["encoder_id"][-1], turn.number).frame
    except VersionErased as gone:
        log.info("turn %d goes without its first gap on the map: %s", turn.number, gone)
        return []
    try:
        inside = members(frame, turn.gaps[0]["expression"])
    except ConfigError as error:
        log.warning("gap %s is not on the map: %s", turn.gaps[0]["gap_id"], error)
        return []
    return frame.filter(pl.Series(inside))["content_id"].to_list()


def _chart(turn: TurnFacts) -> str:
    """Accuracy per slice as a data URI; "" where nothing was evaluated."""
    # two gaps of one report may mean the same items: one bar is enough
    bars = {(part.predicate, part.n): Bar(part.predicate, part.n, part.before, part.after) for part in turn.slices}
    return data_uri(draw_accuracy(list(bars.values())[:MOST_BARS])) if bars else ""


def _quarantine(tables: Tables) -> dict[str, object]:
    refused = current_quarantine(tables)
    reasons = refused.group_by("reason").len().sort("len", "reason", descending=[True, False])
    rows = refused.select("reason", "source", "key", "part", "message").head(MOST_REFUSALS)
    return {"total": refused.height, "reasons": list(reasons.iter_rows()), "rows": list(rows.iter_rows(named=True))}
