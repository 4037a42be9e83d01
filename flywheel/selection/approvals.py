"""A person's word before money is spent. It holds for exactly the batch that was seen."""

from datetime import UTC, datetime

import polars as pl

from flywheel.config import WheelConfig
from flywheel.errors import DataError
from flywheel.identity import digest_of_ids
from flywheel.tables import Tables


def batch_id(batch: pl.DataFrame) -> str:
    """Return the digest of a batch: which items, in which arms."""
    rows = zip(batch["item_id"].to_list(), batch["arm"].to_list(), strict=True)
    return digest_of_ids([f"{item}/{arm}" for item, arm in rows], "batch")


def batch_cost(config: WheelConfig, batch: pl.DataFrame) -> float:
    """Return the most that labeling a batch costs; a content that several arms chose is paid once."""
    return round(batch["content_id"].n_unique() * config.budget.votes * config.vendor.price, 6)


def approve_batch(tables: Tables, turn: int, *, author: str, note: str = "", decision: str = "approved") -> str:
    """Write a decision about the turn's batch as it stands; return the batch's id.

    Args:
        author: who decides.
        decision: "approved" or "rejected".

    Raises:
        DataError: the turn has no batch, or the decision is neither of the two.
    """
    if decision not in ("approved", "rejected"):
        raise DataError(f"a batch is 'approved' or 'rejected', found '{decision}'")
    batch = tables.read("batches", turn=turn)
    if batch.is_empty():
        raise DataError(f"turn {turn} has no batch to decide on; `flywheel status` says what waits")
    seen = batch_id(batch)
    row = {
        "turn": turn,
        "batch_id": seen,
        "decision": decision,
        "author": author,
        "note": note,
        "decided_at": datetime.now(UTC),
    }
    others = tables.read("approvals", turn=turn).filter(pl.col("batch_id") != seen)
    tables.replace("approvals", pl.concat([others, pl.DataFrame([row], schema=others.schema)]), turn=turn)
    return seen


def is_approved(tables: Tables, turn: int) -> bool:
    """Return whether the turn's batch, exactly as it stands, was approved. An empty batch needs nobody's word."""
    batch = tables.read("batches", turn=turn)
    if batch.is_empty():
        return True
    decisions = tables.read("approvals", turn=turn).filter(pl.col("batch_id") == batch_id(batch))
    return decisions["decision"].to_list() == ["approved"]
