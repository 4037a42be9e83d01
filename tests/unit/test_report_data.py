"""The page about data: numbers, pictures of what was refused, and nothing that runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flywheel.cli.app import app
from flywheel.config import WheelConfig, load_config
from flywheel.objects import open_files, open_sources, open_tables
from flywheel.raw import load_suites, validate_arrival, write_data_docs
from flywheel.report import write_data_page
from flywheel.report.data_facts import look_at
from tests.raw_world import NOW, World, csv, image
from tests.unit.test_report import Page

EVIL = "<script>alert('x')</script>"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"


def configured(folder: Path) -> WheelConfig:
    statement = {"type": "expect_column_values_to_be_in_set", "column": "note", "value_set": ["kind"], "blocking": True}
    raw = {
        "name": "small",
        "store": {"root": "wheel"},
        "sources": [
            {"id": "main", "root": "data", "max_pixels": 10_000, "manifest": "m*.csv", "expectations": [statement]}
        ],
        "label_spec": {"classes": ["cat", "dog"]},
        "vendor": {"kind": "file", "folder": "vendor"},
    }
    (folder / "data").mkdir(exist_ok=True)
    (folder / "flywheel.yaml").write_text(yaml.safe_dump(raw))
    return load_config(folder / "flywheel.yaml")


def fill(folder: Path) -> WheelConfig:
    """Two arrivals: the second brings a new column and most of what can be refused."""
    config = configured(folder)
    world = World(open_tables(config), open_sources(config)["main"].objects)
    world.sources = open_sources(config)
    world.put("good.png", image(0))
    world.put("a.csv", csv("text,note", *[f"text number {number},kind" for number in range(40)]))
    world.land()
    world.put("large.jpg", image(1, "JPEG", size=(400, 300)))
    world.put("cut.png", image(2, size=(80, 60))[:2000])
    world.put("vector.png", SVG)
    world.put("bytes.txt", b"\xff\xfe\x00<img src=x onerror=alert(1)>")
    world.put("empty.txt", b"")
    world.put(f"{EVIL.replace('/', '')}.docx", b"PK\x03\x04 binary")
    world.put(
        "b.csv", csv("text,note,camera", *[f"line number {number},{EVIL},front" for number in range(40)], "bad,row")
    )
    world.put("m.csv", csv("key,label", "good.png,cat", "gone.png,dog"))
    world.land()
    suites, files = load_suites(config), open_files(config)
    for arrival in ("arrival-00001", "arrival-00002"):
        write_data_docs(files, validate_arrival(world.tables, world.sources, suites, arrival, now=NOW))
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> WheelConfig:
    return fill(tmp_path_factory.mktemp("page"))


def write(config: WheelConfig) -> Path:
    return Path(write_data_page(open_tables(config), open_sources(config), open_files(config), config, title=EVIL))


@pytest.fixture(scope="module")
def page(config: WheelConfig) -> Page:
    return Page(write(config).read_text("utf-8"))


def test_the_page_should_load_and_run_nothing(page: Page) -> None:
    assert not {tag for tag, _ in page.tags} & {"script", "svg", "link", "iframe", "object", "base", "form"}
    assert all(source.startswith(("data:image/jpeg;", "data:image/png;")) for source in page.images())
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all((attributes["href"] or "").startswith("#") for tag, attributes in page.tags if tag == "a")
    [policy] = [attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes]
    assert policy and policy.startswith("default-src 'none'; img-src data:;")
    assert EVIL in page.text  # shown, as text


def test_the_page_should_count_what_came_in(page: Page) -> None:
    assert "81 items" in page.text and "80 text, 1 image" in page.text
    assert "arrival-00002" in page.text and "arrival-00001" in page.text


def test_every_reason_should_have_its_meaning_its_next_step_and_its_messages(page: Page) -> None:
    for code in (
        "too_many_pixels",
        "truncated",
        "content_mismatch",
        "bad_encoding",
        "empty",
        "unknown_type",
        "malformed_row",
    ):
        assert code in page.text
    assert "It has more pixels than the source allows" in page.text
    assert "raise `max_pixels` of the source and retry" in page.text
    assert "400 x 300 pixels, at most 10,000 pixels are decoded" in page.text
    assert "m.csv#gone.png" in page.text and "b.csv#row-41" in page.text


def test_what_can_be_shown_safely_should_be_shown(config: WheelConfig, page: Page) -> None:
    source = open_sources(config)["main"]
    assert look_at(source, "large.jpg")["image"].startswith("data:image/jpeg;base64,")
    assert len(page.images()) == 1
    assert look_at(source, "vector.png") == {"head": SVG[:48].hex(" ")}
    assert look_at(source, "cut.png")["head"].startswith("89 50 4e 47")
    assert "<img src=x onerror=alert(1)>" in look_at(source, "bytes.txt")["text"]
    assert (
        look_at(source, "empty.txt")
        == look_at(source, "no such")
        == look_at(source, "../up")
        == look_at(None, "a")
        == {}
    )


def test_expectations_and_drift_should_stand_on_the_page(page: Page) -> None:
    assert "1 stop what follows" in page.text
    assert "note values must belong to this set: kind" in page.text
    assert "camera" in page.text and "new column" in page.text


def test_a_page_that_would_not_change_should_not_be_written(config: WheelConfig) -> None:
    path = write(config)
    stamp = path.stat().st_mtime_ns
    assert write(config) == path and path.stat().st_mtime_ns == stamp


def test_a_wheel_without_data_should_have_a_page_too(tmp_path: Path) -> None:
    text = Page(write(configured(tmp_path)).read_text("utf-8")).text
    assert "Nothing has arrived yet" in text and "Nothing is refused" in text and "as before" in text


def test_the_command_should_say_where_the_page_lies(config: WheelConfig) -> None:
    path = Path(config.store.root).parent / "flywheel.yaml"
    shown: Any = CliRunner().invoke(app, ["report", "--data", "--config", str(path)])
    assert shown.exit_code == 0, shown.output
    assert Path(shown.stdout.strip()).name == "data.html"
    assert json.dumps(shown.stdout.strip()).endswith('reports/data.html"')
