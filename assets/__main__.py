"""`python -m assets`: the orchestrated application. `flywheel run` and `flywheel demo` start it."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flywheel.errors import FlywheelError

PROGRESS = logging.getLogger("flywheel.progress")

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
console = Console(highlight=False)


@app.callback()
def main() -> None:
    """Turn the wheel in this process."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("great_expectations").setLevel(logging.ERROR)  # it warns of its own temporary folder
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    PROGRESS.setLevel(logging.INFO)
    PROGRESS.handlers = [_Progress()]
    PROGRESS.propagate = False


@app.command()
def run(
    config: Annotated[Path, typer.Option(help="The wheel's configuration.")] = Path("flywheel.yaml"),
    turns: Annotated[int, typer.Option(min=1, help="How many turns; turn 0, the base line, counts.")] = 1,
    until: Annotated[int | None, typer.Option(min=0, help="Instead: go on until this turn is closed.")] = None,
) -> None:
    """Take in what arrived and turn the wheel as far as it goes: until a person or a vendor has to answer."""
    from assets.turning import turn_wheel

    with _told_errors():
        turned = turn_wheel(str(config.resolve()), turns, announce, until)
    closed = ", ".join(str(turn) for turn in turned.turns)
    announce(f"Closed: turn {closed}." if closed else "No turn was left to do.")


@app.command()
def demo(
    kind: Annotated[str, typer.Argument(help="images, text, records or video")],
    gap: Annotated[str | None, typer.Option(help="What the first labels shall lack; none for a control run.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    items: Annotated[int | None, typer.Option(help="How many items arrive in all.")] = None,
    turns: Annotated[int, typer.Option(min=1, help="How often the wheel turns after the base line.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder for everything.")] = None,
) -> None:
    """Turn the wheel on real data with a planted gap and simulated annotators."""
    started = time.monotonic()
    from assets.demo import run_demo, show

    folder = (out or Path(f"demo-{kind}")).resolve()
    with _told_errors():
        summary = run_demo(
            kind, gap=gap, seed=seed, items=items, turns=turns, out=folder, announce=announce, started=started
        )
        show(summary, console)


@contextmanager
def _told_errors() -> Iterator[None]:
    """Tell the flywheel's own errors in a sentence and leave with their exit code."""
    try:
        yield
    except FlywheelError as error:
        stderr = Console(stderr=True, highlight=False)
        stderr.print(f"[bold]{type(error).__name__}[/bold]: ", end="")
        stderr.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None


class _Progress(logging.Handler):
    """Shows how far long work is, between the lines that say what came out."""

    def emit(self, record: logging.LogRecord) -> None:
        announce(f"  {record.getMessage()}")


def announce(line: str) -> None:
    """Print one line of progress."""
    console.print(line, markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(app())
