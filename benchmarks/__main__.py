"""`python -m benchmarks [NAME]`: run all benchmarks, or one; results as JSON, one file each."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import neighbors
from benchmarks.registry import Benchmark, measure

BENCHMARKS: dict[str, Benchmark] = {one.BENCHMARK.name: one.BENCHMARK for one in (neighbors,)}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    name: Annotated[str | None, typer.Argument(help="Which one; all by default.")] = None,
    size: Annotated[list[str] | None, typer.Option("--size", help="NAME=NUMBER; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; standard output by default.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List what there is, with sizes.")] = False,
) -> None:
    """Measure, with sizes as parameters; every result names machine, commit and versions."""
    if show:
        for one in BENCHMARKS.values():
            typer.echo(f"{one.name}: {one.summary} ({' '.join(f'{key}={value}' for key, value in one.sizes.items())})")
        return
    if name is not None and name not in BENCHMARKS:
        raise typer.BadParameter(f"there is no benchmark '{name}'; there are: {', '.join(sorted(BENCHMARKS))}")
    if size and name is None:
        raise typer.BadParameter("sizes are those of one benchmark: name it")
    for one in [BENCHMARKS[name]] if name else BENCHMARKS.values():
        write(one.name, json.dumps(measure(one, sizes_of(one, size or [])), indent=2), out)


def sizes_of(benchmark: Benchmark, given: list[str]) -> dict[str, int]:
    """Return the benchmark's sizes with those that were given in their place."""
    sizes = dict(benchmark.sizes)
    for text in given:
        key, _, value = text.partition("=")
        if key not in sizes or not value.lstrip("-").isdigit():
            raise typer.BadParameter(
                f"'{text}' is no size of {benchmark.name}; expected NAME=NUMBER with {list(sizes)}"
            )
        sizes[key] = int(value)
    return sizes


def write(name: str, text: str, folder: Path | None) -> None:
    """Write one result to its file, or to standard output."""
    if folder is None:
        typer.echo(text)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(text + "\n", "utf-8")
    typer.echo(f"wrote {folder / name}.json", err=True)


if __name__ == "__main__":
    sys.exit(app())
