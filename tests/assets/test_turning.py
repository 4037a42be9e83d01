"""The wheel turned in process, on real pictures and texts, with real encoders and simulated annotators."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from assets.definitions import defs
from assets.instance import DRIVER, dagster_home, open_instance
from assets.turning import AnswersMissing, RunFailed, turn_wheel
from flywheel.config import MODALITIES, load_config
from flywheel.errors import ConfigError, NotApproved
from flywheel.selection import approve_batch
from flywheel.turns import read_turn
from tests.assets.conftest import Finished
from tests.assets.tiny_wheel import TinyWheel, build_wheel

Turn = Callable[..., list[str]]


def history(wheel: TinyWheel) -> dg.DagsterInstance:
    return dg.DagsterInstance.local_temp(str(dagster_home(wheel.config)))


def metadata(wheel: TinyWheel, name: str) -> dict[str, object]:
    [key] = [key for key in defs.resolve_asset_graph().get_all_asset_keys() if key.path[-1] == name]
    event = history(wheel).get_latest_materialization_event(key)
    assert event is not None and event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_two_turns_are_closed_with_their_snapshots(finished: Finished) -> None:
    assert finished.turned.turns == (0, 1)
    assert finished.turned.arrivals == ("arrival-00001",)
    turn = read_turn(finished.wheel.tables, 1)
    assert turn.state == "closed"
    assert set(turn.snapshot) == {"tables", "index", "encoders", "spec", "model"}
    assert turn.snapshot["model"] in finished.wheel.tables.read("models", turn=1)["model_id"].to_list()
    assert turn.snapshot["spec"] == {"field": "label", "version": "1"}
    assert set(turn.snapshot["encoders"]) == set(MODALITIES)
    assert set(turn.snapshot["index"]) == {"image", "text"}  # what the corpus holds


def test_every_station_of_a_turn_is_timed(finished: Finished) -> None:
    stations = read_turn(finished.wheel.tables, 1).stations
    names = "gap_report labeling_batch labeling_job annotations label_quality training_set model model_eval"
    assert set(stations) == set(names.split())
    assert all(seconds > 0 for seconds in stations.values())


def test_labels_come_from_answers_and_train_a_model(finished: Finished) -> None:
    tables = finished.wheel.tables
    arms = set(tables.read("batches", turn=0)["arm"])
    assert arms == {"seed", "evaluation"}
    assert {"chosen", "random"} <= set(tables.read("batches", turn=1)["arm"])
    assert set(tables.read("annotation_events")["source"]) == {"simulated"}
    accuracy = tables.read("evaluations", origin="turn-001", arm="deployed", slice="all", metric="accuracy")
    assert accuracy["value"].item() > 0.6  # three kinds that anybody can tell apart


def test_the_history_shows_every_asset_and_every_check(finished: Finished) -> None:
    graph, instance = defs.resolve_asset_graph(), history(finished.wheel)
    made = instance.get_latest_materialization_events(graph.get_all_asset_keys())
    assert all(made[key] is not None for key in graph.get_all_asset_keys())
    assert instance.get_materialized_partitions(dg.AssetKey(["modeling", "model_eval"])) == {"turn-000", "turn-001"}
    for key in graph.asset_check_keys:
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).get(key)
        assert record is not None and record.evaluation is not None, key
        assert record.evaluation.passed or not record.evaluation.blocking, key


def test_people_are_told_what_happens_in_plain_words(finished: Finished) -> None:
    text = "\n".join(finished.lines)
    assert "56 items read, 0 came with labels, 0 were set aside" in text
    assert "56 contents embedded, 0 had a vector already" in text
    assert "(simulated annotators)" in text
    assert "Turn 1 is done." in text


@pytest.mark.parametrize(
    ("name", "entry"),
    [("data_map", "map of images"), ("data_map", "map of texts"), ("model_eval", "accuracy per slice")],
)
def test_pictures_stand_in_the_metadata(finished: Finished, name: str, entry: str) -> None:
    shown = str(metadata(finished.wheel, name)[entry])
    found = re.fullmatch(r"!\[[^]]+\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", shown)
    assert found
    image = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert min(image.size) > 100
    assert len(image.convert("RGB").getcolors(1_000_000) or []) > 2


def test_tables_stand_in_the_metadata(finished: Finished) -> None:
    raw = metadata(finished.wheel, "raw_data")
    assert raw["dagster/row_count"] == 56
    assert "| 000.png |" in str(raw["items"])
    batch = metadata(finished.wheel, "labeling_batch")
    assert batch["dagster/row_count"] == finished.wheel.tables.read("batches", turn=1).height
    assert re.search(r"\| chosen \| 0 \| \d{3}\.png \|", str(batch["items"]))
    assert metadata(finished.wheel, "label_quality")["table"] == f"{finished.wheel.tables.root}/labels"


def test_again_with_nothing_new_changes_nothing(copied: TinyWheel, turn: Turn) -> None:
    before, runs = copied.tables.versions(), len(history(copied).get_runs())
    lines = turn(copied, until=1)
    assert copied.tables.versions() == before
    assert len(history(copied).get_runs()) == runs
    assert lines == ["Nothing new has arrived since arrival-00001."]


def test_a_new_portion_encodes_its_own_items_only(copied: TinyWheel, turn: Turn) -> None:
    copied.add(48, 6)
    turn(copied, until=1)
    assert metadata(copied, "embeddings")["encoded"] == 6
    assert copied.tables.read("embeddings", arrival="arrival-00002").height == 6
    assert metadata(copied, "vector_index")["dagster/row_count"] == 62
    assert read_turn(copied.tables, 1).arrivals == ("arrival-00001",)


def test_a_refused_arrival_is_left_out_and_the_next_one_goes_on(copied: TinyWheel) -> None:
    copied.add_broken(4)
    lines: list[str] = []
    first = turn_wheel(copied.config_path, announce=lines.append, until=1)
    copied.add(48, 3)
    second = turn_wheel(copied.config_path, announce=lines.append, until=1)
    assert (first.arrivals, first.refused) == ((), ("arrival-00002",))
    assert (second.arrivals, second.refused) == (("arrival-00003",), ("arrival-00002",))
    assert "few objects and rows are refused" in next(line for line in lines if "is refused" in line)
    assert metadata(copied, "neighbor_graph")["dagster/row_count"] == 59


def test_an_unfinished_turn_is_continued(copied: TinyWheel, turn: Turn) -> None:
    from flywheel.turns import open_turn

    open_turn(copied.tables, 2, trigger="new-data", reason="a process that was killed", budget=1000.0)
    turn(copied, turns=1)
    assert (read_turn(copied.tables, 2).state, read_turn(copied.tables, 2).trigger) == ("closed", "new-data")
    assert copied.tables.read("turns").height == 3


def test_a_run_that_was_killed_does_not_stay_in_progress(copied: TinyWheel) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    with history(copied) as instance:
        run = instance.create_run_for_job(job, tags={DRIVER: str(copied.config.cache)})
    with open_instance(copied.config) as instance:
        found = instance.get_run_by_id(run.run_id)
        assert found is not None and found.status is dg.DagsterRunStatus.FAILURE


def test_one_process_turns_a_wheel_at_a_time(copied: TinyWheel, turn: Turn) -> None:
    with open_instance(copied.config), pytest.raises(ConfigError, match="another process turns this wheel"):
        turn(copied)


def test_money_waits_for_a_person(tmp_path: Path, turn: Turn) -> None:
    wheel = build_wheel(tmp_path / "asked", budget={"auto_approve": False})
    wheel.add(0, 24)
    with pytest.raises(NotApproved, match="flywheel approve 0"):
        turn(wheel)
    assert wheel.tables.read("jobs").is_empty()
    with pytest.raises(NotApproved):
        turn(wheel)
    approve_batch(wheel.tables, 0, author="ada")
    turn(wheel)
    assert read_turn(wheel.tables, 0).state == "closed"
    assert wheel.tables.read("jobs").height == 1


def test_the_wheel_waits_for_slow_annotators(tmp_path: Path, turn: Turn) -> None:
    vendor = {"kind": "file", "folder": "desk"}
    wheel = build_wheel(tmp_path / "slow", budget={"votes": 1})
    configure(wheel, vendor)
    wheel.add(0, 24)
    with pytest.raises(AnswersMissing, match="nothing is ordered twice"):
        turn(wheel)
    [job] = (wheel.folder / "desk").iterdir()
    tasks = [json.loads(line) for line in (job / "tasks.jsonl").read_text().splitlines()]
    answers = [{"task_uid": task["task_uid"], "value": "disc", "author": "ada"} for task in tasks]
    (job / "answers.jsonl").write_text("\n".join(json.dumps(answer) for answer in answers))
    turn(wheel)
    assert read_turn(wheel.tables, 0).state == "closed"
    assert set(wheel.tables.read("labels")["value"]) == {"disc"}


def test_nothing_at_all_is_said_and_is_no_error(tmp_path: Path, turn: Turn) -> None:
    lines = turn(build_wheel(tmp_path / "empty"))
    assert lines[-1] == "Nothing has arrived yet: put data where a source looks, and run again."


def test_a_failed_step_says_what_the_engine_said(copied: TinyWheel, turn: Turn) -> None:
    (copied.folder / "truth.csv").unlink()
    with pytest.raises(RunFailed, match=r"truth\.csv"):
        turn(copied)


def configure(wheel: TinyWheel, vendor: dict[str, object]) -> None:
    """Exchange the wheel's vendor."""
    import yaml

    path = Path(wheel.config_path)
    raw = yaml.safe_load(path.read_text()) | {"vendor": vendor}
    path.write_text(yaml.safe_dump(raw))
    assert load_config(path).vendor.kind == vendor["kind"]
