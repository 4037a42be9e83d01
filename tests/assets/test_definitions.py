"""What the Dagster UI shows: names, groups, kinds, descriptions, checks, sensors."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from assets.definitions import build_definitions, defs
from assets.instance import SETTINGS, open_instance
from assets.partitions import arrivals, turns
from tests.assets.tiny_wheel import build_wheel

ROOT = Path(__file__).resolve().parents[2]
STATIONS = {
    "raw": ["raw_data"],
    "embeddings": ["embeddings"],
    "index": ["vector_index"],
    "structure": ["neighbor_graph", "duplicates", "clusters", "data_map"],
    "gaps": ["gap_report"],
    "labeling": ["labeling_batch", "labeling_job", "annotations"],
    "quality": ["label_quality"],
    "modeling": ["training_set", "model", "model_eval"],
}
BLOCKING = {
    "every_object_is_accounted_for",
    "guarding_expectations_hold",
    "batch_stays_within_budget",
    "no_evaluation_item_is_chosen",
    "no_item_stands_on_both_sides",
}
TOLD = {
    "expectations_hold",
    "schema_is_stable",
    "every_item_has_one_embedding",
    "index_matches_the_tables",
    "every_answer_has_an_author",
    "agreement_is_above_the_floor",
    "training_set_has_two_classes",
    "model_is_calibrated",
}
GRAPH = defs.resolve_asset_graph()
SPECS = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
KEYS = [dg.AssetKey([station, name]) for station, names in STATIONS.items() for name in names]


def test_every_asset_of_the_architecture_is_there_and_no_other() -> None:
    assert set(SPECS) == set(KEYS)
    assert len(KEYS) == 15


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path[-1])
def test_an_asset_says_what_it_is(key: dg.AssetKey) -> None:
    spec = SPECS[key]
    assert spec.group_name == key.path[0]
    assert spec.kinds and spec.owners and spec.code_version
    assert spec.description is not None
    assert spec.description.splitlines()[0].startswith(("One row is ", "One point is "))


def test_assets_are_partitioned_by_what_brings_them_about() -> None:
    by_arrival = {key for key in KEYS if key.path[0] in ("raw", "embeddings")}
    corpus_wide = {key for key in KEYS if key.path[0] in ("index", "structure")}
    for key in KEYS:
        found = GRAPH.get(key).partitions_def
        expected = arrivals if key in by_arrival else None if key in corpus_wide else turns
        assert found == expected, key


def test_the_turn_is_one_chain_and_has_no_way_back() -> None:
    chain = [key for key in KEYS if key.path[0] not in ("raw", "embeddings", "index", "structure")]
    for before, after in itertools.pairwise(chain):
        assert before in GRAPH.get(after).parent_keys
    assert not GRAPH.get(chain[-1]).child_keys


def test_checks_are_there_and_those_for_money_and_training_block() -> None:
    checks = {key.name: GRAPH.get(key) for key in GRAPH.asset_check_keys}
    assert set(checks) == BLOCKING | TOLD
    assert {name for name, check in checks.items() if check.blocking} == BLOCKING
    assert all(check.description for check in checks.values())


def test_a_check_is_partitioned_like_its_asset() -> None:
    for key in GRAPH.asset_check_keys:
        assert GRAPH.get(key).partitions_def == GRAPH.get(key.asset_key).partitions_def, key


def test_nothing_that_spends_money_or_waits_for_people_starts_by_itself() -> None:
    automatic = {key.path[-1] for key in KEYS if GRAPH.get(key).automation_condition is not None}
    assert automatic == {key.path[-1] for key in KEYS} - {"raw_data", "labeling_job", "annotations"}


def test_whatever_opens_the_index_is_in_its_pool() -> None:
    using = {
        node.name: node
        for assets in [*(defs.assets or []), *(defs.asset_checks or [])]
        if isinstance(assets, dg.AssetsDefinition)
        for node in [assets.node_def]
        if "vector_index" in assets.required_resource_keys
    }
    assert len(using) == 2
    for node in using.values():
        assert isinstance(node, dg.OpDefinition)
        assert node.pool == "vector_index"


def test_a_pool_lets_one_step_in(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path / "wheel")
    with open_instance(wheel.config) as instance:
        assert instance.global_op_concurrency_default_limit == 1
        assert not instance.telemetry_enabled
    assert (wheel.config.cache / "dagster" / "dagster.yaml").read_text() == SETTINGS.read_text()


def test_six_happenings_and_the_graph_have_their_sensors() -> None:
    names = {sensor.name for sensor in defs.sensors or []}
    happenings = {"objects_arrived", "turn_due", "batch_approved", "labels_returned", "metrics_reported", "run_failed"}
    assert names == happenings | {"inside_the_graph"}
    assert all(sensor.default_status is dg.DefaultSensorStatus.STOPPED for sensor in defs.sensors or [])


def test_the_graph_can_be_looked_at_without_a_configuration(tmp_path: Path) -> None:
    dg.Definitions.validate_loadable(build_definitions(str(tmp_path / "nowhere.yaml")))


@pytest.mark.integration
def test_the_workspace_loads_as_a_user_loads_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=ROOT,
        env=os.environ | {"DAGSTER_HOME": str(tmp_path), "FLYWHEEL_SENSORS": "on"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "PreviewWarning" not in done.stderr
