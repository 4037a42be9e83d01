"""The benchmarks run at small sizes and say on what."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import increment
from benchmarks.__main__ import BENCHMARKS, app, sizes_of
from benchmarks.registry import Benchmark, summary
from benchmarks.sweep import sweep_generated
from tests.checkout import ROOT

SMALL = {
    "decode": ["repeats=1", "pictures=1", "large=1000", "size=64"],
    "increment": ["images=100", "posts=100", "repeats=1"],
    "ingest": ["rows=400", "files=40", "repeats=1"],
    "neighbors": ["n=2000", "dim=16", "k=5", "centers=20", "repeats=1"],
    "sweep": ["keys=4000", "stored=50", "latency_ms=0"],
}


def parts(output: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document that a run prints, and the figures in its last line."""
    document, _, figures = output.strip().rpartition("\n")
    return json.loads(document), json.loads(figures)


OWN_PROCESSES = {"increment", "ingest"}  # these start processes, and a server


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in OWN_PROCESSES else ()) for name in sorted(BENCHMARKS)],
)
def test_a_benchmark_measures_at_the_sizes_asked_for(name: str) -> None:
    sizes = [word for size in SMALL[name] for word in ("--size", size)]
    done = CliRunner().invoke(app, [name, *sizes])
    assert done.exit_code == 0, done.output
    result, figures = parts(done.stdout)
    assert result["benchmark"] == figures["name"] == name
    assert {pair.split("=")[0]: int(pair.split("=")[1]) for pair in SMALL[name]}.items() <= result["sizes"].items()
    assert result["rows"]
    assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", result["commit"])
    assert result["machine"]["cores"] >= 1


def test_a_quick_run_takes_its_own_sizes_and_says_what_it_cut() -> None:
    one = Benchmark("one", "", lambda n: [{"n": n}], {"n": 9}, lambda rows: {"n": rows[0]["n"]}, {"n": 2})
    assert sizes_of(one, [], quick=True) == {"n": 2}
    assert sizes_of(one, ["n=5"], quick=True) == {"n": 5}
    assert sizes_of(one, [], quick=False) == {"n": 9}
    assert summary(one, [{"n": 2}], quick=True) == {"name": "one", "n": 2}
    cut = replace(one, quick_gates=False)
    assert summary(cut, [{"n": 2}], quick=True) == {"name": "one", "n": 2, "gate": False}
    assert summary(cut, [{"n": 9}], quick=False) == {"name": "one", "n": 9}


def test_a_sweep_in_many_ticks_takes_in_every_key_once() -> None:
    rows = sweep_generated(keys=12_000, latency_ms=0, tick_seconds=0)
    assert [(row["phase"], row["ticks"], row["objects"]) for row in rows] == [
        ("first", 12, 12_000),
        ("unchanged", 12, 12_000),
        ("changed", 12, 12_120),
    ]


def test_increment_counts_what_is_encoded_twice() -> None:
    def row(run: str, seconds: float, passes: int, contents: int) -> dict[str, Any]:
        return {"run": run, "cpu_seconds": seconds, "forward_passes": passes, "contents": contents}

    rows = [
        row("full", 300, 100, 100),
        row("unchanged", 3, 0, 100),
        row("unchanged", 5, 0, 100),
        row("unchanged", 4, 2, 100),
        row("one percent", 6, 3, 101),
    ]
    found = increment.figures(rows)
    assert (found["unchanged_ratio"], found["one_percent_cost"], found["forward_passes_extra"]) == (75, 0.02, 4)


def test_the_graph_of_the_inverted_file_is_nearly_the_exact_one() -> None:
    done = CliRunner().invoke(app, ["neighbors", *(w for size in SMALL["neighbors"] for w in ("--size", size))])
    recall = {row["method"]: row["recall"] for row in parts(done.stdout)[0]["rows"]}
    assert recall["exact"] == 1.0
    assert recall["inverted file"] >= 0.95


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["neighbors", "--size", "n=many"], ["neighbors", "--size", "x=1"], ["--size", "n=1"]]
)
def test_mistakes_are_told(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (2, "")


def test_every_benchmark_stands_in_the_readme() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) == set(BENCHMARKS)
