"""When a turn is due. Every start and every refusal has a written reason; nothing here can run away.

Three brakes: one turn at a time is being prepared, a cap per day, and money that is ordered but not yet returned.
A turn that only waits for its vendor does not stop the next one; its labels train when they come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from flywheel.config import WheelConfig
from flywheel.errors import VersionErased
from flywheel.feedback.drift import SURE, find_drift
from flywheel.feedback.falls import Fall, falls_since
from flywheel.feedback.waiting import Waiting, open_turns, waiting_for
from flywheel.raw import current_items
from flywheel.tables import Tables
from flywheel.turns import Turn, latest_turn, read_turn

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Decision:
    """Whether a turn starts, by what trigger (one word, "" for a refusal), and why, for people."""

    start: bool
    trigger: str
    reason: str


def turn_due(tables: Tables, config: WheelConfig, now: datetime) -> Decision:
    """Decide whether the next turn starts now.

    A turn starts when there is none yet, when `triggers.new_items` items are new, when fewer are but lie elsewhere
    than the others (`triggers.drift`), or when a metric fell by `triggers.metric_drop`. A metric that
    started a turn starts another one only after it had recovered: after a report since then showed a fall below
    `triggers.metric_recovered`.

    Args:
        now: the time, UTC; turns opened in the 24 hours before it count against `triggers.max_turns_per_day`.
    """
    newest = latest_turn(tables)
    cause = _base_line(tables) if newest is None else _cause(tables, config, read_turn(tables, newest))
    if not cause.start:
        return cause
    refusal = _unfinished(tables, config) or _too_many(tables, config, now) or _too_much_money(tables, config, newest)
    return Decision(False, "", f"{cause.reason}; but {refusal}") if refusal else cause


def open_money(tables: Tables) -> float:
    """Return the money that is ordered, or about to be, and not yet returned."""
    states = pl.col("state").is_in(["intent", "submitted"])
    return float(tables.scan("jobs").filter(states).select(pl.col("cost").sum()).collect().item())


def planned_money(config: WheelConfig, turn: int) -> float:
    """Return the most a turn's batch can cost, control arm included."""
    budget = config.budget
    items = budget.seed_labels if turn == 0 else budget.labels_per_turn * (1 + budget.control_share)
    asked = (items + (budget.evaluation_labels if turn == 0 else 0)) * budget.votes * config.vendor.price
    return min(asked, budget.money_per_turn)


def _base_line(tables: Tables) -> Decision:
    if not _placed(tables):
        return Decision(False, "", "nothing has arrived, been embedded and found its place in the corpus yet")
    return Decision(True, "base-line", "there is no turn yet: this one is the base line")


def _cause(tables: Tables, config: WheelConfig, newest: Turn) -> Decision:
    new = _placed(tables) - _seen(tables, newest)
    fresh, need = len(new), config.triggers.new_items
    if fresh >= need:
        return Decision(True, "new-data", f"{fresh} items are new since turn {newest.turn}, {need} start a turn")
    drift = find_drift(tables, new)
    if drift and drift.p_value < SURE and drift.distance >= config.triggers.drift:
        return Decision(True, "drift", drift.words)
    falls = [fall for fall in falls_since(tables, newest) if fall.size >= config.triggers.metric_drop]
    armed = [fall for fall in falls if _armed(tables, config, fall)]
    if armed:
        return Decision(True, armed[0].trigger, armed[0].words)
    quiet = f"{fresh} items are new since turn {newest.turn}, {need} start a turn"
    if falls:
        return Decision(False, "", f"{quiet}; {falls[0].words}, which started a turn and has not recovered since")
    return Decision(False, "", f"{quiet}; no metric fell by {config.triggers.metric_drop}")


def _seen(tables: Tables, newest: Turn) -> set[str]:
    """Ids of the items the newest turn saw; where its versions were erased, of the arrivals it knew."""
    try:
        return _placed(tables, newest.pinned)
    except VersionErased:
        known = tables.scan("items").filter(pl.col("arrival").is_in(newest.arrivals))
        return set(known.select(pl.col("item_id").unique()).collect()["item_id"])


def _placed(tables: Tables, versions: Mapping[str, int] | None = None) -> set[str]:
    """Ids of the current items that a turn can see: their content has its place among the clusters.

    An arrival that is still being embedded counts later, so that a turn is not pinned to a corpus without it.
    """
    placed = tables.scan("clusters", (versions or {}).get("clusters")).select("content_id").unique().collect()
    items = current_items(tables, versions).join(placed, on="content_id", how="semi")
    return set(items["item_id"].to_list())


def _armed(tables: Tables, config: WheelConfig, fall: Fall) -> bool:
    """Whether this metric has started no turn yet, or has recovered since the last one it started."""
    fired = tables.scan("turns").filter(pl.col("trigger") == fall.trigger).sort("turn").collect()
    if fired.is_empty():
        return True
    since = read_turn(tables, int(fired["turn"][-1]))
    later = falls_since(tables, since, every=True)
    return any(f.trigger == fall.trigger and f.size < config.triggers.metric_recovered for f in later)


def _unfinished(tables: Tables, config: WheelConfig) -> str:
    """Say which turn has to go on first; "" when none does."""
    for turn in open_turns(tables):
        wants = waiting_for(tables, config, turn)
        if wants is Waiting.approval:
            return f"turn {turn} waits for `flywheel approve`"
        if wants is not Waiting.answers:
            return f"turn {turn} is still at work (next: {wants})"
        if turn == 0:
            return "turn 0 waits for the first labels"
    return ""


def _too_many(tables: Tables, config: WheelConfig, now: datetime) -> str:
    recent = tables.scan("turns").filter(pl.col("opened_at") > now - DAY).collect().height
    most = config.triggers.max_turns_per_day
    return f"{recent} turns were opened in the last 24 hours, at most {most} may be" if recent >= most else ""


def _too_much_money(tables: Tables, config: WheelConfig, newest: int | None) -> str:
    ordered = open_money(tables)
    planned = planned_money(config, 0 if newest is None else newest + 1)
    most = config.budget.open_money
    if ordered + planned <= most:
        return ""
    return f"{ordered:.2f} are ordered and not yet returned; with {planned:.2f} more, the limit of {most:.2f} is passed"
