"""Metrics that others report, failed runs, and whether sensors run by themselves."""

import json
from pathlib import Path

import dagster as dg
import pytest

from flywheel.records import SCHEMAS
from sensors import HAPPENINGS, build_run_failed, metrics_reported
from sensors.common import SWITCH, default_status
from tests.labeling_world import World
from tests.sensors.conftest import Tick, reason

GOOD = {"metric": "accuracy", "value": 0.91, "at": "2026-11-22T08:00:00Z", "n": 120, "slice": "night", "baseline": 0.95}


@pytest.fixture
def inbox(world: World, tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    triggers = world.config.triggers.model_copy(update={"inbox": str(folder)})
    world.config = world.config.model_copy(update={"triggers": triggers})
    return folder


def test_without_an_inbox_nothing_is_looked_for(world: World, tick: Tick) -> None:
    assert reason(tick(metrics_reported, world)) == "no inbox is configured (triggers.inbox)"


def test_an_empty_inbox_says_so(world: World, inbox: Path, tick: Tick) -> None:
    assert reason(tick(metrics_reported, world)) == f"no report waits in {inbox}"


def test_a_report_becomes_an_evaluation_once(world: World, inbox: Path, tick: Tick) -> None:
    for _ in range(2):  # the same report is sent again
        (inbox / "night.json").write_text(json.dumps(GOOD))
        result = tick(metrics_reported, world)
    assert [event.asset_key.path for event in result.asset_events] == [["modeling", "model_eval"]]
    row = world.tables.read("evaluations").row(0, named=True)
    assert world.tables.read("evaluations").height == 1
    assert set(row) == set(SCHEMAS["evaluations"])
    assert row["origin"].startswith("outside-20261122T080000-")
    assert (row["slice"], row["metric"], row["value"], row["baseline"], row["n"]) == (
        "night",
        "accuracy",
        0.91,
        0.95,
        120,
    )
    assert (row["turn"], row["arm"], row["low"]) == (0, "outside", None)
    assert not list(inbox.glob("*.json"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not valid JSON"),
        ("[1]", "valid dictionary"),
        (json.dumps({**GOOD, "value": "high"}), "value: "),
        (json.dumps({key: GOOD[key] for key in ("metric", "value")}), "at: Field required"),
        (json.dumps({**GOOD, "at": "2026-11-22T08:00:00"}), "at: "),
        (json.dumps({**GOOD, "value": float("nan")}), "value: "),
        (json.dumps({**GOOD, "unheard": 1}), "unheard: "),
    ],
)
def test_a_malformed_report_is_set_aside_with_a_reason(
    world: World, inbox: Path, tick: Tick, text: str, why: str
) -> None:
    (inbox / "bad.json").write_text(text)
    (inbox / "good.json").write_text(json.dumps(GOOD))
    tick(metrics_reported, world)
    assert (inbox / "refused" / "bad.json").read_text() == text
    assert why in (inbox / "refused" / "bad.json.reason.txt").read_text()
    assert world.tables.read("evaluations").height == 1
    assert [path.name for path in (inbox / "taken").iterdir()] == ["good.json"]


def test_only_malformed_reports_is_a_skip_with_the_count(world: World, inbox: Path, tick: Tick) -> None:
    (inbox / "bad.json").write_text("{")
    assert reason(tick(metrics_reported, world)) == "1 reports were set aside, none could be used"


def failed_run(world: World, instance: dg.DagsterInstance, config_path: Path) -> dg.RunFailureSensorContext:
    @dg.op
    def broken() -> None:
        raise ValueError("the disk is full")

    @dg.job
    def doomed() -> None:
        broken()

    result = doomed.execute_in_process(instance=instance, raise_on_error=False)
    return dg.build_run_status_sensor_context(
        sensor_name="run_failed",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    ).for_run_failure()


def test_a_failed_run_is_one_line_in_the_alerts(tmp_path: Path, instance: dg.DagsterInstance, world: World) -> None:
    from tests.assets.tiny_wheel import build_wheel

    wheel = build_wheel(tmp_path / "tiny")
    context = failed_run(world, instance, Path(wheel.config_path))
    sensor = build_run_failed(wheel.config_path)
    sensor(context)
    sensor(context)  # a tick that is repeated alerts nobody twice
    [line] = (wheel.config.cache / "alerts.jsonl").read_text().splitlines()
    alert = json.loads(line)
    assert (alert["run_id"], alert["job"]) == (context.dagster_run.run_id, "doomed")
    assert "doomed" in alert["message"]


@pytest.mark.parametrize(("value", "runs"), [("on", True), ("ON", True), ("", False), (None, False), ("off", False)])
def test_sensors_run_by_themselves_only_where_they_are_switched_on(
    monkeypatch: pytest.MonkeyPatch, value: str | None, runs: bool
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    if value is not None:
        monkeypatch.setenv(SWITCH, value)
    assert (default_status() is dg.DefaultSensorStatus.RUNNING) == runs


def test_every_happening_has_a_sensor_and_says_what_happened() -> None:
    names = [sensor.name for sensor in HAPPENINGS] + [build_run_failed("flywheel.yaml").name]
    told = ["objects_arrived", "turn_due", "batch_approved", "labels_returned", "metrics_reported", "run_failed"]
    assert names == told
    assert all(sensor.description for sensor in HAPPENINGS)
