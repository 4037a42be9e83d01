"""Every check, both ways: it holds on a finished wheel, and fails when what it guards is broken."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.definitions import build_definitions
from flywheel.errors import VendorBusy
from flywheel.index import open_index
from flywheel.records import SCHEMAS
from flywheel.tables import Tables
from flywheel.vendors import open_vendor
from tests.assets.conftest import Finished
from tests.assets.tiny_wheel import TinyWheel

ARRIVAL, TURN = "arrival-00001", "turn-001"
CHECKS = {
    "every_object_is_accounted_for": ("raw_data", ARRIVAL),
    "guarding_expectations_hold": ("raw_data", ARRIVAL),
    "expectations_hold": ("raw_data", ARRIVAL),
    "schema_is_stable": ("raw_data", ARRIVAL),
    "every_item_has_one_embedding": ("embeddings", ARRIVAL),
    "index_matches_the_tables": ("vector_index", None),
    "batch_stays_within_budget": ("labeling_batch", TURN),
    "no_evaluation_item_is_chosen": ("labeling_batch", TURN),
    "every_answer_has_an_author": ("annotations", TURN),
    "agreement_is_above_the_floor": ("label_quality", TURN),
    "no_item_stands_on_both_sides": ("training_set", TURN),
    "training_set_has_two_classes": ("training_set", TURN),
    "model_is_calibrated": ("model_eval", TURN),
}


def judge(wheel: TinyWheel, name: str, partition: str | None = None) -> dg.AssetCheckEvaluation:
    """Run one check over the wheel as it stands."""
    partition = partition or CHECKS[name][1]
    definitions = build_definitions(wheel.config_path)
    [key] = [key for key in definitions.resolve_asset_graph().asset_check_keys if key.name == name]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("arrivals", [ARRIVAL, "arrival-00002"])
        instance.add_dynamic_partitions("turns", [TURN])
        result = dg.materialize(
            [*(definitions.assets or []), *(definitions.asset_checks or [])],  # type: ignore[list-item]
            selection=dg.AssetSelection.checks(key),
            resources=definitions.resources,
            instance=instance,
            tags={} if partition is None else {"dagster/partition": partition},
            raise_on_error=False,
        )
        [evaluation] = result.get_asset_check_evaluations()
        return evaluation


def change(tables: Tables, table: str, partition: dict[str, Any], *columns: pl.Expr, where: Any = True) -> None:
    """Set columns in the rows of one partition that meet a condition."""
    rows = tables.read(table, **partition)
    changed = rows.with_columns(
        pl.when(where).then(column).otherwise(pl.col(column.meta.output_name())).alias(column.meta.output_name())
        for column in columns
    )
    assert tables.replace(table, changed, **partition)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_holds_on_a_finished_wheel(finished: Finished, name: str) -> None:
    evaluation = judge(finished.wheel, name)
    assert evaluation.passed, evaluation.description
    assert evaluation.partition == CHECKS[name][1]


def test_a_lost_item_is_missed(copied: TinyWheel) -> None:
    items = copied.tables.read("items", arrival=ARRIVAL)
    copied.tables.replace("items", items.head(items.height - 1), arrival=ARRIVAL)
    evaluation = judge(copied, "every_object_is_accounted_for")
    assert not evaluation.passed and evaluation.blocking
    assert "every object has an item or a quarantine row" in str(evaluation.description)


def test_what_the_wheels_own_suite_calls_blocking_is_stopped_and_the_rest_told(copied: TinyWheel) -> None:
    folder = Path(copied.config.expectations)
    folder.mkdir()
    statement = "{type: expect_table_row_count_to_be_between, min_value: %d, blocking: %s}"
    both = ", ".join([statement % (1_000, "true"), statement % (2_000, "false"), statement % (1, "true")])
    (folder / "size.yaml").write_text(f"{{name: size, expectations: [{both}]}}")
    stopped, told = (judge(copied, name) for name in ("guarding_expectations_hold", "expectations_hold"))
    assert not stopped.passed and stopped.blocking
    assert "Must have greater than or equal to 1000 rows: " in str(stopped.description)
    assert not told.passed and not told.blocking and told.severity is dg.AssetCheckSeverity.WARN
    assert "2000 rows" in str(told.description) and "1000" not in str(told.description)
    assert str(stopped.metadata["expectations"].value).count("✗") == 1
    page = Path(str(stopped.metadata["data docs"].value))
    assert page == Path(copied.config.store.root) / "files" / "validation" / ARRIVAL / "index.html"
    assert "✗ stops" in page.read_text() and "✗ warns" in page.read_text()


def test_a_column_that_came_with_an_arrival_is_told(copied: TinyWheel) -> None:
    items = copied.tables.read("items", arrival=ARRIVAL)
    later = items.with_columns(arrival=pl.lit("arrival-00002"), attributes=pl.lit('{"camera": "front"}'))
    copied.tables.replace("items", later, arrival="arrival-00002")
    evaluation = judge(copied, "schema_is_stable", "arrival-00002")
    assert not evaluation.passed and not evaluation.blocking and evaluation.severity is dg.AssetCheckSeverity.WARN
    assert "camera" in str(evaluation.description)
    assert "| camera | new column |" in str(evaluation.metadata["changes"].value)


def test_a_missing_and_a_double_embedding_are_seen(copied: TinyWheel) -> None:
    rows = copied.tables.read("embeddings", arrival=ARRIVAL).sort("content_id")
    copied.tables.replace("embeddings", pl.concat([rows.slice(1), rows.slice(1, 1)]), arrival=ARRIVAL)
    evaluation = judge(copied, "every_item_has_one_embedding")
    assert not evaluation.passed
    assert str(evaluation.description).startswith("2 of 56 contents")


def test_an_index_that_fell_behind_is_seen(copied: TinyWheel) -> None:
    item = copied.tables.read("items")["item_id"].min()
    with open_index(copied.config) as index:
        index.delete([str(item)])
    evaluation = judge(copied, "index_matches_the_tables")
    assert not evaluation.passed
    assert evaluation.metadata["missing"].value == [item]
    assert evaluation.description == "1 missing, 0 too many, 0 outdated of 56"


def test_a_batch_that_costs_more_than_the_turn_has_is_stopped(copied: TinyWheel) -> None:
    change(copied.tables, "turns", {"turn": 1}, pl.lit(0.10).alias("budget"))
    evaluation = judge(copied, "batch_stays_within_budget")
    assert not evaluation.passed and evaluation.blocking
    assert "the turn may spend 0.10" in str(evaluation.description)


def test_a_batch_with_more_items_than_allowed_is_stopped(copied: TinyWheel) -> None:
    change(copied.tables, "batches", {"turn": 1}, pl.lit("chosen").alias("arm"))
    evaluation = judge(copied, "batch_stays_within_budget")
    assert "at most 8 may be" in str(evaluation.description)


def test_an_evaluation_item_is_never_chosen_to_train_with(copied: TinyWheel) -> None:
    chosen = copied.tables.read("batches", turn=1).filter(pl.col("arm") == "chosen")["item_id"].min()
    change(
        copied.tables, "items", {"arrival": ARRIVAL}, pl.lit("eval").alias("split"), where=pl.col("item_id") == chosen
    )
    evaluation = judge(copied, "no_evaluation_item_is_chosen")
    assert not evaluation.passed and evaluation.blocking
    assert str(chosen) in str(evaluation.metadata["wrongly chosen"].value)


def test_an_answer_without_an_author_is_seen(copied: TinyWheel) -> None:
    job = copied.tables.read("jobs", turn=1)["job_id"].item()
    event = copied.tables.read("annotation_events", origin=job)["event_id"].min()
    nobody = pl.lit("").alias("author")
    change(copied.tables, "annotation_events", {"origin": job}, nobody, where=pl.col("event_id") == event)
    evaluation = judge(copied, "every_answer_has_an_author")
    assert not evaluation.passed
    assert str(event) in str(evaluation.metadata["nameless"].value)


def test_annotators_who_disagree_are_seen(copied: TinyWheel) -> None:
    change(copied.tables, "labels", {"turn": 1}, pl.lit(0.4).alias("agreement"))
    evaluation = judge(copied, "agreement_is_above_the_floor")
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.WARN


def test_a_content_on_both_sides_is_stopped(copied: TinyWheel) -> None:
    rows = copied.tables.read("training_sets", turn=1)
    leaked = rows.filter(pl.col("split") == "train").head(1).with_columns(split=pl.lit("eval"))
    copied.tables.replace("training_sets", pl.concat([rows, leaked]), turn=1)
    evaluation = judge(copied, "no_item_stands_on_both_sides")
    assert not evaluation.passed and evaluation.blocking
    assert leaked["content_id"].item() in str(evaluation.metadata["on both sides"].value)


def test_a_subject_on_both_sides_is_stopped(copied: TinyWheel) -> None:
    rows = copied.tables.read("training_sets", turn=1)
    both = [rows.filter(pl.col("split") == split)["item_id"].min() for split in ("train", "eval")]
    change(
        copied.tables,
        "items",
        {"arrival": ARRIVAL},
        pl.lit("twins").alias("subject_id"),
        where=pl.col("item_id").is_in(both),
    )
    assert not judge(copied, "no_item_stands_on_both_sides").passed


def test_one_class_is_nothing_to_tell_apart(copied: TinyWheel) -> None:
    change(copied.tables, "training_sets", {"turn": 1}, pl.lit("disc").alias("label"))
    evaluation = judge(copied, "training_set_has_two_classes")
    assert not evaluation.passed and not evaluation.blocking


def test_a_model_that_is_too_sure_is_seen(copied: TinyWheel) -> None:
    row = dict.fromkeys(SCHEMAS["evaluations"]) | {
        "origin": TURN,
        "turn": 1,
        "arm": "deployed",
        "slice": "all",
        "metric": "calibration_error",
        "value": 0.3,
        "low": 0.2,
        "high": 0.4,
        "n": 100,
    }
    copied.tables.replace("evaluations", pl.DataFrame([row], schema=SCHEMAS["evaluations"]), origin=TURN)
    evaluation = judge(copied, "model_is_calibrated")
    assert not evaluation.passed
    assert "calibration error 0.300 (at least 0.200) on 100 items" in str(evaluation.description)


def materialize(wheel: TinyWheel, name: str, **resources: Any) -> dg.ExecuteInProcessResult:
    definitions = build_definitions(wheel.config_path)
    [key] = [key for key in definitions.resolve_asset_graph().get_all_asset_keys() if key.path[-1] == name]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("turns", [TURN, "turn-002"])
        return dg.materialize(
            list(definitions.assets or []),  # type: ignore[arg-type]
            selection=dg.AssetSelection.assets(key).without_checks(),
            resources={**(definitions.resources or {}), **resources},
            instance=instance,
            partition_key=TURN,
            raise_on_error=False,
        )


def forget_order(wheel: TinyWheel) -> None:
    """Make the turn's batch unordered: in our table and at the vendor."""
    wheel.tables.replace("jobs", wheel.tables.read("jobs").head(0), turn=1)
    shutil.rmtree(wheel.config.cache / "simulated-vendor")


def test_a_batch_that_breaks_its_budget_is_not_ordered_whoever_asks(copied: TinyWheel) -> None:
    change(copied.tables, "turns", {"turn": 1}, pl.lit(0.10).alias("budget"))
    forget_order(copied)
    result = materialize(copied, "labeling_job")
    [failure] = result.get_step_failure_events()
    data = failure.step_failure_data.user_failure_data
    assert data is not None and "the turn may spend 0.10" in str(data.description)
    assert copied.tables.read("jobs", turn=1).is_empty()


def test_an_order_without_approval_fails_with_the_command_to_run(copied: TinyWheel) -> None:
    path = Path(copied.config_path)
    path.write_text(path.read_text().replace("auto_approve: true", "auto_approve: false"))
    forget_order(copied)
    result = materialize(copied, "labeling_job")
    [failure] = result.get_step_failure_events()
    data = failure.step_failure_data.user_failure_data
    assert data is not None and "flywheel approve" in str(data.description)
    assert data.metadata["error"].value == "NotApproved"
    assert copied.tables.read("jobs", turn=1).is_empty()


def test_a_busy_vendor_is_asked_again(copied: TinyWheel) -> None:
    real = open_vendor(copied.config)
    asked = []

    class Busy:
        """The wheel's vendor, busy at the first question."""

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def find(self, key: str) -> str | None:
            asked.append(key)
            if len(asked) == 1:
                raise VendorBusy("too many requests", retry_after=0.01)
            return real.find(key)

    forget_order(copied)
    result = materialize(copied, "labeling_job", annotation_vendor=dg.ResourceDefinition.hardcoded_resource(Busy()))
    assert result.success
    assert len(asked) == 2
    assert result.get_step_success_events()
    assert copied.tables.read("jobs", turn=1)["state"].to_list() == ["submitted"]
