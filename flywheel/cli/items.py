"""`flywheel items`: what became of an object or an item, and how to be rid of it for good."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.cli.common import (
    DEFAULT_CONFIG,
    Commands,
    ConfigOption,
    JsonOption,
    emit_json,
    hold_wheel,
    is_interactive,
    open_wheel,
    say,
    show_table,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from flywheel.erasure import Plan
    from flywheel.erasure import Wheel as Erasable
    from flywheel.history import History, ItemHistory

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Look at single items, and erase them.")

SHOWN = 20  # names listed before an erasure

Target = Annotated[str, typer.Argument(help="An object's key, key#part for a row of a table file, or an item id.")]
SourceOption = Annotated[str | None, typer.Option(help="Only look in this source.")]


@app.command()
def history(
    target: Target,
    source: SourceOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show every version of an object, what became of it, what was said about it, and which turns used it."""
    from flywheel.history import read_history

    found = read_history(open_wheel(config).tables, target, source)
    if as_json:
        return emit_json(found.as_json())
    _show(found)


def _show(found: "History") -> None:
    columns = ("arrival", "source", "version", "size", "modified_at", "state")
    show_table("Versions of the object", columns, ([row[name] for name in columns] for row in found.objects))
    for item in found.items:
        _show_item(item)
    if found.refusals:
        columns = ("arrival", "part", "reason", "message")
        show_table("Refused", columns, ([row[name] for name in columns] for row in found.refusals))


def _show_item(item: "ItemHistory") -> None:
    name = f"{item.key}#{item.part}" if item.part else item.key
    columns = ("arrival", "version", "content_id", "status", "split")
    rows = [[*(row[column] for column in columns), _changes(row["changed"])] for row in item.versions]
    show_table(f"Item {item.item_id}: {name}", (*columns, "changed"), rows)
    if item.events:
        columns = ("origin", "at", "field", "value", "action", "source", "author", "content_id")
        show_table("Answers", columns, ([row[column] for column in columns] for row in item.events))
    for row in item.labels:
        say(f"turn {row['turn']}: {row['field']} = {row['value']} ({row['method']}, {row['confidence']:.2f})")
    for row in item.turns:
        say(f"turn {row['turn']}: {row['use']} in arm {row['arm']}: {row['why']}")


def _changes(changed: dict[str, tuple[object, object]]) -> str:
    shown = {name: pair for name, pair in changed.items() if name not in ("content_id", "status", "split")}
    return "; ".join(f"{name}: {before} -> {now}" for name, (before, now) in shown.items())


@app.command()
def erase(
    target: Annotated[str, typer.Argument(help="A key, key#part, an item id, or with --subject a subject's id.")],
    source: SourceOption = None,
    subject: Annotated[bool, typer.Option("--subject", help="Everything of this subject.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the proof; no names.")] = "",
    author: Annotated[str | None, typer.Option(help="Who decides; default: the user's name.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Remove an item, an object or a subject for good, with old versions and vectors, and write a proof.

    What vanishes from a source is retired by itself; this is for what must not be kept. It cannot be taken back.
    """
    from datetime import UTC, datetime

    from flywheel.cli.decisions import user_name
    from flywheel.erasure import erase as erase_plan
    from flywheel.erasure import prepare_erasure

    who = author or user_name()
    with _opened(config) as wheel:
        found = prepare_erasure(
            wheel, target, source=source, subject=subject, author=who, reason=reason, now=datetime.now(UTC)
        )
        if not as_json:
            _show_plan(found)
        if not yes and not _confirmed():
            raise typer.Exit(1)
        proof = erase_plan(wheel, found, now=datetime.now(UTC))
        where = wheel.files.address(f"erasures/{proof.erasure_id}.md")
    if as_json:
        return emit_json(proof.as_json() | {"proof": where})
    if proof.turns_pinned_anew:
        say(f"open turns that now read the newest data: {', '.join(map(str, proof.turns_pinned_anew))}")
    say(f"erased and verified; the proof, with what is out of reach: {where}")


@contextmanager
def _opened(config: "Path") -> "Generator[Erasable]":
    """Open everything an erasure reaches, and keep the wheel from turning and planning meanwhile."""
    from flywheel.config import load_config
    from flywheel.erasure import Wheel
    from flywheel.index import open_index
    from flywheel.objects import open_files, open_store, open_tables

    wheel = load_config(config)
    tables = open_tables(wheel)
    with hold_wheel(wheel):
        store = open_store(tables.root, wheel.store.s3)
        yield Wheel(wheel, tables, store, open_files(wheel), open_index(wheel))


def _confirmed() -> bool:
    from flywheel.errors import ConfigError

    if not is_interactive():
        raise ConfigError("nobody can be asked here; look at the list and give --yes")
    return typer.confirm("Shall all of this be erased for good?")


def _show_plan(plan: "Plan") -> None:
    tables = sorted({*plan.counts, *plan.lists})
    rows = [[table, plan.counts.get(table, 0), plan.lists.get(table, 0)] for table in tables]
    show_table(f"Erasure {plan.erasure_id}", ("table", "rows removed", "rows whose lists change"), rows)
    say(f"{len(plan.items)} items, {len(plan.contents)} contents; {plan.shared} contents stay with other items")
    for name in [f"{source}: {key}" for source, key in plan.objects][:SHOWN]:
        say(f"  {name}")
    for name in [f"{source}: {key}#{part}" for source, key, part in plan.parts][:SHOWN]:
        say(f"  {name}")
    for model in plan.beyond["models"]:
        say(f"out of reach: model {model['model_id']} of turn {model['turn']} was trained on it")
