"""Where a wheel stands and what it waits for, read off its tables."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from flywheel.config import WheelConfig
from flywheel.tables import Tables

OPEN = ("intent", "submitted")  # ordered and not yet returned


@dataclass(frozen=True)
class Waiting:
    """Something that somebody outside has to do before a turn can go on."""

    turn: int
    reason: Literal["approval", "answers", "rejected"]
    tasks: int
    cost: float  # money, for all votes
    job_id: str = ""


@dataclass(frozen=True)
class Status:
    """One wheel at a glance. Counts are of current rows; money is in the configuration's unit."""

    name: str
    items: int
    quarantined: int
    labels: int
    arrivals: int
    unseen_arrivals: tuple[str, ...]  # arrived after the newest turn had opened
    open_money: float
    open_money_limit: float
    turns: tuple[dict[str, Any], ...]
    waiting: tuple[Waiting, ...]

    @property
    def next_step(self) -> str:
        """What to do now, in words."""
        for wait in self.waiting:
            return _advice(wait)
        if not self.arrivals:
            return "nothing has arrived: put data where a source looks, then `flywheel run`"
        if not self.turns:
            return "`flywheel run` makes turn 0, the base line"
        newest = self.turns[-1]
        if newest["state"] == "open":
            return f"`flywheel run` goes on with turn {newest['turn']}"
        new = f" with {len(self.unseen_arrivals)} new arrivals" if self.unseen_arrivals else ""
        return f"`flywheel run` makes turn {newest['turn'] + 1}{new}"

    def as_json(self) -> dict[str, Any]:
        """Return plain values, with the next step in words."""
        return asdict(self) | {"next": self.next_step}


def read_status(tables: Tables, config: WheelConfig) -> Status:
    """Read where the wheel stands; linear in the number of items, no vectors are read."""
    from flywheel.raw import current_items, current_quarantine

    turns = tables.read("turns").sort("turn")
    jobs = tables.read("jobs")
    arrivals = sorted(tables.scan("objects").select(pl.col("arrival").unique()).collect()["arrival"].to_list())
    seen = set(turns["arrivals"][-1].to_list()) if turns.height else set[str]()
    return Status(
        name=config.name,
        items=current_items(tables).height,
        quarantined=current_quarantine(tables).height,
        labels=_count_labels(tables, config),
        arrivals=len(arrivals),
        unseen_arrivals=tuple(arrival for arrival in arrivals if arrival not in seen),
        open_money=float(jobs.filter(pl.col("state").is_in(OPEN))["cost"].sum()),
        open_money_limit=config.budget.open_money,
        turns=tuple(_turn(row, jobs, tables) for row in turns.iter_rows(named=True)),
        waiting=tuple(_waiting(tables, config, turns, jobs)),
    )


def order_cost(config: WheelConfig, tasks: int) -> float:
    """Money that `tasks` cost with the configured votes and price."""
    return tasks * config.budget.votes * config.vendor.price


def _count_labels(tables: Tables, config: WheelConfig) -> int:
    spec = config.label_spec
    rows = tables.scan("labels").filter(pl.col("field") == spec.field, pl.col("spec_version") == spec.version)
    return rows.select(pl.col("content_id").n_unique()).collect().item()


def _turn(row: dict[str, Any], jobs: pl.DataFrame, tables: Tables) -> dict[str, Any]:
    ordered = jobs.filter(pl.col("turn") == row["turn"], pl.col("state") != "intent")
    accuracy = tables.read("evaluations", turn=row["turn"], arm="deployed", slice="all", metric="accuracy")
    return {
        **{name: row[name] for name in ("turn", "state", "trigger", "reason", "opened_at", "closed_at")},
        "labels_spent": int(ordered["tasks"].sum()),
        "spent": float(ordered["cost"].sum()),
        "accuracy": accuracy["value"][0] if accuracy.height else None,
    }


def _waiting(tables: Tables, config: WheelConfig, turns: pl.DataFrame, jobs: pl.DataFrame) -> list[Waiting]:
    from flywheel.selection import is_approved

    found = [
        Waiting(row["turn"], "answers", row["tasks"], row["cost"], row["job_id"])
        for row in jobs.filter(pl.col("state") == "submitted").sort("turn").iter_rows(named=True)
    ]
    for turn in turns.filter(pl.col("state") == "open")["turn"].to_list():
        tasks = tables.read("batches", turn=turn).height
        ordered = not jobs.filter(pl.col("turn") == turn).is_empty()
        if tasks and not ordered and not config.budget.auto_approve and not is_approved(tables, turn):
            reason = "rejected" if _rejected(tables, turn) else "approval"
            found.append(Waiting(turn, reason, tasks, order_cost(config, tasks)))
    return sorted(found, key=lambda wait: (wait.reason == "answers", wait.turn))


def _rejected(tables: Tables, turn: int) -> bool:
    decisions = tables.read("approvals", turn=turn).sort("decided_at")
    return decisions.height > 0 and decisions["decision"][-1] == "rejected"


def _advice(wait: Waiting) -> str:
    if wait.reason == "approval":
        return f"`flywheel approve {wait.turn}` ({wait.tasks} items, cost {wait.cost:.2f}), then `flywheel run`"
    if wait.reason == "rejected":
        return f"the batch of turn {wait.turn} was rejected; `flywheel approve {wait.turn}` takes that back"
    return f"wait for the answers to the {wait.tasks} items of turn {wait.turn}, then `flywheel run` collects them"
