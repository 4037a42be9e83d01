import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flywheel.cli.app import app
from flywheel.errors import ConfigError
from flywheel.raw.forecast import Forecast, SourceForecast, forecast_arrivals
from tests.raw_world import NOW, SPEC, World, csv, folder_world, image


@pytest.fixture
def world(tmp_path: Path) -> World:
    return folder_world(tmp_path)


def look(world: World, **options: int) -> SourceForecast:
    [found] = forecast_arrivals(world.tables, world.sources, classes=SPEC.classes, now=NOW, **options)
    return found


def kinds(found: SourceForecast) -> dict[str, Forecast]:
    return {kind.ending: kind for kind in found.kinds}


def fill(world: World) -> None:
    for number in range(6):
        world.put(f"p/{number}.png", image(number))
    world.put("p/broken.png", b"no picture")
    world.put("p/empty.png", b"")
    world.put("p/tool.exe", b"MZ")
    world.put("rows.csv", csv("id,text", "1,one", "2,two", "2,again"))
    world.put("manifest.csv", csv("key,label", "p/1.png,cat", "p/2.png,unicorn"))


def test_what_it_says_should_be_what_comes(world: World) -> None:
    fill(world)
    found = look(world)
    assert (found.new, found.changed, found.gone, found.listed) == (11, 0, 0, 11)
    images, rows, manifest = (kinds(found)[name] for name in (".png", ".csv", "manifest"))
    assert (images.objects, images.decoded, images.exact, images.items) == (8, 7, True, {"image": 6})
    assert images.refused == {"empty": 1, "undecodable": 1}
    assert (rows.items, rows.refused) == ({"text": 2}, {"duplicate_id": 1})
    assert manifest.refused == {"unknown_label": 1}
    assert kinds(found)[".exe"].refused == {"unknown_type": 1}
    assert world.tables.version("objects") is None
    world.land()
    assert len(world.items()) == sum(sum(kind.items.values()) for kind in found.kinds)
    assert {reason for _, reason in world.refused()} == {reason for kind in found.kinds for reason in kind.refused}


def test_changes_should_be_told_apart(world: World) -> None:
    fill(world)
    world.land()
    assert look(world).kinds == ()
    world.put("p/1.png", image(50))
    world.put("p/new.png", image(51))
    world.delete("p/2.png")
    found = look(world)
    assert (found.new, found.changed, found.gone) == (1, 1, 1)
    assert kinds(found)[".png"].items == {"image": 2}


def test_a_sample_should_stand_for_all_with_its_uncertainty(world: World) -> None:
    for number in range(60):
        world.put(f"{number:02d}.png", image(number) if number % 4 else b"broken")
    found = kinds(look(world, sample=20))[".png"]
    assert (found.decoded, found.exact) == (20, False)
    assert found.items_low <= 45 <= found.items_high < 60
    assert found.items["image"] + found.refused["undecodable"] == 60
    assert 0 < found.seconds_low < found.seconds_high
    again, other = (kinds(look(world, sample=20, seed=seed))[".png"] for seed in (0, 1))
    assert again.examples == found.examples
    assert other.examples != found.examples
    with pytest.raises(ConfigError, match="at least 1"):
        look(world, sample=0)


def test_erased_objects_should_not_be_counted(world: World, tmp_path: Path) -> None:
    from tests.unit.test_erasure import SECRET, build, configure

    built = build(configure(tmp_path), tmp_path)
    built.erase(SECRET)
    [found] = forecast_arrivals(built.tables, built.sources, classes=SPEC.classes, now=NOW)
    assert (found.new, found.changed, found.gone) == (0, 0, 0)


def digest_of(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_command_should_say_it_and_write_nothing_and_then_do_it(tmp_path: Path) -> None:
    world = folder_world(tmp_path)
    fill(world)
    raw = {
        "store": {"root": "wheel"},
        "sources": [{"id": "photos", "root": "source", "manifest": "manifest*"}],
        "label_spec": {"classes": ["cat", "dog"]},
        "vendor": {"kind": "file", "folder": "orders"},
    }
    path = tmp_path / "flywheel.yaml"
    path.write_text(json.dumps(raw))
    before = digest_of(tmp_path)
    arguments = ["ingest", "--config", str(path)]
    said = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert said.exit_code == 0, said.output
    assert "6 image" in said.stdout and "11 new, 0 changed, 0 gone" in said.stdout
    told = json.loads(CliRunner().invoke(app, [*arguments, "--dry-run", "--sample", "3", "--json"]).stdout)
    assert told[0]["new"] == 11
    assert digest_of(tmp_path) == before
    assert not (tmp_path / "wheel").exists()
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    [report] = json.loads(done.stdout)
    assert (report["items"], report["quarantined"], report["labels"]) == (8, 5, 1)
    full = digest_of(tmp_path / "wheel" / "tables")
    CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout) == []
    assert digest_of(tmp_path / "wheel" / "tables") == full
