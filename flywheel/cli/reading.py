"""Commands that only read: `status`, `gaps`, `search`, `quarantine` and `report`."""

from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, emit_json, open_wheel, say, show_table
from flywheel.errors import DataError

if TYPE_CHECKING:
    from flywheel.cli.status import Status

SHOWN = ("rank", "kind", "predicate", "size", "labeled", "value", "low", "high", "advice", "cost")


def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Say where the wheel stands, what it waits for, and what to do next."""
    from flywheel.cli.status import read_status

    wheel = open_wheel(config)
    found = read_status(wheel.tables, wheel.config)
    if as_json:
        return emit_json(found.as_json())
    _show_status(found)


def gaps(
    turn: Annotated[int | None, typer.Argument(min=0, help="Default: the newest turn with a report.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what the data lacks and where the model fails, the most valuable first."""
    tables = open_wheel(config).tables
    reported = sorted(tables.scan("gaps").collect()["turn"].unique().to_list())
    if turn is None and not reported:
        raise DataError("no turn has found a gap yet; `flywheel status` says where the wheel stands")
    chosen = reported[-1] if turn is None else turn
    rows = tables.read("gaps", turn=chosen).sort("rank").to_dicts()
    if as_json:
        return emit_json({"turn": chosen, "gaps": rows})
    show_table(f"Gaps of turn {chosen}", SHOWN, ([row[name] for name in SHOWN] for row in rows))
    for row in rows:
        say(f"{row['rank']}. {row['evidence']} {row['advice_text']}")


def quarantine(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List what was refused, and why; a later good version of the same object clears it."""
    from flywheel.raw import current_quarantine

    rows = current_quarantine(open_wheel(config).tables).sort("source", "key", "part").to_dicts()
    if as_json:
        return emit_json(rows)
    columns = ("source", "key", "part", "reason", "message")
    show_table("Refused", columns, ([row[name] for name in columns] for row in rows))
    say(f"{len(rows)} refused")


def _show_status(found: "Status") -> None:
    say(f"{found.name}: {found.items} items in {found.arrivals} arrivals, {found.quarantined} refused")
    say(f"{found.labels} labels; open orders {found.open_money:.2f} of at most {found.open_money_limit:.2f}")
    if found.turns:
        columns = ("turn", "state", "trigger", "labels_spent", "spent", "accuracy", "reason")
        show_table("Turns", columns, ([turn[name] for name in columns] for turn in found.turns))
    for one in found.open_turns:
        refused = ", rejected" if one.rejected else ""
        say(f"turn {one.turn} waits for: {one.waits_for}{refused} ({one.items} items, cost {one.cost:.2f})")
    say(f"next: {found.next_step}")
