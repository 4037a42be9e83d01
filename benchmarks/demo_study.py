"""`make demo-study`: the demo over many seeds and planted gaps, and what came of it as a table.

Every run is the demo itself, on the real graph. Only its vectors are remembered between runs: the
same picture encoded twice has the same vector to the last bit, so remembering changes nothing but the time.
"""

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.registry import commit, machine

IMAGE_GAPS = (
    *("class:Trouser", "class:Pullover", "class:Dress", "class:Coat", "class:Sandal", "class:Shirt"),
    *("class:Sneaker", "class:Bag", "class:Ankle boot", "class:T-shirt"),
    *("hidden:sideways", "hidden:upside-down", "hidden:zoomed-out"),
    *("named:sideways", "named:upside-down", "named:zoomed-out"),
)
TEXT_GAPS = (
    *("class:religion", "class:politics", "class:computers"),
    *("hidden:sci.med", "hidden:sci.space", "hidden:sci.crypt", "hidden:sci.electronics", "hidden:rec.autos"),
    *("hidden:rec.motorcycles", "hidden:talk.politics.guns", "hidden:talk.politics.mideast"),
    *("hidden:comp.graphics", "hidden:comp.windows.x", "hidden:alt.atheism"),
    *("named:sci.med", "named:comp.graphics", "named:rec.autos", "named:talk.politics.guns"),
)
GAPS = {"images": IMAGE_GAPS, "text": TEXT_GAPS}
IN_THE_FIRST = 3


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Runs with a planted gap, of each kind of data.")] = 20,
    controls: Annotated[int, typer.Option(min=0, help="Runs without one, of each kind.")] = 10,
    items: Annotated[int | None, typer.Option(help="Items of each run; the demo's default.")] = None,
    kinds: Annotated[str, typer.Option(help="images, text or both with a comma.")] = "images,text",
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time, one core each.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for rows and vectors; what is there is not run again.")] = Path(
        ".data/demo-study"
    ),
    page: Annotated[Path | None, typer.Option(help="Write the table to this Markdown page too.")] = None,
) -> None:
    """Run the study and print its table; stopped and started again, it goes on."""
    wanted = [run for kind in kinds.split(",") for run in runs_of(kind, seeds, controls)]
    out.mkdir(parents=True, exist_ok=True)
    todo = [run for run in wanted if not _row_path(out, *run).exists()]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_core) as pool:
        pending = {pool.submit(run_one, *run, items, out): run for run in todo}
        for count, done in enumerate(as_completed(pending), start=1):
            row = done.result()
            typer.echo(
                f"{count}/{len(todo)} {row['kind']} {row['gap']} seed {row['seed']}: rank {row['rank']}", err=True
            )
    rows = [json.loads(_row_path(out, *run).read_text("utf-8")) for run in wanted]
    text = render(rows)
    typer.echo(text)
    if page is not None:
        page.write_text(text, "utf-8")


def runs_of(kind: str, seeds: int, controls: int) -> list[tuple[str, str, int]]:
    """Return kind, gap and seed of every run: the gaps in turn, then the control runs."""
    planted = [(kind, GAPS[kind][seed % len(GAPS[kind])], seed) for seed in range(1, seeds + 1)]
    return planted + [(kind, "none", 1000 + seed) for seed in range(1, controls + 1)]


def run_one(kind: str, gap: str, seed: int, items: int | None, out: Path) -> dict[str, Any]:
    """Run one demo in this process and keep its row; its folder is removed afterwards."""
    import time

    from assets.demo import run_demo

    folder = out / f"run-{kind}-{gap.replace(':', '-').replace(' ', '-')}-{seed}"
    remembered = _remember_vectors(out / "vectors")
    summary = run_demo(
        kind,
        gap=gap,
        seed=seed,
        items=items,
        turns=2,
        out=folder.resolve(),
        announce=lambda line: None,
        started=time.monotonic(),
        with_report=False,
    )
    first, second = summary["turns"]
    row = {
        "kind": kind,
        "gap": gap,
        "seed": seed,
        "rank": first["gap_rank"],
        "predicate": first["gap_predicate"],
        "reported": _reported(folder),
        "seconds": summary["seconds"],
        "commit": commit(),
    }
    measures = ("accuracy", "random_accuracy", "gap_accuracy", "random_gap_accuracy")
    row |= {name: second[name] for name in measures}
    path = _row_path(out, kind, gap, seed)
    path.with_suffix(".part").write_text(json.dumps(row), "utf-8")
    path.with_suffix(".part").replace(path)
    remembered()
    shutil.rmtree(folder)
    return row


def render(rows: Sequence[dict[str, Any]]) -> str:
    """Return the study as a Markdown page."""
    lines = ["# The demo over many seeds", ""]
    planted = len({row["seed"] for row in rows if row["gap"] != "none"})
    control = len({row["seed"] for row in rows if row["gap"] == "none"})
    lines += ["Gaps and annotators are simulated; data, encoders and models are real. Written by", ""]
    lines += [f"    make demo-study ARGS='--seeds {planted} --controls {control} --page docs/demo-study.md'", ""]
    lines += [f"Measured on {machine()['processor']}, {machine()['cores']} cores, commits "]
    lines[-1] += ", ".join(sorted({row["commit"] for row in rows})) + "."
    for kind in dict.fromkeys(row["kind"] for row in rows):
        planted = [row for row in rows if row["kind"] == kind and row["gap"] != "none"]
        control = [row for row in rows if row["kind"] == kind and row["gap"] == "none"]
        lines += ["", f"## {kind}", "", *_conclusions(planted, control), "", *_table(planted)]
    return "\n".join(lines) + "\n"


def _conclusions(planted: Sequence[dict[str, Any]], control: Sequence[dict[str, Any]]) -> list[str]:
    found = sum(row["rank"] is not None and row["rank"] <= IN_THE_FIRST for row in planted)
    clean = sum(row["reported"] == 0 for row in control)
    in_gap = [row["gap_accuracy"] - row["random_gap_accuracy"] for row in planted]
    overall = [row["accuracy"] - row["random_accuracy"] for row in planted]
    return [
        f"- The planted gap is in the first {IN_THE_FIRST} of turn 1's report in {found} of {len(planted)} runs.",
        f"- {clean} of {len(control)} control runs report no gap.",
        f"- After turn 2, accuracy in the gap minus that of random labels: {_mean(in_gap)}.",
        f"- After turn 2, accuracy minus that of random labels: {_mean(overall)}.",
    ]


def _mean(values: Sequence[float]) -> str:
    """A mean with its 95 % interval by Student's t."""
    from scipy.stats import t

    values = np.asarray(values)
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return f"{values.mean():+.3f} ({values.mean() - half:+.3f} to {values.mean() + half:+.3f})"


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = ["gap", "seed", "rank", "found as", "accuracy", "random", "in the gap", "random there"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        shares = [row["accuracy"], row["random_accuracy"], row["gap_accuracy"], row["random_gap_accuracy"]]
        cells = [row["gap"], row["seed"], row["rank"] or "-", row["predicate"] or "-", *(f"{x:.3f}" for x in shares)]
        lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return lines


def _row_path(out: Path, kind: str, gap: str, seed: int) -> Path:
    return out / f"{kind}-{gap.replace(':', '-').replace(' ', '-')}-{seed}.json"


def _reported(folder: Path) -> int:
    """How many gaps turn 1 reports; what is merely hard is none."""
    import polars as pl

    from flywheel.config import load_config
    from flywheel.objects import open_tables

    gaps = open_tables(load_config(folder / "flywheel.yaml")).read("gaps", turn=1)
    return gaps.filter(pl.col("kind") != "hard").height


def _one_core() -> None:
    """Two runs side by side share two cores best when each keeps to one."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


_memories: dict[str, "RememberingEncoder"] = {}


class RememberingEncoder:
    """An encoder that looks a content up before it encodes it; everything else is the encoder's own."""

    def __init__(self, encoder: Any, folder: Path):
        self._encoder = encoder
        self._folder = folder
        self.known: dict[str, np.ndarray] = {}
        self.fresh: dict[str, np.ndarray] = {}
        self._read: set[Path] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def load(self) -> None:
        """Take up what other processes have kept since."""
        for path in set(self._folder.glob("*.npz")) - self._read:
            kept = np.load(path)
            self.known |= dict(zip(kept["ids"].tolist(), kept["vectors"], strict=True))
            self._read.add(path)

    def keep(self) -> None:
        """Keep what this process encoded."""
        if self.fresh:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{os.getpid()}-{len(self.known)}.npz"
            np.savez(path.with_suffix(".part.npz"), ids=list(self.fresh), vectors=np.stack(list(self.fresh.values())))
            path.with_suffix(".part.npz").replace(path)
            self._read.add(path)
            self.fresh = {}

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Return the vectors of `batch`, encoding only what nobody has encoded before."""
        missing = [content for content in batch if content.content_id not in self.known]
        if missing:
            vectors = self._encoder.encode(missing)
            new = {content.content_id: vector for content, vector in zip(missing, vectors, strict=True)}
            self.known |= new
            self.fresh |= new
        return np.stack([self.known[content.content_id] for content in batch])


def _remember_vectors(folder: Path) -> Any:
    """Let this process' encoders remember; return what keeps their new vectors."""
    import resources.encoders as opened
    from flywheel.encoders import open_encoder

    def remembering(modality: str, config: Any) -> RememberingEncoder:
        encoder = open_encoder(modality, config)
        name = "".join(letter if letter.isalnum() else "-" for letter in encoder.id)
        return _memories.setdefault(name, RememberingEncoder(encoder, folder / name))

    opened.open_encoder = remembering
    for memory in _memories.values():
        memory.load()
    return lambda: [memory.keep() for memory in _memories.values()]


if __name__ == "__main__":
    typer.run(main)
