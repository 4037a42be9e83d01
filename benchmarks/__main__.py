"""`python -m benchmarks [NAME]`: run all benchmarks, or one; results as JSON, one file each.

The last line that a benchmark prints is one JSON object with its figures.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import decode, increment, ingest, neighbors, sweep
from benchmarks.registry import Benchmark, measure, summary

BENCHMARKS: dict[str, Benchmark] = {
    one.BENCHMARK.name: one.BENCHMARK for one in (decode, increment, ingest, neighbors, sweep)
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    name: Annotated[str | None, typer.Argument(help="Which one; all by default.")] = None,
    size: Annotated[list[str] | None, typer.Option("--size", help="NAME=NUMBER; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; standard output by default.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repeats, to be done in minutes.")] = False,
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
        result = measure(one, sizes_of(one, size or [], quick))
        write(one.name, json.dumps(result, indent=2), out)
        typer.echo(json.dumps(summary(one, result["rows"], quick)))


def sizes_of(benchmark: Benchmark, given: list[str], quick: bool) -> dict[str, int]:
    """Return the benchmark's sizes, those of a quick run if wanted, with those that were given in their place."""
    sizes = {**benchmark.sizes, **(benchmark.quick if quick else {})}
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
