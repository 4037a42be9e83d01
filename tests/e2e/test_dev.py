"""`flywheel dev`: what the Dagster UI lists, what its buttons do, and how the sensors turn the wheel by themselves.

One real server on a tiny wheel, its sensors on. Its story is told by fixtures: an empty wheel; labeled data lands and
turn 0 follows by itself; a person materializes everything again by hand; more data lands and starts turn 1, which
waits for a person's approval and, after it, goes on to its evaluation.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.instance import SETTINGS
from flywheel.feedback import Waiting, alerts_path, waiting_for
from flywheel.vendors import SimulatedVendor, open_vendor
from tests.assets.test_definitions import BLOCKING, STATIONS, TOLD
from tests.assets.tiny_wheel import TinyWheel, build_wheel
from tests.checkout import tool
from tests.dev_server import REPOSITORY, DevServer, run_dev

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1500)]

HAPPENINGS = {"objects_arrived", "turn_due", "batch_approved", "labels_returned", "metrics_reported", "run_failed"}
GRAPH = "inside_the_graph"  # the sensor of the automation conditions
ARRIVAL = ["raw/raw_data", "embeddings/embeddings"]
CORPUS = [f"structure/{name}" for name in STATIONS["structure"]] + ["index/vector_index"]
TURN = [f"{station}/{name}" for station in ("gaps", "labeling", "quality", "modeling") for name in STATIONS[station]]
FIRST, SECOND, LABELED = 48, 12, 30
TURNS = ["turn-000", "turn-001"]
COMPARED = [
    "items",
    "annotation_events",
    "neighbors",
    "clusters",
    "map_points",
    "gaps",
    "labels",
    "training_sets",
    "evaluations",
]

QUICK = "run_queue: {dequeue_interval_seconds: 1}\n"  # of the 5 s that Dagster lets a run wait, nothing is learned

NODES = """
{ assetNodes {
    assetKey { path } groupName kinds description owners { ... on TeamAssetOwner { team } }
    partitionDefinition { dimensionTypes { dynamicPartitionsDefinitionName } }
    assetChecksOrError { ... on AssetChecks { checks { name description blocking } } }
} }
"""
SENSORS = """
query Sensors($repository: RepositorySelector!) {
  sensorsOrError(repositorySelector: $repository) { ... on Sensors { results {
    name description
    sensorState {
      id status
      skipped: ticks(limit: 5, statuses: [SKIPPED]) { skipReason }
      failed: ticks(limit: 5, statuses: [FAILURE]) { error { message } }
      asked: ticks(limit: 5, statuses: [SUCCESS]) {
        runIds dynamicPartitionsRequestResults { partitionsDefName partitionKeys type }
      }
    }
  } } }
}
"""
RUNS = "{ runsOrError { ... on Runs { results { status tags { key value } } } } }"
PARTITIONS = """
query Partitions($keys: [AssetKeyInput!]!) { assetNodes(assetKeys: $keys) { partitionKeys } }
"""
MADE = """
query Made($keys: [AssetKeyInput!]!, $partitions: [String!]) {
  assetNodes(assetKeys: $keys) { assetMaterializations(limit: 1, partitions: $partitions) {
    runId
    metadataEntries {
      label
      ... on IntMetadataEntry { intValue }
      ... on FloatMetadataEntry { floatValue }
      ... on MarkdownMetadataEntry { mdStr }
      ... on PathMetadataEntry { path }
      ... on BoolMetadataEntry { boolValue }
      ... on TextMetadataEntry { text }
    }
  } }
}
"""
CHECKED = """
query Checked($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection(limit: 1000) { events {
  ... on AssetCheckEvaluationEvent { evaluation { checkName success partition } }
} } } } }
"""


@dataclass
class Dev:
    """A server and its wheel."""

    server: DevServer
    wheel: TinyWheel

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {"/".join(node["assetKey"]["path"]): node for node in self.server.ask(NODES)["assetNodes"]}

    def sensors(self) -> dict[str, dict[str, Any]]:
        answer = self.server.ask(SENSORS, repository=REPOSITORY)["sensorsOrError"]["results"]
        return {sensor["name"]: sensor for sensor in answer}

    def ticks(self, sensor: str, kind: str) -> list[dict[str, Any]]:
        """A sensor's last ticks that `asked` for something or `skipped`, newest first."""
        state = self.sensors()[sensor]["sensorState"]
        assert state["failed"] == []
        return state[kind]

    def skips(self, sensor: str, words: str, seconds: float = 180) -> None:
        """Wait until a sensor asks for nothing and gives this reason."""

        def said() -> bool | None:
            reasons = [str(tick["skipReason"]) for tick in self.ticks(sensor, "skipped")]
            return any(words in reason for reason in reasons) or None

        self.server.until(said, f"{sensor} skips since '{words}'", seconds)

    def asks(self, sensor: str, seconds: float = 180) -> dict[str, Any]:
        """Wait until a sensor asks for something; return the newest tick that did."""
        return self.server.until(lambda: next(iter(self.ticks(sensor, "asked")), None), f"{sensor} asks", seconds)

    def rows(self, table: str) -> pl.DataFrame:
        """A table's rows, in one order."""
        rows = self.wheel.tables.read(table)
        return rows.sort([name for name, kind in rows.schema.items() if not kind.is_nested()])

    def run_count(self, partition: str) -> int:
        """How many runs there were for a partition."""
        return sum(run.get("dagster/partition") == partition for run in self.runs())

    def runs(self) -> list[dict[str, str]]:
        """The tags of all runs, newest first."""
        found = self.server.ask(RUNS)["runsOrError"]["results"]
        return [{tag["key"]: tag["value"] for tag in run["tags"]} for run in found]

    def partitions(self, asset: str) -> list[str]:
        return self.server.ask(PARTITIONS, keys=[{"path": asset.split("/")}])["assetNodes"][0]["partitionKeys"]

    def made(self, asset: str, partition: str | None = None) -> dict[str, Any] | None:
        """The metadata of an asset's latest materialization; None if there is none."""
        partitions = [partition] if partition else None
        nodes = self.server.ask(MADE, keys=[{"path": asset.split("/")}], partitions=partitions)["assetNodes"]
        events = nodes[0]["assetMaterializations"]
        return plain(events[0]["metadataEntries"]) if events else None

    def materialize(self, assets: list[str], partition: str | None = None) -> dict[str, bool]:
        """Materialize by hand and wait; return the checks that were evaluated, and whether each passed."""
        run = self.server.materialize(assets, partition)
        self.server.finish(run, 600)
        events = self.server.ask(CHECKED, id=run)["runOrError"]["eventConnection"]["events"]
        found = [event["evaluation"] for event in events if event]
        assert all(check["partition"] == partition for check in found)
        return {check["checkName"]: check["success"] for check in found}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `flywheel` beside the server."""
        command = [tool("flywheel"), *arguments, "--config", self.wheel.config_path]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def plain(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Metadata as label -> value."""
    return {
        entry["label"]: next(value for name, value in entry.items() if name != "label" and value is not None)
        for entry in entries
    }


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The server on a wheel where nothing has arrived; nothing is approved by itself."""
    folder = tmp_path_factory.mktemp("dev")
    wheel = build_wheel(
        folder / "wheel",
        budget={"auto_approve": False, "labels_per_turn": 6, "evaluation_labels": 0, "evaluation_share": 0.3},
        triggers={"new_items": SECOND, "inbox": str(folder / "inbox")},
    )
    (folder / "inbox").mkdir()
    home = wheel.config.cache / "dagster"
    home.mkdir(parents=True)
    (home / SETTINGS.name).write_text(SETTINGS.read_text() + QUICK)
    with run_dev(Path(wheel.config_path), folder / "dev.log") as server:
        yield Dev(server, wheel)


@pytest.fixture(scope="module")
def idle(empty: Dev) -> dict[str, dict[str, Any]]:
    """The sensors after each of the six has looked at the empty wheel."""

    def all_looked() -> dict[str, dict[str, Any]] | None:
        found = empty.sensors()
        return found if all(found[name]["sensorState"]["skipped"] for name in HAPPENINGS) else None

    return empty.server.until(all_looked, "every sensor has ticked")


@pytest.fixture(scope="module")
def based(empty: Dev, idle: dict[str, dict[str, Any]]) -> Dev:
    """Labeled data landed; since nothing has to be paid for, turn 0 went to its evaluation by itself."""
    empty.wheel.add(0, FIRST, labeled=LABELED)
    empty.server.until(lambda: empty.made("modeling/model_eval", "turn-000"), "turn 0 is evaluated", 600)
    return empty


@dataclass
class ByHand:
    """What a person's clicks brought about."""

    dev: Dev
    checks: dict[str, bool]
    before: dict[str, pl.DataFrame]  # the rows of tables, before
    old_runs: int  # of turn 0, after


@pytest.fixture(scope="module")
def by_hand(based: Dev) -> ByHand:
    """A person materialized everything that stands once more: the arrival, the corpus, turn 0."""
    before = {name: based.rows(name) for name in COMPARED}
    checks = based.materialize(ARRIVAL, "arrival-00001")
    checks |= based.materialize(CORPUS)
    checks |= based.materialize(TURN, "turn-000")
    return ByHand(based, checks, before, based.run_count("turn-000"))


@pytest.fixture(scope="module")
def waiting(by_hand: ByHand) -> Dev:
    """The second portion landed: the wheel turns by itself up to a person's approval."""
    dev = by_hand.dev
    dev.wheel.add(FIRST, SECOND)
    dev.skips("batch_approved", "waiting for `flywheel approve` of turn 1", 600)
    dev.server.until(lambda: dev.made("labeling/labeling_batch", "turn-001"), "its run says so")
    return dev


@pytest.fixture(scope="module")
def closed(waiting: Dev) -> Dev:
    """A person approved the batch of turn 1 in a terminal, and the wheel went on to its evaluation."""
    done = waiting.command("approve", "1", "--author", "Ada", "--note", "looks right")
    assert done.returncode == 0, done.stderr
    waiting.server.until(lambda: waiting.made("modeling/model_eval", "turn-001"), "turn 1 is evaluated", 600)
    return waiting


def test_every_asset_is_listed_with_what_it_is(empty: Dev) -> None:
    nodes = empty.nodes()
    assert set(nodes) == {*ARRIVAL, *CORPUS, *TURN}
    for key, node in nodes.items():
        assert node["groupName"] == key.split("/")[0]
        assert node["kinds"] and node["owners"]
        assert node["description"].startswith(("One row is ", "One point is "))


def test_arrivals_and_turns_are_the_partition_sets(empty: Dev) -> None:
    for key, node in empty.nodes().items():
        definition = node["partitionDefinition"]
        found = definition and [one["dynamicPartitionsDefinitionName"] for one in definition["dimensionTypes"]]
        assert found == (["arrivals"] if key in ARRIVAL else ["turns"] if key in TURN else None), key


def test_checks_are_listed_under_their_assets(empty: Dev) -> None:
    checks = {check["name"]: check for node in empty.nodes().values() for check in node["assetChecksOrError"]["checks"]}
    assert set(checks) == BLOCKING | TOLD
    assert {name for name, check in checks.items() if check["blocking"]} == BLOCKING
    assert all(check["description"] for check in checks.values())


def test_sensors_run_and_say_why_they_ask_for_nothing(idle: dict[str, dict[str, Any]]) -> None:
    assert set(idle) == HAPPENINGS | {GRAPH}
    for sensor in idle.values():
        assert sensor["description"]
        assert sensor["sensorState"]["status"] == "RUNNING"
        assert sensor["sensorState"]["failed"] == sensor["sensorState"]["asked"] == []
    reasons = {name: idle[name]["sensorState"]["skipped"][0]["skipReason"] for name in HAPPENINGS}
    expected = {
        "objects_arrived": "nothing new in 'photos'; 0 arrivals so far",
        "turn_due": "nothing has arrived",
        "batch_approved": "no batch waits",
        "labels_returned": "no job is at the vendor",
        "metrics_reported": "no report waits in",
    }
    for name, words in expected.items():
        assert words in reasons[name]
    assert reasons["run_failed"]  # Dagster's own words


def test_labeled_data_makes_the_base_line_by_itself(based: Dev) -> None:
    assert based.partitions("raw/raw_data") == ["arrival-00001"]
    assert based.partitions("modeling/model") == ["turn-000"]
    assert all(based.made(asset, "turn-000") for asset in TURN)
    turn = based.wheel.tables.read("turns", turn=0).row(0, named=True)
    assert (turn["trigger"], turn["state"]) == ("base-line", "closed")
    assert based.rows("jobs").is_empty()


def test_an_arrival_is_materialized_by_hand(by_hand: ByHand) -> None:
    items = by_hand.dev.made("raw/raw_data", "arrival-00001")
    assert items is not None
    assert (items["dagster/row_count"], items["labels"], items["quarantined"]) == (FIRST, LABELED, 0)
    assert "| 000.png |" in items["items"]
    assert items["table"] == by_hand.dev.wheel.tables.uri("items")
    vectors = by_hand.dev.made("embeddings/embeddings", "arrival-00001")
    assert vectors is not None
    assert (vectors["dagster/row_count"], vectors["encoded"], vectors["reused"]) == (FIRST, 0, FIRST)  # the second time


def test_what_is_corpus_wide_is_materialized_by_hand(by_hand: ByHand) -> None:
    for asset in ("index/vector_index", "structure/neighbor_graph", "structure/data_map"):
        made = by_hand.dev.made(asset)
        assert made is not None and made["dagster/row_count"] == FIRST, asset
    names = by_hand.dev.made("structure/clusters")
    assert names is not None and names["names"].startswith("| modality | level | name | size | event |")
    picture = (by_hand.dev.made("structure/data_map") or {})["map of images"]
    assert picture.startswith("![map of images](data:image/png;base64,iVBOR")


def test_a_turn_is_materialized_by_hand(by_hand: ByHand) -> None:
    labels = by_hand.dev.made("quality/label_quality", "turn-000")
    assert labels is not None and labels["dagster/row_count"] == LABELED
    evaluated = by_hand.dev.made("modeling/model_eval", "turn-000")
    assert evaluated is not None
    assert 0.5 < evaluated["accuracy, deployed"] <= 1
    assert evaluated["metrics"].startswith("| arm | slice | metric | value |")
    for plot in ("accuracy per slice", "reliability"):
        assert evaluated[plot].startswith(f"![{plot}](data:image/png;base64,iVBOR")


def test_materializing_runs_every_check_and_leaves_the_same_rows(by_hand: ByHand) -> None:
    assert by_hand.checks.keys() == BLOCKING | TOLD
    assert all(by_hand.checks[name] for name in BLOCKING)
    for table, rows in by_hand.before.items():
        assert by_hand.dev.rows(table).equals(rows), table
    assert waiting_for(by_hand.dev.wheel.tables, by_hand.dev.wheel.config, 0) is Waiting.closed


def test_what_landed_starts_a_turn_that_waits_for_a_person(waiting: Dev) -> None:
    assert waiting.partitions("raw/raw_data") == ["arrival-00001", "arrival-00002"]
    assert waiting.partitions("gaps/gap_report") == ["turn-000", "turn-001"]
    turn = waiting.wheel.tables.read("turns", turn=1).row(0, named=True)
    assert turn["trigger"] == "new-data"
    assert turn["reason"] == f"{SECOND} items are new since turn 0, {SECOND} start a turn"
    batch = waiting.made("labeling/labeling_batch", "turn-001")
    assert batch is not None and batch["approved"] is False and batch["cost"] > 0
    assert waiting.wheel.tables.read("jobs", turn=1).is_empty()
    assert waiting.made("labeling/labeling_job", "turn-001") is None


def test_the_button_orders_nothing_that_nobody_approved(waiting: Dev) -> None:
    run = waiting.server.materialize(["labeling/labeling_job"], "turn-001")
    with pytest.raises(AssertionError, match="FAILURE"):
        waiting.server.finish(run)
    assert waiting.wheel.tables.read("jobs", turn=1).is_empty()
    path = alerts_path(waiting.wheel.config)
    waiting.server.until(lambda: path.exists() or None, "an alert tells of the failed run")
    assert [json.loads(line)["run_id"] for line in path.read_text().splitlines()] == [run]
    assert waiting.asks("run_failed")


def test_approval_lets_the_turn_go_on_to_its_evaluation(closed: Dev) -> None:
    vendor = open_vendor(closed.wheel.config)
    assert isinstance(vendor, SimulatedVendor)
    [order] = vendor.orders()
    [job] = closed.wheel.tables.read("jobs", turn=1).iter_rows(named=True)
    assert (job["state"], job["tasks"]) == ("returned", order.tasks)
    answers = closed.made("labeling/annotations", "turn-001")
    assert answers is not None and answers["dagster/row_count"] == order.tasks * order.votes
    assert waiting_for(closed.wheel.tables, closed.wheel.config, 1) is Waiting.closed
    assert all(closed.made(asset, "turn-001") for asset in TURN)


def test_each_happening_asks_once_and_no_old_turn_is_made_again(closed: Dev, by_hand: ByHand) -> None:
    tags = [(run.get("dagster/sensor_name"), run.get("dagster/partition")) for run in closed.runs()]
    by_turn = [(name, turn) for name in ("turn_due", "batch_approved", "labels_returned") for turn in TURNS]
    expected = [*by_turn, *(("objects_arrived", f"arrival-0000{number}") for number in (1, 2))]
    assert {pair: tags.count(pair) for pair in expected} == dict.fromkeys(expected, 1)
    assert (GRAPH, None) in tags  # what is corpus-wide followed by itself
    assert closed.run_count("turn-000") == by_hand.old_runs
