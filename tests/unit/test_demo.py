"""What the demo plants is what it says."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flywheel.config import load_config
from flywheel.demo import prepare_demo
from flywheel.demo.datasets import Dataset, load_dataset
from flywheel.demo.planting import GAP_SHARE, known_gaps, parse_gap, plan
from flywheel.errors import ConfigError
from flywheel.objects import FolderStore, Source
from flywheel.raw.datum import Datum
from flywheel.raw.decoders import decode
from flywheel.raw.opened import Opened


@pytest.fixture(scope="module", params=["images", "text", "records"])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return load_dataset(request.param)


def test_every_known_gap_is_planted_at_its_share(dataset: Dataset) -> None:
    for text in known_gaps(dataset):
        planned = plan(dataset, parse_gap(text, dataset), seed=1, items=1000)
        inside = planned.filter("in_gap")
        assert inside.height == GAP_SHARE * 1000, text
        assert inside.filter("labeled", split="pool").height == 1, text
        what = text.partition(":")[2]
        if text.startswith("class:"):
            assert set(inside["label"]) == {what}
            assert what not in set(planned.filter(~pl.col("in_gap"))["label"])
        if text.startswith("named:"):
            assert planned.filter(camera="c").equals(inside)
        else:
            assert "c" not in set(planned["camera"])


def test_a_control_run_has_no_gap(dataset: Dataset) -> None:
    planned = plan(dataset, parse_gap("none", dataset), seed=1, items=1000)
    assert not planned["in_gap"].any()
    seeds = planned.filter("labeled", split="pool")
    assert seeds.height == 80
    assert seeds["label"].n_unique() == len(dataset.classes)


def test_labels_come_with_the_first_portion_only(dataset: Dataset) -> None:
    planned = plan(dataset, parse_gap("none", dataset), seed=3, items=800)
    assert not planned.filter(portion=2)["labeled"].any()
    assert planned["row"].n_unique() == 800
    assert planned.equals(plan(dataset, parse_gap("none", dataset), seed=3, items=800))
    assert not planned.equals(plan(dataset, parse_gap("none", dataset), seed=4, items=800))


def test_an_unknown_gap_lists_the_known_ones(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="choose none, class:"):
        parse_gap("class:Spaceship", dataset)


def test_looks_change_the_picture_and_not_the_truth(tmp_path: Path) -> None:
    from PIL import Image

    folder = prepare_demo("images", gap="hidden:sideways", seed=0, items=500, out=tmp_path / "demo")
    folder.land(1)
    row = folder.plan.filter("in_gap", portion=1).row(0, named=True)
    stored = np.asarray(Image.open(tmp_path / "demo" / "bucket" / row["key"]))
    original = folder.dataset.contents[row["row"]]
    assert np.array_equal(stored, np.rot90(original))
    assert row["label"] == folder.dataset.labels[row["row"]]


def test_the_bucket_fills_in_portions_and_never_tells_the_truth(tmp_path: Path, dataset: Dataset) -> None:
    kind = {"image": "images", "text": "text", "record": "records"}[dataset.modality]
    folder = prepare_demo(kind, gap=None, seed=0, items=500, out=tmp_path / "demo")
    first = folder.land(1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo" / "bucket").rglob("*")}
    assert folder.land(1) == first
    assert first + folder.land(2) == 500
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo" / "bucket").rglob("*")}
    assert len(after) > len(before)
    files = {path: time for path, time in before.items() if path.is_file()}
    assert all(after[path] == time for path, time in files.items())
    labels = _labels_in(tmp_path / "demo" / "bucket")
    assert labels == folder.plan["labeled"].sum()
    load_config(folder.config)


def _labels_in(bucket: Path) -> int:
    tables = [table for path in bucket.glob("*.csv") if "label" in (table := pl.read_csv(path)).columns]
    lines = [json.loads(line) for path in bucket.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    return sum(table["label"].count() for table in tables) + sum(line["label"] is not None for line in lines)


def test_another_demo_takes_the_folder_and_a_strangers_folder_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    prepare_demo("text", gap=None, seed=0, items=500, out=out).land(1)
    prepare_demo("text", gap=None, seed=1, items=500, out=out)
    assert not (out / "bucket").exists()
    stranger = tmp_path / "mine"
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds no demo"):
        prepare_demo("text", gap=None, seed=0, items=500, out=stranger)
    assert (stranger / "thesis.txt").exists()
    with pytest.raises(ConfigError, match="at least 500"):
        prepare_demo("text", gap=None, seed=0, items=10, out=out)


def test_health_records_arrive_whole_and_are_read_as_of_a_year_before(tmp_path: Path) -> None:
    folder = prepare_demo("records", gap="named:women-over-64", seed=0, items=500, out=tmp_path / "demo")
    folder.land(1)
    folder.land(2)
    bucket, planned = tmp_path / "demo" / "bucket", folder.plan
    people = pl.concat([pl.read_csv(path) for path in sorted(bucket.glob("people-*.csv"))])
    assert sorted(people["id"].cast(pl.String)) == sorted(planned["part"])
    assert set(people.filter(clinic="c").select("sex").to_series()) == {"female"}
    assert people.filter(clinic="c")["age"].min() >= 65  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]
    events = pl.concat([pl.read_csv(path) for path in sorted(bucket.glob("events-*.csv"))])
    assert set(events["id"]) <= set(people["id"]) and events["days"].max() > 0  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]
    known = events.filter(pl.col("days") <= 0, pl.col("event") == "diabetes")
    truth = dict(planned.select("part", "label").iter_rows())
    assert {truth[str(person)] for person in known["id"]} <= {"cardiovascular", "diabetes"}
    [source] = load_config(folder.config).sources
    items = [
        datum
        for portion in (1, 2)
        for datum in decode(Opened(Source(source, FolderStore(bucket)), f"people-{portion}.csv"), contents=True)
        if isinstance(datum, Datum)
    ]
    assert len(items) == 500
    seen = events.filter(pl.col("days") < -365).group_by("id").agg(pl.col("event").unique())
    expected = {str(person): set(names) for person, names in seen.iter_rows()}
    for item in items:
        values = json.loads(item.data or b"")
        assert "clinic" not in values and "label" not in values
        assert {name for name, value in values.items() if value is True} == expected.get(item.part, set())
