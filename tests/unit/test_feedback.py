"""When a turn is due: every start and every refusal, with its reason."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flywheel.feedback import (
    Decision,
    Waiting,
    alerts_path,
    open_money,
    planned_money,
    turn_due,
    waiting_for,
    write_alert,
)
from flywheel.records import SCHEMAS
from flywheel.turns import close_turn, open_turn, read_turn, record_station
from tests.labeling_world import World, make_world

NOW = datetime.now(UTC)


def later() -> datetime:
    """A moment after everything that has happened so far."""
    return datetime.now(UTC) + timedelta(minutes=5)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Twelve items; turn 0 was opened and closed before they found their place, so all are new to turn 1."""
    world = make_world(tmp_path)
    configure(world, new_items=12)
    close_turn(world.tables, 0, snapshot={})
    place(world, 12)
    return world


def configure(world: World, **triggers: Any) -> None:
    changed = world.config.triggers.model_copy(update=triggers)
    world.config = world.config.model_copy(update={"triggers": changed})


def budget(world: World, **values: Any) -> None:
    changed = world.config.budget.model_copy(update=values)
    world.config = world.config.model_copy(update={"budget": changed})


def place(world: World, count: int) -> None:
    contents = world.tables.read("items").sort("key")["content_id"].head(count).to_list()
    rows = [
        {"generation": "g", "modality": "image", "content_id": content, "level": 0, "cluster_id": "c", "distance": 0.0}
        for content in contents
    ]
    world.tables.replace("clusters", pl.DataFrame(rows, schema=SCHEMAS["clusters"]), modality="image")


def add_job(world: World, turn: int, state: str, cost: float) -> None:
    row = dict.fromkeys(("vendor", "idempotency_key", "native_id"), "") | {
        "turn": turn,
        "job_id": f"job-{turn}",
        "state": state,
        "tasks": 10,
        "votes": 3,
        "cost": cost,
        "created_at": NOW,
        "updated_at": NOW,
    }
    world.tables.replace("jobs", pl.DataFrame([row], schema=SCHEMAS["jobs"]), turn=turn)


def report(world: World, value: float, baseline: float | None, at: datetime, metric: str = "accuracy") -> None:
    """An outside report, as `metrics_reported` stores it."""
    origin = f"outside-{at:%Y%m%dT%H%M%S}-{metric}"
    row = dict.fromkeys(SCHEMAS["evaluations"]) | {
        "origin": origin,
        "turn": 0,
        "arm": "outside",
        "model_id": "",
        "slice": "night",
        "predicate": "",
        "metric": metric,
        "value": value,
        "baseline": baseline,
        "n": 100,
    }
    world.tables.replace("evaluations", pl.DataFrame([row], schema=SCHEMAS["evaluations"]), origin=origin)


def evaluate(world: World, turn: int, value: float, baseline: float | None) -> None:
    """Our own evaluation of a turn."""
    origin = f"turn-{turn:03d}"
    row = dict.fromkeys(SCHEMAS["evaluations"]) | {
        "origin": origin,
        "turn": turn,
        "arm": "deployed",
        "model_id": "m",
        "slice": "all",
        "predicate": "",
        "metric": "accuracy",
        "value": value,
        "baseline": baseline,
        "n": 100,
    }
    world.tables.replace("evaluations", pl.DataFrame([row], schema=SCHEMAS["evaluations"]), origin=origin)


def start(world: World, decision: Decision) -> int:
    """Open the turn that was decided on, and close it."""
    assert decision.start, decision.reason
    turn = world.tables.read("turns").height
    open_turn(world.tables, turn, trigger=decision.trigger, reason=decision.reason, budget=1.0)
    close_turn(world.tables, turn, snapshot={})
    return turn


def decide(world: World, now: datetime | None = None) -> Decision:
    return turn_due(world.tables, world.config, now or later())


def test_enough_new_items_start_a_turn(world: World) -> None:
    assert decide(world) == Decision(True, "new-data", "12 items are new since turn 0, 12 start a turn")


def test_too_few_new_items_do_not(world: World) -> None:
    place(world, 11)
    found = decide(world)
    assert (found.start, found.trigger) == (False, "")
    assert found.reason == "11 items are new since turn 0, 12 start a turn; no metric fell by 0.02"


def test_items_that_are_not_embedded_yet_do_not_count(world: World) -> None:
    world.tables.replace("clusters", world.tables.read("clusters").head(0), modality="image")
    assert "0 items are new" in decide(world).reason


def test_the_same_items_start_one_turn_only(world: World) -> None:
    start(world, decide(world))
    assert decide(world).reason.startswith("0 items are new since turn 1")


def test_without_any_turn_the_base_line_waits_for_data(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.tables.replace("turns", world.tables.read("turns").head(0), turn=0)
    assert decide(world).reason == "nothing has arrived, been embedded and found its place in the corpus yet"
    place(world, 1)
    assert (decide(world).start, decide(world).trigger) == (True, "base-line")


def test_no_more_turns_a_day_than_allowed(world: World) -> None:
    configure(world, max_turns_per_day=1)
    refused = decide(world)
    assert not refused.start
    assert refused.reason.endswith("but 1 turns were opened in the last 24 hours, at most 1 may be")
    assert decide(world, later() + timedelta(days=1)).start


def test_open_money_stays_below_its_limit(world: World) -> None:
    budget(world, labels_per_turn=10, control_share=0.0, votes=2, open_money=3.0)  # the next batch: 10 × 2 × 0.05
    open_turn(world.tables, 1, trigger="t", reason="r", budget=5.0)
    record_station(world.tables, 1, "labeling_batch", 1.0)
    world.choose(range(2), turn=1, arm="chosen")
    add_job(world, 1, "submitted", 2.5)
    changed = world.tables.read("clusters").with_columns(generation=pl.lit("h"))
    world.tables.replace("clusters", changed, modality="image")
    configure(world, new_items=1, max_turns_per_day=9)
    close_turn(world.tables, 1, snapshot={})
    report(world, 0.5, 0.9, later())
    assert open_money(world.tables) == 2.5
    assert planned_money(world.config, 2) == pytest.approx(1.0)
    assert decide(world).reason.endswith(
        "2.50 are ordered and not yet returned; with 1.00 more, the limit of 3.00 is passed"
    )
    add_job(world, 1, "returned", 2.5)
    assert decide(world).start


def test_a_turn_that_is_at_work_comes_first(world: World) -> None:
    open_turn(world.tables, 1, trigger="t", reason="r", budget=5.0)
    report(world, 0.5, 0.9, later())
    assert decide(world).reason.endswith("but turn 1 is still at work (next: batch)")


def test_a_batch_that_waits_for_a_person_comes_first(world: World) -> None:
    budget(world, auto_approve=False)
    open_turn(world.tables, 1, trigger="t", reason="r", budget=5.0)
    record_station(world.tables, 1, "labeling_batch", 1.0)
    world.choose(range(2), turn=1, arm="chosen")
    report(world, 0.5, 0.9, later())
    assert decide(world).reason.endswith("but turn 1 waits for `flywheel approve`")


def test_a_slow_vendor_does_not_stop_the_wheel(world: World) -> None:
    open_turn(world.tables, 1, trigger="t", reason="r", budget=5.0)
    record_station(world.tables, 1, "labeling_batch", 1.0)
    world.choose(range(2), turn=1, arm="chosen")
    add_job(world, 1, "submitted", 1.0)
    report(world, 0.5, 0.9, later())
    assert waiting_for(world.tables, world.config, 1) is Waiting.answers
    assert decide(world).start


def test_a_fallen_metric_starts_a_turn_and_names_itself(world: World) -> None:
    place(world, 1)
    report(world, 0.88, 0.91, later())
    found = decide(world)
    assert (found.start, found.trigger) == (True, "metric:accuracy@night")
    assert "accuracy on 'night' went from 0.910 to 0.880" in found.reason


@pytest.mark.parametrize(("value", "starts"), [(0.895, False), (0.889, True), (0.95, False)])
def test_a_small_fall_is_no_reason(world: World, value: float, starts: bool) -> None:
    place(world, 1)
    report(world, value, 0.91, later())
    assert decide(world).start == starts


def test_of_an_error_a_rise_is_the_fall(world: World) -> None:
    place(world, 1)
    report(world, 0.05, 0.10, later(), metric="error_rate")
    assert not decide(world).start
    report(world, 0.15, 0.10, later(), metric="error_rate")
    assert decide(world).start


def test_without_a_base_line_our_own_value_is_the_measure(world: World) -> None:
    place(world, 1)
    report(world, 0.80, None, later())
    assert not decide(world).start
    origin = "turn-000"
    evaluate(world, 0, 0.90, None)
    own = world.tables.read("evaluations", origin=origin).with_columns(slice=pl.lit("night"))
    world.tables.replace("evaluations", own, origin=origin)
    assert decide(world).start


def test_a_metric_that_fired_waits_until_it_recovered(world: World) -> None:
    place(world, 1)
    configure(world, max_turns_per_day=99)
    report(world, 0.85, 0.91, later())
    turn = start(world, decide(world))
    opened = read_turn(world.tables, turn).opened_at
    report(world, 0.85, 0.91, opened + timedelta(hours=1))
    still = decide(world)
    assert not still.start
    assert "has not recovered since" in still.reason
    report(world, 0.905, 0.91, opened + timedelta(hours=2))
    assert not decide(world).start
    report(world, 0.86, 0.91, opened + timedelta(hours=3))
    assert decide(world).start


def test_our_own_evaluation_counts_too(world: World) -> None:
    place(world, 1)
    evaluate(world, 0, 0.80, 0.90)
    found = decide(world)
    assert (found.start, found.trigger) == (True, "metric:accuracy@all")
    assert "in turn 0" in found.reason


@pytest.mark.parametrize(
    ("states", "stations", "chosen", "expected"),
    [
        ((), (), 0, Waiting.batch),
        ((), ("gap_report",), 0, Waiting.batch),
        ((), ("labeling_batch",), 0, Waiting.job),
        ((), ("labeling_batch", "labeling_job"), 0, Waiting.training),
        ((), ("labeling_batch",), 2, Waiting.approval),
        (("intent",), ("labeling_batch",), 2, Waiting.approval),
        (("submitted",), ("labeling_batch",), 2, Waiting.answers),
        (("returned",), ("labeling_batch",), 2, Waiting.training),
        ((), ("labeling_batch", "labeling_job"), 2, Waiting.training),
    ],
)
def test_what_a_turn_waits_for(
    tmp_path: Path, states: tuple[str, ...], stations: tuple[str, ...], chosen: int, expected: Waiting
) -> None:
    world = make_world(tmp_path, auto_approve=False)
    for station in stations:
        record_station(world.tables, 0, station, 1.0)
    if chosen:
        world.choose(range(chosen))
    for state in states:
        add_job(world, 0, state, 1.0)
    assert waiting_for(world.tables, world.config, 0) is expected
    close_turn(world.tables, 0, snapshot={})
    assert waiting_for(world.tables, world.config, 0) is Waiting.closed


def test_alerts_survive_a_line_cut_short(tmp_path: Path, world: World) -> None:
    path = alerts_path(world.config)
    assert path == world.config.cache / "alerts.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"run_id": "a"')
    assert write_alert(path, run_id="a", job="j", message="two\nlines", at=NOW)
    assert not write_alert(path, run_id="a", job="j", message="again", at=NOW)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize(("elsewhere", "starts"), [(True, True), (False, False)])
def test_few_new_items_start_a_turn_where_they_lie_elsewhere(tmp_path: Path, elsewhere: bool, starts: bool) -> None:
    world = make_world(tmp_path, count=80)
    configure(world, new_items=1000)
    contents = world.tables.read("items").sort("key")["content_id"].to_list()

    def clusters(count: int) -> pl.DataFrame:
        rows = [
            {"modality": "image", "content_id": content, "level": 0, "cluster_id": "b" if new and elsewhere else "a"}
            for content, new in ((content, position >= 40) for position, content in enumerate(contents[:count]))
        ]
        return pl.DataFrame(rows, schema=SCHEMAS["clusters"])

    world.tables.replace("clusters", clusters(40), modality="image")
    close_turn(world.tables, 0, snapshot={})
    start(world, Decision(True, "test", "test"))
    world.tables.replace("clusters", clusters(80), modality="image")
    decision = decide(world)
    assert decision.start is starts
    if starts:
        assert decision.trigger == "drift" and "40 new items lie elsewhere" in decision.reason
