"""The demo's films: what is planned is what the decoder finds, in two portions, and never told."""

from pathlib import Path

import polars as pl
import pytest

from flywheel.config import load_config
from flywheel.demo import prepare_demo
from flywheel.demo.videos import CLASSES, CLIPS, parse_scene, pieces, plan_videos
from flywheel.errors import ConfigError
from flywheel.objects import open_sources
from flywheel.raw.datum import Datum
from flywheel.raw.decoders import decode
from flywheel.raw.opened import Opened


def test_the_first_labels_nearly_lack_the_gap_and_a_file_stands_on_one_side() -> None:
    planned = plan_videos(parse_scene("class:cyclist"), seed=1)
    assert planned.height == CLIPS * len(pieces()) > 150
    seeds = planned.filter("labeled", split="pool").group_by("label").len()
    assert dict(seeds.iter_rows()) == {scene: CLIPS if scene == "cyclist" else 2 * CLIPS for scene in CLASSES}
    assert planned.group_by("key").agg(pl.col("split").n_unique(), pl.col("portion").n_unique())["split"].max() == 1
    assert set(planned.filter("in_gap")["label"]) == {"cyclist"}
    assert not planned.filter(portion=2)["labeled"].any()
    assert not plan_videos(parse_scene("none"), seed=1)["in_gap"].any()


def test_a_gap_that_does_not_exist_and_a_number_of_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose none, class:bus roof"):
        parse_scene("class:spaceship")
    with pytest.raises(ConfigError, match="--items"):
        prepare_demo("video", gap=None, seed=0, items=500, out=tmp_path / "demo")


def test_every_planned_clip_is_one_that_the_decoder_finds(tmp_path: Path) -> None:
    folder = prepare_demo("video", gap=None, seed=0, items=None, out=tmp_path / "demo")
    assert folder.land(1) + folder.land(2) == folder.plan.height
    sources = open_sources(load_config(folder.config))
    for key in folder.plan["key"].unique().sort()[::40]:
        found = [one.part for one in decode(Opened(sources["bucket"], key)) if isinstance(one, Datum)]
        assert found == folder.plan.filter(key=key)["part"].to_list()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo" / "bucket").rglob("*.*")}
    folder.land(1)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "demo" / "bucket").rglob("*.*")}
    labels = pl.concat([pl.read_csv(path) for path in (tmp_path / "demo" / "bucket").glob("*.csv")])["label"].count()
    assert labels * CLIPS == folder.plan["labeled"].sum()
