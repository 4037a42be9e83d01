"""What a turn waits for: a person's approval, the vendor's answers, or nothing but to go on."""

from enum import StrEnum

import polars as pl

from flywheel.config import WheelConfig
from flywheel.selection import is_approved
from flywheel.tables import Tables
from flywheel.turns import read_turn


class Waiting(StrEnum):
    """How far a turn is, as its tables tell it."""

    batch = "batch"  # opened; its gaps and its batch are not there yet
    approval = "approval"  # a person has to look at the batch
    job = "job"  # approved, or nothing to ask: the job can be ordered
    answers = "answers"  # ordered; the vendor has not returned everything
    training = "training"  # answered, or nothing was asked: labels, training, evaluation follow
    closed = "closed"


def waiting_for(tables: Tables, config: WheelConfig, turn: int) -> Waiting:
    """Return what the turn waits for.

    Raises:
        DataError: the turn was never opened.
    """
    row = read_turn(tables, turn)
    if row.state == "closed":
        return Waiting.closed
    if "labeling_batch" not in row.stations:
        return Waiting.batch
    ordered = "labeling_job" in row.stations
    if tables.read("batches", turn=turn).is_empty():
        return Waiting.training if ordered else Waiting.job
    states = set(tables.read("jobs", turn=turn)["state"])
    if not states and ordered:
        return Waiting.training  # nothing of the batch was left to ask
    if not states or "intent" in states:
        return Waiting.job if config.budget.auto_approve or is_approved(tables, turn) else Waiting.approval
    return Waiting.training if states == {"returned"} else Waiting.answers


def open_turns(tables: Tables) -> list[int]:
    """Return the numbers of the turns that are not closed, oldest first."""
    return tables.scan("turns").filter(pl.col("state") == "open").sort("turn").collect()["turn"].to_list()
