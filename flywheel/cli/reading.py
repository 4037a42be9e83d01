"""Commands that only read: `status`, `gaps`, `search` and `report`."""

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, emit_json, open_wheel, say, show_table
from flywheel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flywheel.cli.status import Status
    from flywheel.config import WheelConfig
    from flywheel.index import Hit
    from flywheel.tables import Tables

SHOWN = ("rank", "kind", "predicate", "size", "labeled", "value", "low", "high", "advice", "cost")

FOUND = ("split", "cluster_name")


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
    chosen = _reported_turn(tables, turn)
    rows = tables.read("gaps", turn=chosen).sort("rank").to_dicts()
    if as_json:
        return emit_json({"turn": chosen, "gaps": rows})
    show_table(f"Gaps of turn {chosen}", SHOWN, ([row[name] for name in SHOWN] for row in rows))
    for row in rows:
        say(f"{row['rank']}. {row['predicate']}: {row['evidence']}; {row['advice_text']}")


def search(
    words: Annotated[list[str] | None, typer.Argument(help="What to look for, in plain words.")] = None,
    like: Annotated[list[str] | None, typer.Option(help="An item id to be near to; may be repeated.")] = None,
    unlike: Annotated[list[str] | None, typer.Option(help="An item id to be far from; may be repeated.")] = None,
    where: Annotated[str | None, typer.Option(help="Conditions, like: age>50 and sex='F' and split='pool'")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 10,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Find items by words, by examples, by conditions, or any mixture of them, best first."""
    from flywheel.config import load_config
    from flywheel.encoders import open_encoders
    from flywheel.index import open_index
    from flywheel.search import search_items

    wheel = load_config(config)
    encoders = open_encoders(wheel.encoders)
    asked = " ".join(words or []) or None
    with open_index(wheel) as index:
        hits = search_items(
            index, encoders, words=asked, like=like or (), unlike=unlike or (), where=where, limit=limit
        )
    if as_json:
        return emit_json([{"item_id": hit.item_id, "score": hit.score, **hit.payload} for hit in hits])
    texts = _texts(wheel, hits)
    rows = [
        [hit.score, _name(hit.payload), *(hit.payload.get(name) for name in FOUND), hit.item_id, texts.get(hit.item_id)]
        for hit in hits
    ]
    show_table(f"{len(hits)} found", ("score", "key", *FOUND, "item id", "text"), rows)


def _name(payload: "Mapping[str, object]") -> str:
    """Where an item stands, for people: its key, and its row in a table file."""
    part = payload.get("part")
    return f"{payload.get('key')}#{part}" if part else str(payload.get("key"))


def _texts(wheel: "WheelConfig", hits: "Sequence[Hit]") -> dict[str, str]:
    """The beginnings of the texts among the hits, by item id."""
    import polars as pl

    from flywheel.objects import open_sources, open_tables
    from flywheel.raw import current_items, read_contents

    wanted = [hit.item_id for hit in hits if hit.payload.get("modality") == "text"]
    if not wanted:
        return {}
    items = current_items(open_tables(wheel)).filter(pl.col("item_id").is_in(wanted))
    contents = {one.content_id: one.data.decode("utf-8") for one in read_contents(open_sources(wheel), items)}
    found = items.select("item_id", "content_id").iter_rows()
    return {item: textwrap.shorten(contents[content], 80) for item, content in found if content in contents}


def _reported_turn(tables: "Tables", turn: int | None) -> int:
    """The turn whose gap report is meant; one that found no gap counts, one that has not looked does not."""
    from flywheel.turns import latest_turn, read_turn

    newest = latest_turn(tables)
    turns = range(0 if newest is None else newest + 1)
    reported = [number for number in turns if "gap_report" in read_turn(tables, number).stations]
    if turn in reported:
        return turn
    known = ", ".join(map(str, reported)) or "none"
    if turn is not None:
        raise DataError(f"turn {turn} has no gap report; turns with one: {known}")
    if not reported:
        raise DataError("no turn has a gap report yet; `flywheel status` says where the wheel stands")
    return reported[-1]


def report(
    data: Annotated[bool, typer.Option("--data", help="The page about data: what came in, what was refused.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write the HTML report of the wheel's turns, or of its data, and say where it lies."""
    from flywheel.config import load_config
    from flywheel.objects import open_files, open_sources, open_tables
    from flywheel.report import write_data_page, write_report

    wheel = load_config(config)
    opened = (open_tables(wheel), open_sources(wheel), open_files(wheel), wheel)
    if data:
        return say(write_data_page(*opened, title=f"The data of '{wheel.name}'"))
    say(write_report(*opened, title=f"The wheel '{wheel.name}'"))


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
