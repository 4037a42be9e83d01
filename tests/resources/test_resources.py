"""Resources build the engine's own objects from one configuration file."""

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from flywheel.config import WheelConfig
from flywheel.errors import ConfigError, FlywheelError
from flywheel.index import Points, Space
from flywheel.records import SCHEMAS
from flywheel.tables import Tables
from resources import build_resources
from tests.assets.tiny_wheel import TinyWheel, build_wheel

ROLES = {"wheel", "tables", "files", "sources", "encoders", "vector_index", "annotation_vendor"}


@pytest.fixture
def wheel(tmp_path: Path) -> TinyWheel:
    return build_wheel(tmp_path / "wheel")


def test_roles_are_named_after_what_they_do() -> None:
    assert set(build_resources("flywheel.yaml")) == ROLES


def test_an_asset_receives_the_engines_own_objects(wheel: TinyWheel) -> None:
    with dg.build_resources(build_resources(wheel.config_path)) as opened:
        assert isinstance(opened.wheel, WheelConfig)
        assert opened.wheel == wheel.config
        assert isinstance(opened.tables, Tables)
        assert opened.tables.root == f"{wheel.config.store.root}/tables"
        assert set(opened.sources) == {"photos"}
        assert opened.annotation_vendor.name == "simulated"
        opened.files.write("models/a", b"1")
        assert (Path(wheel.config.store.root) / "files" / "models" / "a").read_bytes() == b"1"


def test_tables_are_the_wheels(wheel: TinyWheel) -> None:
    row = dict.fromkeys(SCHEMAS["clusters"]) | {"modality": "image", "content_id": "c"}
    with dg.build_resources(build_resources(wheel.config_path)) as opened:
        opened.tables.append("clusters", pl.DataFrame([row], schema=SCHEMAS["clusters"]))
    assert wheel.tables.read("clusters")["content_id"].to_list() == ["c"]


def test_a_process_loads_a_model_once(wheel: TinyWheel, tmp_path: Path) -> None:
    other = build_wheel(tmp_path / "other", encoders={"image": {"kind": "efficientnet-conse", "image_size": 96}})
    opened = []
    for path in (wheel.config_path, wheel.config_path, other.config_path):
        with dg.build_resources({"encoders": build_resources(path)["encoders"]}) as found:
            opened.append(found.encoders)
    first, second, third = opened
    assert first["image"] is second["image"]
    assert first["text"] is third["text"]
    assert first["image"].id != third["image"].id
    assert (first["image"].modality, first["text"].modality) == ("image", "text")


def test_the_index_is_locked_only_while_a_step_uses_it(wheel: TinyWheel) -> None:
    resources = {"vector_index": build_resources(wheel.config_path)["vector_index"]}
    with dg.build_resources(resources) as first, dg.build_resources(resources) as second:
        with first.vector_index as index:
            index.ensure([Space("s", 2)], {})
            index.upsert(
                Points(["0" * 32], {"s": pl.DataFrame({"x": [1.0], "y": [0.0]}).to_numpy().astype("f4")}, [{}])
            )
        with second.vector_index as index:
            assert index.count() == 1


def test_a_wrong_configuration_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "flywheel.yaml").write_text("sources: []\n")
    resources = {"wheel": build_resources(str(tmp_path / "flywheel.yaml"))["wheel"]}
    with pytest.raises(dg.DagsterResourceFunctionError) as caught, dg.build_resources(resources):
        pass
    assert isinstance(caught.value.__cause__, ConfigError)
    assert "label_spec" in str(caught.value.__cause__)


def test_a_server_without_an_address_is_the_operators_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QDRANT_URL", raising=False)
    wheel = build_wheel(tmp_path / "wheel", index={"kind": "server"})
    resources = {"vector_index": build_resources(wheel.config_path)["vector_index"]}
    with pytest.raises(dg.DagsterResourceFunctionError) as caught, dg.build_resources(resources):
        pass
    assert isinstance(caught.value.__cause__, FlywheelError)
    assert "QDRANT_URL" in str(caught.value.__cause__)
