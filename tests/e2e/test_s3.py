"""The same two turns with everything on S3: source, tables and files. The result is that of a folder."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from assets.turning import Turned
from flywheel.objects import open_files, open_store
from flywheel.records import SCHEMAS
from flywheel.turns import read_turn
from tests.e2e.comparison import assert_same_tables, index_content, snapshots
from tests.e2e.conftest import TwoTurns, turn
from tests.e2e.small_wheel import SmallWheel, build_small_wheel
from tests.servers import SeaweedFS

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

VERSIONS = ("version",)  # an etag here, size and time in a folder


class S3Wheel(SmallWheel):
    """A small wheel whose folder holds nothing but its configuration, the vendor's truth and a cache."""

    def land(self, portion: int) -> None:
        source = self.sources["photos"].objects
        for path in sorted(self.staged(portion).iterdir()):
            source.write(path.name, path.read_bytes())


@pytest.fixture(scope="module")
def on_s3(seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> tuple[S3Wheel, list[Turned]]:
    """Two portions, two turns after the base line, as `two_turns` does it in a folder."""
    root = seaweedfs.new_root()
    wheel = S3Wheel(build_small_wheel(tmp_path_factory.mktemp("s3") / "wheel").folder)
    config = Path(wheel.config_path)
    raw = yaml.safe_load(config.read_text())
    s3 = {"endpoint": seaweedfs.endpoint}
    raw["store"] = {"root": f"{root}/wheel", "cache": "cache", "s3": s3}
    raw["sources"] = [{**raw["sources"][0], "root": f"{root}/photos", "s3": s3}]
    config.write_text(yaml.safe_dump(raw))
    turned: list[Turned] = []
    for portion, until in ((1, 1), (2, 2)):
        wheel.land(portion)
        turned.append(turn(wheel, until)[0])
    return wheel, turned


def test_the_tables_are_those_of_a_folder(on_s3: tuple[S3Wheel, list[Turned]], two_turns: TwoTurns) -> None:
    wheel, turned = on_s3
    assert tuple(turned) == two_turns.turned
    assert wheel.tables.root.startswith("s3://")
    assert_same_tables(wheel.tables, two_turns.wheel.tables, aside=VERSIONS)
    assert snapshots(wheel) == snapshots(two_turns.wheel)


def test_versions_are_etags(on_s3: tuple[S3Wheel, list[Turned]]) -> None:
    wheel, _ = on_s3
    listed = {info.key: info.version for info in wheel.sources["photos"].objects.list()}
    assert dict(wheel.tables.read("objects").select("key", "version").iter_rows()) == listed
    items = wheel.tables.read("items").select("key", "version")
    assert items.height and all(listed[key] == version for key, version in items.iter_rows())


def test_the_index_and_the_models_are_those_of_a_folder(
    on_s3: tuple[S3Wheel, list[Turned]], two_turns: TwoTurns
) -> None:
    wheel, _ = on_s3
    assert index_content(wheel) == index_content(two_turns.wheel)
    paths = wheel.tables.read("models")["path"].unique().to_list()
    here, there = (open_files(each.config) for each in (wheel, two_turns.wheel))
    assert {path: here.read(path) for path in paths} == {path: there.read(path) for path in paths}


def test_nothing_but_the_cache_lies_on_this_machine(on_s3: tuple[S3Wheel, list[Turned]], seaweedfs: SeaweedFS) -> None:
    wheel, _ = on_s3
    assert not list((wheel.folder / "photos").iterdir())
    assert not (wheel.folder / "wheel").exists()
    keys = {info.key.split("/")[0] for info in open_store(wheel.config.store.root, seaweedfs.s3).list()}
    assert keys == {"tables", "files"}


def test_history_reads_back_from_s3(on_s3: tuple[S3Wheel, list[Turned]], two_turns: TwoTurns) -> None:
    wheel, _ = on_s3
    versions = read_turn(wheel.tables, 1).snapshot["tables"]
    assert versions == read_turn(two_turns.wheel.tables, 1).snapshot["tables"]
    assert wheel.tables.read("predictions", versions["predictions"]).filter(pl.col("turn") > 1).is_empty()
    assert wheel.tables.read("items", versions["items"]).height == 128
    assert set(versions) == set(SCHEMAS)


def test_again_with_nothing_new_writes_nothing(on_s3: tuple[S3Wheel, list[Turned]], seaweedfs: SeaweedFS) -> None:
    wheel, _ = on_s3
    store = open_store(wheel.config.store.root, seaweedfs.s3)
    before = {info.key: info.version for info in store.list()}
    turned, cost = turn(wheel, until=2)
    assert (turned.arrivals, turned.turns, cost.forward_passes) == ((), (), 0)
    assert {info.key: info.version for info in store.list()} == before
