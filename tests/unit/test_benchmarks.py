"""The benchmarks run at small sizes and say on what."""

import json
import re

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import BENCHMARKS, app
from tests.checkout import ROOT

SMALL = {"neighbors": ["n=2000", "dim=16", "k=5", "centers=20", "repeats=1"]}


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmark_measures_at_the_sizes_asked_for(name: str) -> None:
    sizes = [word for size in SMALL[name] for word in ("--size", size)]
    done = CliRunner().invoke(app, [name, *sizes])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["benchmark"] == name
    assert {pair.split("=")[0]: int(pair.split("=")[1]) for pair in SMALL[name]}.items() <= result["sizes"].items()
    assert result["rows"]
    assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", result["commit"])
    assert result["machine"]["cores"] >= 1


def test_the_graph_of_the_inverted_file_is_nearly_the_exact_one() -> None:
    done = CliRunner().invoke(app, ["neighbors", *(w for size in SMALL["neighbors"] for w in ("--size", size))])
    recall = {row["method"]: row["recall"] for row in json.loads(done.stdout)["rows"]}
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
