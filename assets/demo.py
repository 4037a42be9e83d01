"""`python -m assets demo`: the real graph on real data with a planted gap, in this process."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from assets.turning import turn_wheel
from flywheel.config import load_config
from flywheel.demo import DemoFolder, prepare_demo, summarize
from flywheel.demo.referee import write_summary
from flywheel.encoders import open_encoder
from flywheel.objects import open_files, open_sources, open_tables

Announce = Callable[[str], None]

DEFAULT_TURNS = 2


def run_demo(
    kind: str,
    *,
    gap: str | None,
    seed: int,
    items: int | None,
    turns: int,
    out: Path,
    announce: Announce,
    started: float,
    with_report: bool = True,
) -> dict[str, Any]:
    """Prepare the demo, turn its wheel, judge it and write the report and `summary.json` into `out`.

    Run again, it goes on where it was stopped, or finds that nothing is left to do.

    Args:
        started: `time.monotonic()` when the command began.
    """
    announce(f"Preparing {kind}: fetching the data set if this machine does not have it …")
    folder = prepare_demo(kind, gap=gap, seed=seed, items=items, out=out)
    announce(f"Planted gap: {folder.gap} (simulated). Annotators are simulated too, with 5 % errors. Seed {seed}.")
    landed = folder.land(1)
    announce(f"First portion: {landed} items land in {folder.root / 'bucket'}")
    turn_wheel(str(folder.config), announce=announce, until=min(1, turns))
    if turns > 1:
        landed = folder.land(2)
        announce(f"Second portion: {landed} more items land; only they are new to the encoder.")
        turn_wheel(str(folder.config), announce=announce, until=turns)
    summary = judge_demo(folder, started)
    if with_report:
        announce("Writing the report …")
        summary["report"] = report_demo(folder)
    summary["seconds"] = round(time.monotonic() - started, 1)
    write_summary({name: value for name, value in summary.items() if name != "report"}, out / "summary.json")
    return summary | {"config": str(folder.config)}


def judge_demo(folder: DemoFolder, started: float) -> dict[str, Any]:
    """Return the demo's summary, by the truth that the wheel never reads."""
    config = load_config(folder.config)
    tables = open_tables(config)
    modality = config.label_spec.modality
    encoder = open_encoder(modality, getattr(config.encoders, modality), config.encoders)
    return summarize(folder, tables, config, encoder.id, time.monotonic() - started)


def report_demo(folder: DemoFolder) -> str:
    """Write the HTML report, lay a copy beside `summary.json`, and return where that lies."""
    from flywheel.report import write_report

    config = load_config(folder.config)
    notes = [
        f"The gap '{folder.gap}' was planted: of the first labels, one lies in it.",
        "The annotators are simulated: five, who answer from the data set's own labels and err 5 % of the time.",
        "The random control arm is as large as the chosen one, so that both can be compared at equal budget.",
        f"The data is real: {folder.dataset.provenance} ({folder.dataset.license}).",
    ]
    title = f"The wheel on {folder.dataset.name}"
    tables, files = open_tables(config), open_files(config)
    written = write_report(tables, open_sources(config), files, config, title=title, notes=notes)
    return shutil.copyfile(written, str(folder.root / "report.html"))


def show(summary: dict[str, Any], console: Console) -> None:
    """Print the demo's end: a table, where the report lies, and how to look further."""
    table = Table(title=f"{summary['dataset']}: {summary['items']} items, planted gap {summary['planted_gap']}")
    for column in ("turn", "labels", "accuracy", "random", "in the gap", "random there", "gap's rank", "found as"):
        table.add_column(column, justify="left" if column == "found as" else "right")
    for turn in summary["turns"]:
        shares = [turn[f"{arm}{name}"] for name in ("accuracy", "gap_accuracy") for arm in ("", "random_")]
        rank = str(turn["gap_rank"] or "-")
        table.add_row(
            str(turn["turn"]), str(turn["labels_spent"]), *map(_percent, shares), rank, turn["gap_predicate"] or "-"
        )
    console.print(table)
    console.print("'random' is a model trained on as many labels, drawn at random. Accuracies are on held-out items.")
    console.print(f"Report:  {summary['report']}", soft_wrap=True)
    console.print(f"Look at the same graph in Dagster:  flywheel dev --config {summary['config']}", soft_wrap=True)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
