"""Where a wheel stands and what it waits for, read off its tables."""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from flywheel.config import WheelConfig
from flywheel.feedback import Waiting, open_money, open_turns, waiting_for
from flywheel.raw import current_items, current_quarantine
from flywheel.selection import batch_cost
from flywheel.tables import Tables


@dataclass(frozen=True)
class OpenTurn:
    """A turn that is not closed, and what it waits for."""

    turn: int
    waits_for: Waiting
    items: int  # distinct contents in its batch
    cost: float  # money for all of them
    rejected: bool  # a person decided against the batch


@dataclass(frozen=True)
class Status:
    """One wheel at a glance. Counts are of current rows; money is in the configuration's unit."""

    name: str
    items: int
    quarantined: int
    labels: int  # contents with a trusted answer under the current label spec
    arrivals: int
    unseen_arrivals: tuple[str, ...]  # arrived after the newest turn had opened
    open_money: float
    open_money_limit: float
    turns: tuple[dict[str, Any], ...]
    open_turns: tuple[OpenTurn, ...]

    @property
    def next_step(self) -> str:
        """What to do now, in words."""
        if self.open_turns:
            return _advice(min(self.open_turns, key=lambda one: one.waits_for is Waiting.answers))
        if not self.arrivals:
            return "put data where a source looks, then `flywheel run`"
        if not self.turns:
            return "`flywheel run` makes turn 0, the base line"
        new = f" and takes in {len(self.unseen_arrivals)} new arrivals" if self.unseen_arrivals else ""
        return f"`flywheel run` makes turn {self.turns[-1]['turn'] + 1}{new}"

    def as_json(self) -> dict[str, Any]:
        """Return plain values, with the next step in words."""
        return asdict(self) | {"next": self.next_step}


def read_status(tables: Tables, config: WheelConfig) -> Status:
    """Read where the wheel stands; linear in the number of items, no vectors are read."""
    turns = tables.read("turns").sort("turn")
    arrivals = sorted(tables.scan("objects").select(pl.col("arrival").unique()).collect()["arrival"].to_list())
    seen = set(turns["arrivals"][-1].to_list()) if turns.height else set[str]()
    return Status(
        name=config.name,
        items=current_items(tables).height,
        quarantined=current_quarantine(tables).height,
        labels=_count_labels(tables, config),
        arrivals=len(arrivals),
        unseen_arrivals=tuple(arrival for arrival in arrivals if arrival not in seen),
        open_money=open_money(tables),
        open_money_limit=config.budget.open_money,
        turns=tuple(_turn(row, tables) for row in turns.iter_rows(named=True)),
        open_turns=tuple(_open_turn(tables, config, turn) for turn in open_turns(tables)),
    )


def _count_labels(tables: Tables, config: WheelConfig) -> int:
    spec = config.label_spec
    rows = tables.scan("labels").filter(pl.col("field") == spec.field, pl.col("spec_version") == spec.version)
    return rows.select(pl.col("content_id").n_unique()).collect().item()


def _turn(row: dict[str, Any], tables: Tables) -> dict[str, Any]:
    ordered = tables.read("jobs", turn=row["turn"]).filter(pl.col("state") != "intent")
    accuracy = tables.read("evaluations", turn=row["turn"], arm="deployed", slice="all", metric="accuracy")
    return {
        **{name: row[name] for name in ("turn", "state", "trigger", "reason", "opened_at", "closed_at")},
        "labels_spent": int(ordered["tasks"].sum()),
        "spent": float(ordered["cost"].sum()),
        "accuracy": accuracy["value"][0] if accuracy.height else None,
    }


def _open_turn(tables: Tables, config: WheelConfig, turn: int) -> OpenTurn:
    batch = tables.read("batches", turn=turn)
    decisions = tables.read("approvals", turn=turn).sort("decided_at")
    waits_for = waiting_for(tables, config, turn)
    rejected = waits_for is Waiting.approval and decisions.height > 0 and decisions["decision"][-1] == "rejected"
    return OpenTurn(turn, waits_for, batch["content_id"].n_unique(), batch_cost(config, batch), rejected)


def _advice(one: OpenTurn) -> str:
    order = f"`flywheel approve {one.turn}` ({one.items} items, cost {one.cost:.2f}), then `flywheel run`"
    if one.rejected:
        return f"the batch of turn {one.turn} was rejected; to take that back: {order}"
    if one.waits_for is Waiting.approval:
        return order
    if one.waits_for is Waiting.answers:
        return f"wait for the answers to the {one.items} items of turn {one.turn}, then `flywheel run` collects them"
    return f"`flywheel run` goes on with turn {one.turn} ({one.waits_for})"
