"""The demo as a command: what it writes, that a repeat finds nothing to do, and the control without a gap."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flywheel.config import load_config
from flywheel.objects import open_tables
from flywheel.raw import current_items
from tests.checkout import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEYS = ["dataset", "seconds", "items", "seed_labels", "planted_gap", "turns"]
TURN_KEYS = [
    "turn",
    "labels_spent",
    "accuracy",
    "random_accuracy",
    "gap_accuracy",
    "random_gap_accuracy",
    "gap_rank",
    "gap_predicate",
]


@dataclass
class Demo:
    """What one run of the command left."""

    folder: Path
    output: str

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def versions(self) -> dict[str, int]:
        return open_tables(load_config(self.folder / "flywheel.yaml")).versions()


def run_demo(folder: Path, kind: str, *options: str) -> Demo:
    command = [sys.executable, "-m", "assets", "demo", kind, "--out", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return Demo(folder, done.stdout)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Half the usual size: enough first labels to miss a class among them."""
    return run_demo(tmp_path_factory.mktemp("demo") / "images", "images", "--items", "2500", "--seed", "0")


def test_the_summary_has_its_keys_and_plausible_values(images: Demo) -> None:
    summary = images.summary
    assert list(summary) == KEYS
    assert [list(turn) for turn in summary["turns"]] == [TURN_KEYS, TURN_KEYS]
    assert (summary["dataset"], summary["planted_gap"]) == ("fashion-mnist", "class:Sandal")
    assert (summary["items"], summary["seed_labels"]) == (2500, 200)
    assert summary["seconds"] > 1
    assert [turn["turn"] for turn in summary["turns"]] == [1, 2]
    assert [turn["labels_spent"] for turn in summary["turns"]] == [30, 30]
    shares = [turn[key] for turn in summary["turns"] for key in TURN_KEYS if key.endswith("accuracy")]
    assert all(0 <= share <= 1 for share in shares)
    assert min(turn["accuracy"] for turn in summary["turns"]) > 0.7


def test_the_planted_gap_is_found_and_closed(images: Demo) -> None:
    first, second = images.summary["turns"]
    assert first["gap_rank"] is not None and first["gap_rank"] <= 3
    assert "Sandal" in first["gap_predicate"]
    assert first["gap_accuracy"] > first["random_gap_accuracy"]
    assert second["gap_accuracy"] > second["random_gap_accuracy"]


def test_the_report_stands_beside_the_summary_and_needs_nothing_else(images: Demo) -> None:
    page = (images.folder / "report.html").read_text()
    assert str(images.folder / "report.html") in images.output.replace("\n", "")
    assert not re.findall(r'src="(?!data:)|href="(?!#)|url\((?!data:)', page)
    assert len(re.findall(r'src="data:image/', page)) > 10
    assert images.summary["turns"][0]["gap_predicate"].split("'")[1] in page
    assert "simulated" in page


def test_the_demo_says_in_plain_words_what_happens(images: Demo) -> None:
    said = " ".join(images.output.split())
    assert "Planted gap: class:Sandal (simulated)" in said
    assert "Turn 1: where are the gaps, and what to label next" in said
    assert "tasks ordered from 'simulated' (simulated annotators)" in said
    assert f"flywheel dev --config {images.folder / 'flywheel.yaml'}" in said


def test_a_second_run_finds_nothing_to_do(images: Demo) -> None:
    before, summary = images.versions, images.summary
    again = run_demo(images.folder, "images", "--items", "2500", "--seed", "0")
    assert again.versions == before
    assert "Nothing new has arrived" in again.output
    assert "Taking in" not in again.output and "Turn 1" not in again.output
    assert {**again.summary, "seconds": 0} == {**summary, "seconds": 0}


def test_a_control_run_has_no_gap(tmp_path: Path) -> None:
    summary = run_demo(tmp_path / "control", "images", "--items", "500", "--gap", "none", "--turns", "1").summary
    assert list(summary) == KEYS
    assert summary["planted_gap"] == "none"
    [turn] = summary["turns"]
    gap_keys = ("gap_accuracy", "random_gap_accuracy", "gap_rank", "gap_predicate")
    assert [turn[key] for key in gap_keys] == [None] * 4
    assert turn["accuracy"] > 0.4


def test_the_same_on_texts(tmp_path: Path) -> None:
    demo = run_demo(tmp_path / "text", "text", "--items", "500", "--seed", "1", "--gap", "hidden:sci.med")
    summary = demo.summary
    assert list(summary) == KEYS
    assert (summary["dataset"], summary["items"], summary["planted_gap"]) == ("newsgroups", 500, "hidden:sci.med")
    assert [turn["labels_spent"] for turn in summary["turns"]] == [10, 10]
    assert min(turn["accuracy"] for turn in summary["turns"]) > 0.5
    assert (demo.folder / "report.html").exists()


def test_the_same_on_health_records(tmp_path: Path) -> None:
    demo = run_demo(tmp_path / "records", "records", "--items", "1500", "--seed", "0")
    summary = demo.summary
    assert list(summary) == KEYS
    assert (summary["dataset"], summary["items"], summary["planted_gap"]) == ("nafld", 1500, "class:diabetes")
    assert [turn["labels_spent"] for turn in summary["turns"]] == [18, 18]
    assert min(turn["accuracy"] for turn in summary["turns"]) > 0.6
    items = current_items(open_tables(load_config(demo.folder / "flywheel.yaml")))
    assert items["key"].unique().sort().to_list() == ["people-1.csv", "people-2.csv"]
    assert set(items["modality"]) == {"record"}
    assert (demo.folder / "report.html").exists()


def test_the_same_on_videos_that_arrive_in_two_portions(tmp_path: Path) -> None:
    demo = run_demo(tmp_path / "video", "video", "--turns", "1")
    summary = demo.summary
    assert list(summary) == KEYS
    assert (summary["dataset"], summary["planted_gap"]) == ("films", "class:cyclist")
    assert summary["items"] > 150
    [turn] = summary["turns"]
    assert turn["labels_spent"] == 10 and turn["accuracy"] > 0.7
    assert (demo.folder / "report.html").exists()
    tables = open_tables(load_config(demo.folder / "flywheel.yaml"))
    assert set(tables.read("items")["modality"]) == {"video"}
    assert tables.read("quarantine").is_empty()


def test_a_gap_that_does_not_exist_is_refused_with_what_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "assets", "demo", "images", "--out", str(tmp_path / "no"), "--gap", "class:Sock"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode not in (0, 1)
    assert "class:Sock" in done.stderr and "class:Sandal" in done.stderr
    assert not (tmp_path / "no").exists()
