"""`flywheel items`: what became of an object or an item."""

from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.cli.common import (
    DEFAULT_CONFIG,
    Commands,
    ConfigOption,
    JsonOption,
    emit_json,
    open_wheel,
    say,
    show_table,
)

if TYPE_CHECKING:
    from flywheel.history import History, ItemHistory

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Look at single items.")

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
