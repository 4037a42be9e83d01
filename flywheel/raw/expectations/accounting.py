"""Whether everything that landed is accounted for: polars computes aggregates, Great Expectations judges them."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from flywheel.objects import Source
from flywheel.raw.companions import holds_data
from flywheel.raw.expectations.great import known_expectations, validate_frame
from flywheel.raw.reasons import MISSING_OBJECT, SPLITS
from flywheel.raw.statements import Spec
from flywheel.tables import Tables

PLACE = ["source", "key"]


@dataclass(frozen=True)
class Expectation:
    """One statement, whether it holds, and the number it was judged by."""

    statement: str
    passed: bool
    found: float
    expected: str


@dataclass(frozen=True)
class ExpectationReport:
    """All statements about an arrival; `passed` if every one holds."""

    passed: bool
    markdown: str  # a table, for people
    results: tuple[Expectation, ...]


# aggregate -> the statement it decides
STATEMENTS = {
    "unanswered": "every object has an item or a quarantine row",
    "repeated": "item ids are unique",
    "without_content": "every item has a content id",
    "strange_splits": f"every split is one of {', '.join(SPLITS)}",
    "strange_labels": "every label is in the label spec",
    "refused_share": "few objects and rows are refused",
}


def check_arrival(
    items: pl.DataFrame,
    quarantine: pl.DataFrame,
    spec: Spec,
    *,
    objects: pl.DataFrame | None = None,
    events: pl.DataFrame | None = None,
    max_refused: float = 0.5,
) -> ExpectationReport:
    """Judge what registration left for one arrival.

    Args:
        items: the arrival's rows of `items`.
        quarantine: its rows of `quarantine`.
        spec: the label spec; its classes are the labels there may be.
        objects: the arrival's rows of `objects` that hold data themselves; without them nothing is said about whether
            every object was answered.
        events: its rows of `annotation_events`; without them nothing is said about labels.
        max_refused: largest share of refused objects and rows among all, 0..1. Objects that a manifest names and
            that are not there (yet) do not count.
    """
    aggregates = _aggregates(items, quarantine, spec, objects, events)
    results = tuple(_judge(aggregates, max_refused))
    lines = [f"| {'✓' if r.passed else '✗'} | {r.statement} | {r.found:g} | {r.expected} |" for r in results]
    markdown = "\n".join(["| | expectation | found | expected |", "|---|---|---|---|", *lines])
    return ExpectationReport(all(result.passed for result in results), markdown, results)


def check_registered(
    tables: Tables, sources: Mapping[str, Source], spec: Spec, arrival: str, *, max_refused: float = 0.5
) -> ExpectationReport:
    """Judge a registered arrival by all that stands in the tables; see `check_arrival`."""
    objects = tables.read("objects", arrival=arrival)
    configs = {sid: source.config for sid, source in sources.items()}
    data = [holds_data(configs.get(sid), key) for sid, key in objects.select(PLACE).iter_rows()]
    return check_arrival(
        tables.read("items", arrival=arrival),
        tables.read("quarantine", arrival=arrival),
        spec,
        objects=objects.filter(pl.Series(data, dtype=pl.Boolean)),
        events=tables.read("annotation_events", origin=arrival),
        max_refused=max_refused,
    )


def _aggregates(
    items: pl.DataFrame,
    quarantine: pl.DataFrame,
    spec: Spec,
    objects: pl.DataFrame | None,
    events: pl.DataFrame | None,
) -> dict[str, float]:
    refused = quarantine.filter(pl.col("reason") != MISSING_OBJECT).select("source", "key", "part").unique().height
    active = items.filter(pl.col("status") == "active").height
    found: dict[str, float] = {
        "repeated": items.height - items["item_id"].n_unique(),
        "without_content": items.filter(pl.col("content_id").is_null() | (pl.col("content_id") == "")).height,
        "strange_splits": items.filter(~pl.col("split").is_in(list(SPLITS)).fill_null(False)).height,
        "refused_share": refused / max(1, refused + active),
    }
    if objects is not None:
        answered = pl.concat([items.select(PLACE), quarantine.select(PLACE)])
        landed = objects.filter(pl.col("state") == "active").select(PLACE)
        found["unanswered"] = landed.join(answered, on=PLACE, how="anti").height
    if events is not None:
        mine = events.filter(pl.col("field") == spec.field, pl.col("spec_version") == spec.version)
        found["strange_labels"] = mine.filter(~pl.col("value").is_in(list(spec.classes)).fill_null(False)).height
    return {name: float(found[name]) for name in STATEMENTS if name in found}


def _judge(aggregates: dict[str, float], max_refused: float) -> list[Expectation]:
    kind = known_expectations()["expect_column_max_to_be_between"]
    judged = [kind(column=name, min_value=0, max_value=_limit(name, max_refused)) for name in aggregates]
    results = validate_frame({name: [value] for name, value in aggregates.items()}, judged, "arrival")
    return [
        Expectation(STATEMENTS[name], bool(result.success), value, f"at most {_limit(name, max_refused):g}")
        for (name, value), result in zip(aggregates.items(), results, strict=True)
    ]


def _limit(name: str, max_refused: float) -> float:
    return max_refused if name == "refused_share" else 0.0
