"""What every command shares: options, errors with exit codes, output for people and for machines."""

import json
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from flywheel.errors import ConfigError, FlywheelError

if TYPE_CHECKING:
    from flywheel.config import WheelConfig
    from flywheel.tables import Tables

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="FLYWHEEL_CONFIG", help="The wheel's configuration.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
DEFAULT_CONFIG = Path("flywheel.yaml")


class Commands(TyperGroup):
    """Commands whose `FlywheelError` becomes a message on standard error and the error's own exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except FlywheelError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None


@dataclass(frozen=True)
class Wheel:
    """One opened wheel."""

    config: "WheelConfig"
    tables: "Tables"


def open_wheel(path: Path) -> Wheel:
    """Load the configuration and open its tables."""
    from flywheel.config import load_config
    from flywheel.objects import open_tables

    config = load_config(path)
    return Wheel(config, open_tables(config))


@contextmanager
def hold_wheel(config: "WheelConfig") -> Generator[None]:
    """Keep other processes of this machine from turning this wheel and from planning its arrivals meanwhile.

    Raises:
        ConfigError: one of them does.
    """
    from filelock import FileLock, Timeout

    config.cache.mkdir(parents=True, exist_ok=True)
    driver, planner = (FileLock(config.cache / name, timeout=0) for name in ("driver.lock", "arrivals.lock"))
    try:
        with driver, planner:
            yield
    except Timeout as busy:
        raise ConfigError(
            f"another process turns or plans this wheel (it holds {busy.lock_file}); wait for it"
        ) from None


def emit_json(value: object) -> None:
    """Print `value` as one JSON document on standard output; times in ISO 8601."""

    def default(found: object) -> object:
        if isinstance(found, datetime):
            return found.isoformat()
        raise TypeError(f"no JSON form for {type(found).__name__}")

    typer.echo(json.dumps(value, default=default, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """Print one line for people; square brackets in it are only brackets."""
    _console().print(escape(text), highlight=False, soft_wrap=True)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for people; numbers stand to the right."""
    rows = [list(row) for row in rows]
    table = Table(title=escape(title), title_justify="left", header_style="bold")
    for position, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[position], int | float | None) for row in rows)
        table.add_column(escape(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    _console().print(table)


def is_interactive() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _console() -> Console:
    # a pipe has no width: tables for a file or another program are not squeezed into 80 columns
    return Console(width=None if sys.stdout.isatty() else 160)
