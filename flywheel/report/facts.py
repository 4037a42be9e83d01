"""Gathers what the report says about each turn, from the tables alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from flywheel.config import WheelConfig
from flywheel.corpus import latest_by_turn
from flywheel.modeling import Interval, wilson
from flywheel.tables import Tables
from flywheel.turns import read_turn, turn_key

ARMS = {
    "chosen": "Chosen by the wheel",
    "random": "Random control",
    "seed": "First training labels",
    "evaluation": "Evaluation, drawn at random",
}
DOUBTED = 0.67  # agreement from which a majority of three is in doubt
MOST_PEOPLE = 12


@dataclass(frozen=True)
class SliceFacts:
    """Accuracy on one slice; `gain` is the chosen arm's accuracy minus the random one's at equal budget."""

    name: str
    predicate: str
    n: int
    after: Interval
    before: Interval | None
    gain: Interval | None

    @property
    def is_gap(self) -> bool:
        """Whether a gap report named it."""
        return self.name.startswith("gap:")


@dataclass(frozen=True)
class ArmFacts:
    """The items one arm asked for, in the order of choice, with what became of them."""

    arm: str
    title: str
    rows: list[dict[str, Any]]
    total: int


@dataclass(frozen=True)
class QualityFacts:
    """How good the labels are that a turn brought."""

    new: int
    agreement: float | None
    doubted: int
    people: list[dict[str, Any]]
    methods: list[tuple[str, int]]


@dataclass(frozen=True)
class TurnFacts:
    """One turn, for the page."""

    number: int
    trigger: str
    reason: str
    state: str
    money: float
    labels_spent: int
    training: int
    evaluation: int
    unseen: list[str]
    overall: SliceFacts | None
    change: Interval | None
    equal_budget: tuple[int, Interval | None, Interval | None] | None  # examples, chosen, random
    slices: list[SliceFacts]
    gaps: list[dict[str, Any]]
    hard: list[dict[str, Any]]
    arms: list[ArmFacts]
    quality: QualityFacts | None

    @property
    def judged(self) -> dict[str, SliceFacts]:
        """The slices by their names."""
        return {part.name: part for part in self.slices}


def gather_turn(tables: Tables, config: WheelConfig, turn: int, *, shown: int, examples: int) -> TurnFacts:
    """Return the facts of one turn.

    Args:
        shown: rows per arm that are listed.
        examples: items per gap that are shown.
    """
    opened = read_turn(tables, turn)
    training = tables.read("training_sets", turn=turn)
    train = training.filter(pl.col("split") == "train")
    evaluations = tables.read("evaluations", origin=turn_key(turn))
    slices = _slices(evaluations)
    jobs = tables.read("jobs", turn=turn).filter(pl.col("state") != "intent")
    gaps = [_gap(row, examples) for row in tables.read("gaps", turn=turn).sort("rank").iter_rows(named=True)]
    return TurnFacts(
        number=turn,
        trigger=opened.trigger,
        reason=opened.reason,
        state=opened.state,
        money=float(jobs["cost"].sum()),
        labels_spent=int(jobs["tasks"].sum()),
        training=train["content_id"].n_unique(),
        evaluation=training.filter(pl.col("split") == "eval")["content_id"].n_unique(),
        unseen=[name for name in config.label_spec.classes if name not in set(train["label"])] if train.height else [],
        overall=next((part for part in slices if part.name == "all"), None),
        change=_measure(evaluations, "deployed", "all", "accuracy_minus_previous"),
        equal_budget=_equal_budget(tables, evaluations, turn),
        slices=slices,
        gaps=[gap for gap in gaps if gap["kind"] != "hard"],
        hard=[gap for gap in gaps if gap["kind"] == "hard"],
        arms=_arms(tables, config, turn, shown),
        quality=_quality(tables, config, turn),
    )


def answer_sources(tables: Tables) -> list[tuple[str, int]]:
    """Return who answered over all turns (human, model, rule, ai, simulated) and how many answers each, most first."""
    counted = tables.scan("annotation_events").group_by("source").len().collect().sort("len", descending=True)
    return list(counted.sort(-pl.col("len").cast(pl.Int64), "source").iter_rows())


def _events(tables: Tables, turn: int) -> pl.DataFrame:
    jobs = tables.read("jobs", turn=turn)["job_id"].to_list()
    return tables.scan("annotation_events").filter(pl.col("origin").is_in(jobs)).collect()


def _measure(evaluations: pl.DataFrame, arm: str, part: str, metric: str) -> Interval | None:
    rows = evaluations.filter(pl.col("arm") == arm, pl.col("slice") == part, pl.col("metric") == metric)
    return Interval(*rows.select("value", "low", "high").row(0)) if rows.height else None


def _slices(evaluations: pl.DataFrame) -> list[SliceFacts]:
    """Accuracy of the deployed model per slice: all, then gaps, classes and clusters, each worst first."""
    accuracy = evaluations.filter(pl.col("metric") == "accuracy", pl.col("arm") == "deployed")
    slices: list[SliceFacts] = []
    for row in accuracy.iter_rows(named=True):
        baseline, n = row["baseline"], row["n"]
        before = None if baseline is None else wilson(round(baseline * n), n)
        gain = _measure(evaluations, "chosen", row["slice"], "accuracy_minus_random")
        after = Interval(row["value"], row["low"], row["high"])
        slices.append(SliceFacts(row["slice"], row["predicate"], n, after, before, gain))
    order = {"all": 0, "gap": 1, "class": 2, "cluster": 3}
    kind = {part.name: order.get(part.name.replace("=", ":").split(":")[0], 4) for part in slices}
    return sorted(slices, key=lambda part: (kind[part.name], part.after.value, part.name))


def _equal_budget(
    tables: Tables, evaluations: pl.DataFrame, turn: int
) -> tuple[int, Interval | None, Interval | None] | None:
    rows = tables.read("models", turn=turn).filter(pl.col("arm") == "chosen")
    if rows.is_empty():
        return None
    chosen, drawn = (_measure(evaluations, arm, "all", "accuracy") for arm in ("chosen", "random"))
    return int(rows["examples"][0]), chosen, drawn


def _gap(row: dict[str, Any], examples: int) -> dict[str, Any]:
    return row | {"examples": row["examples"][:examples]}


def _arms(tables: Tables, config: WheelConfig, turn: int, shown: int) -> list[ArmFacts]:
    spec = config.label_spec
    labels = latest_by_turn(tables, "labels", turn, ("content_id", "field", "spec_version")).filter(
        pl.col("field") == spec.field, pl.col("spec_version") == spec.version
    )
    batch = tables.read("batches", turn=turn).join(
        labels.select("content_id", label="value"), on="content_id", how="left"
    )
    arms: list[ArmFacts] = []
    for arm, title in ARMS.items():
        rows = batch.filter(pl.col("arm") == arm).sort("position", "item_id")
        if rows.height:
            arms.append(ArmFacts(arm, title, list(rows.head(shown).iter_rows(named=True)), rows.height))
    return arms


def _quality(tables: Tables, config: WheelConfig, turn: int) -> QualityFacts | None:
    spec = config.label_spec
    labels = tables.read("labels", turn=turn).filter(
        pl.col("field") == spec.field, pl.col("spec_version") == spec.version, pl.col("votes") > 0
    )
    if labels.is_empty():
        return None
    events = _events(tables, turn).join(labels.select("content_id", label="value"), on="content_id")
    people = (
        events.group_by("author", "source")
        .agg(answers=pl.len(), agreed=(pl.col("value") == pl.col("label")).mean())
        .sort("answers", "author", descending=[True, False])
    )
    asked = labels.filter(pl.col("votes") > 1)
    agreement = asked["agreement"].mean()
    return QualityFacts(
        new=labels.height,
        agreement=agreement if isinstance(agreement, float) else None,
        doubted=asked.filter(pl.col("agreement") < DOUBTED).height,
        people=list(people.head(MOST_PEOPLE).iter_rows(named=True)),
        methods=list(labels.group_by("method").len().sort("method").iter_rows()),
    )


def shown_items(turns: Sequence[TurnFacts]) -> list[str]:
    """Return the ids of all items the page shows, sorted."""
    gaps = [item for turn in turns for gap in [*turn.gaps, *turn.hard] for item in gap["examples"]]
    chosen = [row["item_id"] for turn in turns for arm in turn.arms for row in arm.rows]
    return sorted({*gaps, *chosen})
