"""The sensors that carry a turn: due, approved, answered."""

import json
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from flywheel.feedback import Waiting, waiting_for
from flywheel.records import SCHEMAS
from flywheel.selection import approve_batch
from flywheel.turns import close_turn, latest_turn, open_turn, read_turn, record_station
from flywheel.vendors import collect_answers, open_vendor, submit_job
from sensors import batch_approved, labels_returned, turn_due
from tests.labeling_world import World, make_world
from tests.sensors.conftest import Tick, reason, requested


def place_corpus(world: World) -> None:
    """Give every content its place among the clusters, as the structure station would."""
    contents = world.tables.read("items")["content_id"].unique().to_list()
    rows = [
        {"generation": "g", "modality": "image", "content_id": content, "level": 0, "cluster_id": "c", "distance": 0.0}
        for content in contents
    ]
    world.tables.replace("clusters", pl.DataFrame(rows, schema=SCHEMAS["clusters"]), modality="image")


def prepare_batch(world: World, turn: int, numbers: range) -> None:
    open_turn(world.tables, turn, trigger="test", reason="test", budget=1000.0)
    world.choose(numbers, turn=turn, arm="chosen" if turn else "seed")
    record_station(world.tables, turn, "labeling_batch", 1.0)


def order(world: World, turn: int) -> None:
    approve_batch(world.tables, turn, author="ada")
    submit_job(world.tables, world.sources, world.config, open_vendor(world.config), turn)
    record_station(world.tables, turn, "labeling_job", 1.0)


def close(world: World, turn: int) -> None:
    close_turn(world.tables, turn, snapshot={})


# turn_due


def test_a_turn_that_was_opened_and_lost_is_asked_for_again(world: World, tick: Tick) -> None:
    lost = tick(turn_due, world, apply=False)  # turn 0 is open; its tick died
    again = tick(turn_due, world)
    assert requested(lost) == requested(again) == ["turn-000"]
    assert [run.run_key for run in lost.run_requests or []] == [run.run_key for run in again.run_requests or []]


def test_an_open_turn_is_asked_for_once(world: World, tick: Tick) -> None:
    tick(turn_due, world)
    assert "its batch was asked for" in reason(tick(turn_due, world))


def test_the_wheel_does_not_turn_over_the_same_data(world: World, tick: Tick) -> None:
    place_corpus(world)
    close(world, 0)
    assert reason(tick(turn_due, world)).startswith("12 items are new since turn 0, 500 start a turn")
    assert latest_turn(world.tables) == 0


def test_new_data_opens_the_next_turn_and_says_why(world: World, tick: Tick, instance: dg.DagsterInstance) -> None:
    triggers = world.config.triggers.model_copy(update={"new_items": 12})
    world.config = world.config.model_copy(update={"triggers": triggers})
    close(world, 0)  # pinned before anything had its place
    place_corpus(world)
    assert requested(tick(turn_due, world)) == ["turn-001"]
    turn = read_turn(world.tables, 1)
    assert (turn.trigger, turn.reason) == ("new-data", "12 items are new since turn 0, 12 start a turn")
    assert instance.get_dynamic_partitions("turns") == ["turn-001"]


# batch_approved


def test_a_batch_waits_until_somebody_says_yes(world: World, tick: Tick) -> None:
    prepare_batch(world, 0, range(4))
    assert reason(tick(batch_approved, world)) == "waiting for `flywheel approve` of turn 0"
    approve_batch(world.tables, 0, author="ada")
    assert requested(tick(batch_approved, world)) == ["turn-000"]


def test_a_no_orders_nothing(world: World, tick: Tick) -> None:
    prepare_batch(world, 0, range(4))
    approve_batch(world.tables, 0, author="ada", decision="rejected")
    assert reason(tick(batch_approved, world)) == "waiting for `flywheel approve` of turn 0"


def test_a_yes_holds_for_the_batch_that_was_seen(world: World, tick: Tick) -> None:
    prepare_batch(world, 0, range(4))
    approve_batch(world.tables, 0, author="ada")
    world.choose([5], turn=0)
    assert reason(tick(batch_approved, world)) == "waiting for `flywheel approve` of turn 0"


def test_an_order_is_asked_for_under_one_key(world: World, tick: Tick) -> None:
    prepare_batch(world, 0, range(4))
    approve_batch(world.tables, 0, author="ada")
    keys = [run.run_key for _ in range(2) for run in tick(batch_approved, world).run_requests or []]
    assert len(keys) == 2 and len(set(keys)) == 1


def test_an_empty_batch_needs_nobody(world: World, tick: Tick) -> None:
    record_station(world.tables, 0, "labeling_batch", 1.0)
    assert requested(tick(batch_approved, world)) == ["turn-000"]


def test_nothing_is_ordered_before_there_is_a_batch(world: World, tick: Tick) -> None:
    assert reason(tick(batch_approved, world)) == "no batch waits"


# labels_returned


def test_no_job_no_answers(world: World, tick: Tick) -> None:
    assert reason(tick(labels_returned, world)) == "no job is at the vendor"


def test_answers_carry_the_turn_on(world: World, tick: Tick) -> None:
    prepare_batch(world, 0, range(4))
    order(world, 0)
    assert requested(tick(labels_returned, world)) == ["turn-000"]
    assert world.tables.read("jobs", turn=0)["state"].item() == "returned"
    assert world.tables.read("annotation_events").height == 4 * world.config.budget.votes


def test_answers_that_came_while_nobody_looked_are_asked_for_under_one_key(world: World, tick: Tick) -> None:
    prepare_batch(world, 0, range(4))
    order(world, 0)
    lost = tick(labels_returned, world, apply=False)
    again = tick(labels_returned, world)
    assert [run.run_key for run in lost.run_requests or []] == [run.run_key for run in again.run_requests or []]


def test_an_order_of_nothing_goes_straight_through(world: World, tick: Tick) -> None:
    record_station(world.tables, 0, "labeling_batch", 1.0)
    record_station(world.tables, 0, "labeling_job", 1.0)
    assert requested(tick(labels_returned, world)) == ["turn-000"]


def test_three_turns_each_go_their_own_way(world: World, tick: Tick) -> None:
    prepare_batch(world, 0, range(3))
    order(world, 0)
    collect_answers(world.tables, open_vendor(world.config), world.config, world.sources, 0)
    close(world, 0)
    prepare_batch(world, 1, range(3, 6))
    order(world, 1)
    prepare_batch(world, 2, range(6, 9))
    assert [waiting_for(world.tables, world.config, turn) for turn in (0, 1, 2)] == [
        Waiting.closed,
        Waiting.answers,
        Waiting.approval,
    ]
    assert requested(tick(labels_returned, world)) == ["turn-001"]
    approve_batch(world.tables, 2, author="ada")
    assert requested(tick(batch_approved, world)) == ["turn-002"]


@pytest.mark.parametrize("answered", [0, 2])
def test_half_an_answer_is_no_answer(tmp_path: Path, tick: Tick, answered: int) -> None:
    world = make_world(tmp_path, vendor={"kind": "file", "folder": "desk"}, auto_approve=False, votes=1)
    prepare_batch(world, 0, range(3))
    order(world, 0)
    [job] = (tmp_path / "desk").iterdir()
    tasks = [json.loads(line) for line in (job / "tasks.jsonl").read_text().splitlines()]
    rows = [json.dumps({"task_uid": task["task_uid"], "value": "cat", "author": "ada"}) for task in tasks[:answered]]
    (job / "answers.jsonl").write_text("\n".join(rows))
    assert reason(tick(labels_returned, world)) == f"turn 0: {answered} of 3 tasks are answered"
