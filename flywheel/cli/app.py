"""The commands, in the order a person meets them."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from flywheel import __version__
from flywheel.cli import application, decisions, ingest, items, quarantine, reading
from flywheel.cli.common import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A data flywheel: know what is in your data, where your model fails, and which few items to label next.",
    epilog="Exit codes: 0 done, 1 failed, 2 fix the configuration or the command, 3 the data is not as promised, "
    "4 the annotation vendor refused, 5 a person has to approve first, 6 answers are still missing.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flywheel {__version__}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done, on standard error.")] = False,
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="A file, or a folder that gets a flywheel.yaml.")] = Path(),
) -> None:
    """Write a commented flywheel.yaml; never overwrites one."""
    from flywheel.cli.template import render_config
    from flywheel.errors import ConfigError

    target = path if path.suffix in {".yaml", ".yml"} else path / "flywheel.yaml"
    text = render_config()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{target} exists and is not overwritten; name another file, or remove it") from None
    typer.echo(f"wrote {target}: change the lines marked with <-, then `flywheel run --config {target}`")


app.command()(application.demo)
app.command()(ingest.ingest)
app.command()(application.run)
app.command()(reading.status)
app.command()(reading.gaps)
app.command()(decisions.approve)
app.command()(reading.search)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(items.app, name="items")
app.command()(reading.report)
app.command()(application.dev)
