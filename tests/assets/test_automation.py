"""What follows by itself inside the graph: on two arrivals and three turns."""

from collections.abc import Sequence

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from assets.definitions import defs
from assets.partitions import arrivals

ARRIVALS = ("arrival-00001", "arrival-00002")
TURNS = ("turn-000", "turn-001", "turn-002")
RAW, EMBEDDINGS = dg.AssetKey(["raw", "raw_data"]), dg.AssetKey(["embeddings", "embeddings"])
INDEX = dg.AssetKey(["index", "vector_index"])
NEIGHBORS, DUPLICATES, CLUSTERS, DATA_MAP = (
    dg.AssetKey(["structure", name]) for name in ("neighbor_graph", "duplicates", "clusters", "data_map")
)
GAPS = dg.AssetKey(["gaps", "gap_report"])
BATCH, JOB, ANNOTATIONS = (
    dg.AssetKey(["labeling", name]) for name in ("labeling_batch", "labeling_job", "annotations")
)
QUALITY = dg.AssetKey(["quality", "label_quality"])
TRAINING, MODEL, EVAL = (dg.AssetKey(["modeling", name]) for name in ("training_set", "model", "model_eval"))
CORPUS = (INDEX, NEIGHBORS, DUPLICATES, CLUSTERS, DATA_MAP)
TURN_CHAIN = (GAPS, BATCH, JOB, ANNOTATIONS, QUALITY, TRAINING, MODEL, EVAL)


class Graph:
    """The real definitions over an empty history, in which a test makes things happen."""

    def __init__(self) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor = None
        self.tick()

    def tick(self) -> set[tuple[str, str | None]]:
        """Evaluate all conditions once; return the requested (asset, partition)."""
        result = dg.evaluate_automation_conditions(defs=defs, instance=self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        keys = [one.key for one in result.results if isinstance(one.key, dg.AssetKey)]
        return {(key.path[-1], partition) for key in keys for partition in result.get_requested_partitions(key)}

    def settle(self) -> set[tuple[str, str | None]]:
        """Tick until nothing is requested, as if every request were carried out; return all requests."""
        requested: set[tuple[str, str | None]] = set()
        while new := self.tick():
            assert not new & requested, f"requested again: {new & requested}"
            requested |= new
            for name, partition in sorted(new, key=str):
                self.make(key_of(name), partition)
        return requested

    def make(self, key: dg.AssetKey, partition: str | None = None, failing: Sequence[str] = ()) -> None:
        """Materialize an asset with its checks; those named in `failing` do not pass."""
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))
        records = dg.AssetRecordsFilter(key, asset_partitions=None if partition is None else [partition])
        [made] = self.instance.fetch_materializations(records, limit=1).records
        for check in defs.resolve_asset_graph().asset_check_keys:
            if check.asset_key == key:
                self.instance.report_runless_asset_event(
                    dg.AssetCheckEvaluation(
                        asset_key=key,
                        check_name=check.name,
                        passed=check.name not in failing,
                        partition=partition,
                        blocking=True,
                        target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
                            storage_id=made.storage_id, run_id=made.run_id, timestamp=made.timestamp
                        ),
                    )
                )

    def arrive(self, *keys: str) -> None:
        self.instance.add_dynamic_partitions("arrivals", list(keys))

    def open_turns(self, *keys: str) -> None:
        self.instance.add_dynamic_partitions("turns", list(keys))


def key_of(name: str) -> dg.AssetKey:
    [key] = [key for key in defs.resolve_asset_graph().get_all_asset_keys() if key.path[-1] == name]
    return key


@pytest.fixture
def graph() -> Graph:
    return Graph()


def test_nothing_starts_on_an_empty_wheel(graph: Graph) -> None:
    assert graph.tick() == set()


def test_an_arrival_is_carried_through_to_the_map(graph: Graph) -> None:
    graph.arrive(ARRIVALS[0])
    graph.make(RAW, ARRIVALS[0])
    assert graph.settle() == {("embeddings", ARRIVALS[0]), *((key.path[-1], None) for key in CORPUS)}


def test_a_second_arrival_embeds_alone_and_refreshes_the_corpus(graph: Graph) -> None:
    graph.arrive(ARRIVALS[0])
    graph.make(RAW, ARRIVALS[0])
    graph.settle()
    graph.arrive(ARRIVALS[1])
    graph.make(RAW, ARRIVALS[1])
    assert graph.settle() == {("embeddings", ARRIVALS[1]), *((key.path[-1], None) for key in CORPUS)}


def test_a_refused_arrival_is_not_let_through_by_the_next_good_one(graph: Graph) -> None:
    graph.arrive(*ARRIVALS)
    graph.make(RAW, ARRIVALS[0], failing=["every_object_is_accounted_for"])
    assert ("embeddings", ARRIVALS[0]) not in graph.settle()
    graph.make(RAW, ARRIVALS[1])
    requested = graph.settle()
    assert ("embeddings", ARRIVALS[1]) in requested
    assert ("embeddings", ARRIVALS[0]) not in requested


def test_a_refused_arrival_does_not_freeze_the_corpus(graph: Graph) -> None:
    graph.arrive(*ARRIVALS)
    graph.make(RAW, ARRIVALS[0], failing=["every_object_is_accounted_for"])
    graph.make(RAW, ARRIVALS[1])
    assert {(key.path[-1], None) for key in CORPUS} <= graph.settle()


def test_an_arrival_that_is_mended_goes_through(graph: Graph) -> None:
    graph.arrive(ARRIVALS[0])
    graph.make(RAW, ARRIVALS[0], failing=["every_object_is_accounted_for"])
    graph.settle()
    raw_run(graph, ARRIVALS[0])
    assert ("embeddings", ARRIVALS[0]) in graph.settle()


def test_a_turn_goes_on_by_itself_except_where_money_or_people_are_asked(graph: Graph) -> None:
    corpus(graph)
    graph.open_turns(TURNS[0])
    assert graph.settle() == {("gap_report", TURNS[0]), ("labeling_batch", TURNS[0])}
    graph.make(JOB, TURNS[0])
    assert graph.settle() == set()
    graph.make(ANNOTATIONS, TURNS[0])
    names = ("label_quality", "training_set", "model", "model_eval")
    assert graph.settle() == {(name, TURNS[0]) for name in names}


def test_a_training_set_with_an_item_on_both_sides_trains_nothing(graph: Graph) -> None:
    corpus(graph)
    graph.open_turns(TURNS[0])
    graph.settle()
    for key in (JOB, ANNOTATIONS, QUALITY):
        graph.make(key, TURNS[0])
    graph.make(TRAINING, TURNS[0], failing=["no_item_stands_on_both_sides"])
    assert graph.settle() == set()


def test_old_turns_are_never_requested_again(graph: Graph) -> None:
    corpus(graph)
    for turn in TURNS:
        graph.open_turns(turn)
        for key in TURN_CHAIN:
            graph.make(key, turn)
        graph.settle()
    graph.arrive(ARRIVALS[1])
    graph.make(RAW, ARRIVALS[1])
    requested = graph.settle()
    assert ("clusters", None) in requested
    assert not {partition for _, partition in requested} & set(TURNS)


def test_a_new_turn_asks_for_itself_only(graph: Graph) -> None:
    corpus(graph)
    for turn in TURNS[:2]:
        graph.open_turns(turn)
        for key in TURN_CHAIN:
            graph.make(key, turn)
    graph.settle()
    graph.open_turns(TURNS[2])
    assert graph.settle() == {("gap_report", TURNS[2]), ("labeling_batch", TURNS[2])}


def raw_run(graph: Graph, arrival: str) -> None:
    """A run of its own that makes an arrival's data and finds it good."""

    @dg.asset(key=RAW, partitions_def=arrivals)
    def raw_data() -> None: ...

    @dg.asset_check(asset=raw_data, partitions_def=arrivals, blocking=True)
    def every_object_is_accounted_for() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset=raw_data, partitions_def=arrivals, blocking=True)
    def guarding_expectations_hold() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    checks = [every_object_is_accounted_for, guarding_expectations_hold]
    dg.materialize([raw_data, *checks], instance=graph.instance, partition_key=arrival)


def corpus(graph: Graph) -> None:
    """One arrival, taken in."""
    graph.arrive(ARRIVALS[0])
    graph.make(RAW, ARRIVALS[0])
    graph.settle()
