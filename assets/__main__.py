"""`python -m assets`: the orchestrated application. `flywheel run` and `flywheel demo` start it."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flywheel.errors import FlywheelError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
console = Console(highlight=False)


@app.callback()
def main() -> None:
    """Turn the wheel in this process."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")


@app.command()
def run(
    config: Annotated[Path, typer.Option(help="The wheel's configuration.")] = Path("flywheel.yaml"),
    turns: Annotated[int, typer.Option(min=1, help="How many turns; turn 0, the base line, counts.")] = 1,
    until: Annotated[int | None, typer.Option(min=0, help="Instead: go on until this turn is closed.")] = None,
) -> None:
    """Take in what arrived and turn the wheel as far as it goes: until a person or a vendor has to answer."""
    from assets.turning import turn_wheel

    try:
        turned = turn_wheel(str(config.resolve()), turns, announce, until)
    except FlywheelError as error:
        Console(stderr=True, highlight=False).print(f"[bold]{type(error).__name__}[/bold]: ", end="")
        Console(stderr=True, highlight=False).print(str(error), markup=False)
        raise typer.Exit(error.exit_code) from None
    closed = ", ".join(str(turn) for turn in turned.turns)
    announce(f"Turned: {closed}." if closed else "No turn was due.")


def announce(line: str) -> None:
    """Print one line of progress."""
    console.print(line, markup=False)


if __name__ == "__main__":
    sys.exit(app())
