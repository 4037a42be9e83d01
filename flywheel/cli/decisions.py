"""The command that spends money: `approve`."""

import getpass
from collections import Counter
from typing import Annotated

import typer

from flywheel.cli.common import DEFAULT_CONFIG, ConfigOption, Wheel, is_interactive, open_wheel, say, show_table
from flywheel.errors import ConfigError, DataError


def approve(
    turn: Annotated[int, typer.Argument(min=0, help="The turn whose batch waits.")],
    reject: Annotated[bool, typer.Option("--reject", help="Decide against it.")] = False,
    author: Annotated[str | None, typer.Option(help="Who decides; default: the user's name.")] = None,
    note: Annotated[str, typer.Option(help="Why, for those who read it later.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Show what a turn wants to have labeled and what it costs, and approve or reject exactly that."""
    from flywheel.selection import approve_batch

    wheel = open_wheel(config)
    _show_batch(wheel, turn)
    decision = "rejected" if reject else "approved"
    if is_interactive() and not typer.confirm(f"Shall it be {decision}?"):
        raise typer.Exit(1)
    who = author or user_name()
    approve_batch(wheel.tables, turn, author=who, note=note, decision=decision)
    say(f"turn {turn}: {decision} by {who}" + ("" if reject else "; `flywheel run` orders it"))


def _show_batch(wheel: Wheel, turn: int) -> None:
    from flywheel.selection import batch_cost

    batch = wheel.tables.read("batches", turn=turn)
    if batch.is_empty():
        raise DataError(f"turn {turn} has chosen no items; `flywheel status` says what it waits for")
    kinds = Counter(zip(batch["arm"], batch["strategy"], batch["gap_id"], strict=True))
    words = {row["gap_id"]: row["predicate"] for row in wheel.tables.read("gaps", turn=turn).iter_rows(named=True)}
    rows = [[arm, strategy, words.get(gap, gap), count] for (arm, strategy, gap), count in sorted(kinds.items())]
    show_table(f"Batch of turn {turn}", ["arm", "strategy", "gap", "items"], rows)
    votes, price = wheel.config.budget.votes, wheel.config.vendor.price
    items, cost = batch["content_id"].n_unique(), batch_cost(wheel.config, batch)
    say(f"{items} distinct items × {votes} votes × {price:g} = {cost:.2f}, by vendor '{wheel.config.vendor.kind}'")


def user_name() -> str:
    """Return who sits there.

    Raises:
        ConfigError: the system does not say.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        raise ConfigError("who decides? this system has no user name; give one with --author") from None
