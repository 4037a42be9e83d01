"""Ordering and collecting: nothing is paid twice, and the log of answers only grows."""

import json
from pathlib import Path

import polars as pl
import pytest

from flywheel.errors import BudgetExceeded, DataError, NotApproved
from flywheel.selection import approve_batch
from flywheel.vendors import FileVendor, SimulatedVendor, collect_answers, job_status, open_vendor, submit_job
from tests.labeling_world import World, arrive, make_world, png, truth_of


class Killed(BaseException):
    """Stands for the process dying at this point."""


def simulated(world: World) -> SimulatedVendor:
    vendor = open_vendor(world.config)
    assert isinstance(vendor, SimulatedVendor)
    return vendor


def order(world: World, vendor=None, turn: int = 0):
    return submit_job(world.tables, world.sources, world.config, vendor or open_vendor(world.config), turn)


def collect(world: World, vendor=None, turn: int = 0):
    return collect_answers(world.tables, vendor or open_vendor(world.config), world.config, world.sources, turn)


def events(world: World) -> pl.DataFrame:
    return world.tables.read("annotation_events").sort("event_id")


def answer(place: Path, name: str, *lines: dict[str, object]) -> None:
    (place / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_batch_becomes_one_job_and_every_answer_an_event(tmp_path: Path):
    world = make_world(tmp_path, votes=3)
    world.choose(range(6))
    report = order(world)
    assert (report.tasks, report.votes, report.created, report.state) == (6, 3, True, "submitted")
    assert report.cost == pytest.approx(6 * 3 * 0.05)
    collected = collect(world)
    assert (collected.done, collected.total, collected.answers, collected.new_events) == (6, 6, 18, 18)
    log = events(world)
    assert log["item_id"].n_unique() == 6
    assert set(log["action"]) == {"create"}
    assert set(log["source"]) == {"simulated"}
    assert set(log["origin"]) == {report.job_id}
    assert log["cost"].sum() == pytest.approx(report.cost)
    assert all(author.startswith("simulated:annotator-") for author in log["author"])
    assert log.group_by("item_id").agg(pl.col("author").n_unique())["author"].to_list() == [3] * 6
    assert world.tables.read("jobs")["state"].to_list() == ["returned"]


def test_the_answers_are_the_truth_but_for_the_stated_error_rate(tmp_path: Path):
    world = make_world(tmp_path, count=300, votes=5, labels_per_turn=300)
    world.choose(range(300))
    order(world)
    collect(world)
    truth = {item: truth_of(number) for number, item in enumerate(world.ids(range(300)))}
    log = events(world)
    wrong = log.filter(pl.col("value") != pl.col("item_id").replace_strict(truth))
    assert 0.17 < wrong.height / log.height < 0.23
    mistakes = wrong.with_columns(truth=pl.col("item_id").replace_strict(truth)).group_by("truth", "value").len()
    assert mistakes.height == 6
    assert mistakes["len"].min() > 20


def test_repeating_orders_nothing_and_writes_nothing(tmp_path: Path):
    world = make_world(tmp_path)
    world.choose(range(4))
    order(world)
    collect(world)
    versions = world.tables.versions()
    again = order(world)
    assert not again.created
    assert collect(world).new_events == 0
    assert world.tables.versions() == versions
    assert len(simulated(world).orders()) == 1


def test_an_item_in_two_arms_is_asked_and_paid_once(tmp_path: Path):
    world = make_world(tmp_path, votes=2)
    world.choose([0, 1, 2], arm="chosen", prelabel="dog")
    world.choose([2, 3], arm="random")
    assert order(world).tasks == 4
    assert simulated(world).orders()[0].tasks == 4


def test_a_prelabel_is_withheld_as_soon_as_one_arm_withholds_it(tmp_path: Path):
    world = make_world(tmp_path, vendor={"kind": "file", "folder": "exchange"})
    world.choose([0, 1], arm="chosen", prelabel="dog")
    world.choose([1], arm="evaluation")
    report = order(world)
    lines = (tmp_path / "exchange" / report.native_id / "tasks.jsonl").read_text().splitlines()
    shown = {task["name"]: task.get("prelabel") for task in map(json.loads, lines)}
    assert shown == {"0000.png": "dog", "0001.png": None}


def test_an_empty_batch_orders_nothing(tmp_path: Path):
    world = make_world(tmp_path)
    assert order(world).state == "none"
    assert collect(world).state == "none"
    assert world.tables.read("jobs").is_empty()
    assert simulated(world).orders() == []


def test_money_waits_for_approval_of_exactly_this_batch(tmp_path: Path):
    world = make_world(tmp_path, auto_approve=False)
    world.choose([0, 1])
    with pytest.raises(NotApproved, match="flywheel approve"):
        order(world)
    approve_batch(world.tables, 0, author="ana")
    world.choose([2], arm="random")
    with pytest.raises(NotApproved):
        order(world)
    assert world.tables.read("jobs").is_empty()
    assert simulated(world).orders() == []
    approve_batch(world.tables, 0, author="ana")
    assert order(world).tasks == 3


def test_an_order_above_the_money_of_a_turn_is_refused(tmp_path: Path):
    world = make_world(tmp_path, votes=2, money_per_turn=0.35)
    world.choose([0, 1, 2, 3])
    with pytest.raises(BudgetExceeded, match=r"0\.40.*0\.35"):
        order(world)
    assert simulated(world).orders() == []


def test_open_money_counts_what_has_not_returned(tmp_path: Path):
    world = make_world(tmp_path, votes=2, open_money=0.5, vendor={"kind": "file", "folder": "exchange"})
    world.choose([0, 1, 2], turn=0)
    world.choose([3, 4, 5], turn=1)
    first = order(world, turn=0)
    with pytest.raises(BudgetExceeded, match=r"0\.30 are ordered"):
        order(world, turn=1)
    place = tmp_path / "exchange" / first.native_id
    asked = [json.loads(line)["task_uid"] for line in (place / "tasks.jsonl").read_text().splitlines()]
    answer(place, "answers.jsonl", *({"task_uid": u, "value": "cat", "author": a} for u in asked for a in "xy"))
    assert collect(world, turn=0).state == "returned"
    assert order(world, turn=1).created


@pytest.mark.parametrize("where", ["before the intent", "before the vendor", "after the vendor"])
def test_a_crash_while_ordering_pays_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str):
    world = make_world(tmp_path)
    world.choose(range(5))
    vendor = simulated(world)
    with monkeypatch.context() as patch:
        if where == "before the intent":
            patch.setattr(world.tables, "replace", lambda *_, **__: (_ for _ in ()).throw(Killed))
        elif where == "before the vendor":
            patch.setattr(vendor, "submit", lambda job: (_ for _ in ()).throw(Killed))
        else:
            accepted = vendor.submit
            patch.setattr(vendor, "submit", lambda job: (accepted(job), (_ for _ in ()).throw(Killed)))
        with pytest.raises(Killed):
            order(world, vendor)
    states = world.tables.read("jobs")["state"].to_list()
    assert states == ([] if where == "before the intent" else ["intent"])
    repeated = order(world)
    assert repeated.state == "submitted"
    assert repeated.created == (where != "after the vendor")
    assert [done.tasks for done in simulated(world).orders()] == [5]
    undisturbed = make_world(_fresh(tmp_path))
    undisturbed.choose(range(5))
    order(undisturbed)
    shown = ["turn", "job_id", "state", "tasks", "votes", "cost", "native_id"]
    assert world.tables.read("jobs").select(shown).equals(undisturbed.tables.read("jobs").select(shown))


def test_a_crash_while_collecting_leaves_the_same_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = make_world(tmp_path)
    world.choose(range(5))
    order(world)
    replace = world.tables.replace

    def die_at_jobs(name: str, rows: pl.DataFrame, **partition: str | int) -> bool:
        if name == "jobs":
            raise Killed
        return replace(name, rows, **partition)

    with monkeypatch.context() as patch:
        patch.setattr(world.tables, "replace", die_at_jobs)
        with pytest.raises(Killed):
            collect(world)
    before = events(world)
    repeated = collect(world)
    assert (repeated.new_events, repeated.state) == (0, "returned")
    assert events(world).equals(before)


def test_a_turn_orders_once(tmp_path: Path):
    world = make_world(tmp_path)
    world.choose([0, 1])
    order(world)
    world.choose([2], arm="random")
    with pytest.raises(DataError, match="already ordered another batch"):
        order(world)
    with pytest.raises(DataError, match="another batch or label spec"):
        collect(world)


def test_an_intent_that_never_reached_the_vendor_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = make_world(tmp_path)
    world.choose([0, 1])
    vendor = simulated(world)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(vendor, "submit", lambda job: (_ for _ in ()).throw(Killed))
        order(world, vendor)
    world.choose([2], arm="random")
    assert order(world).tasks == 3
    assert world.tables.read("jobs")["tasks"].to_list() == [3]


def test_items_that_changed_since_the_choice_are_left_out(tmp_path: Path):
    world = make_world(tmp_path)
    world.choose([0, 1, 2, 3])
    photos = tmp_path / "photos"
    (photos / "0001.png").write_bytes(png(200))
    arrive(world.config, world.tables, world.sources)
    (photos / "0002.png").unlink()  # and nobody has noticed yet
    report = order(world)
    assert (report.tasks, report.left_out) == (2, 2)
    assert collect(world).state == "returned"


def test_a_batch_of_which_nothing_is_left_is_an_error(tmp_path: Path):
    world = make_world(tmp_path)
    world.choose([0])
    (tmp_path / "photos" / "0000.png").unlink()
    with pytest.raises(DataError, match="none of the 1 chosen"):
        order(world)
    assert world.tables.read("jobs").is_empty()


def test_a_changed_answer_becomes_an_edit_and_the_log_keeps_the_first(tmp_path: Path):
    world = make_world(tmp_path, votes=1, vendor={"kind": "file", "folder": "exchange"})
    world.choose([0, 1])
    place = tmp_path / "exchange" / order(world).native_id
    first, second = (json.loads(line)["task_uid"] for line in (place / "tasks.jsonl").read_text().splitlines())
    answer(place, "answers-1.jsonl", {"task_uid": first, "value": "cat", "author": "ana", "seconds": 3})
    assert collect(world).state == "submitted"
    status = job_status(world.tables, open_vendor(world.config), world.config, 0)
    assert status is not None
    assert (status.done, status.total) == (1, 2)
    before = events(world)
    answer(
        place,
        "answers-2.jsonl",
        {"task_uid": first, "value": "dog", "author": "ana"},
        {"task_uid": second, "value": "emu", "author": "ana"},
    )
    assert collect(world).state == "returned"
    log = events(world)
    assert log.filter(pl.col("event_id").is_in(before["event_id"].to_list())).equals(before)
    edit = log.filter(action="edit").row(0, named=True)
    assert (edit["value"], edit["parent"], edit["cost"]) == ("dog", before["event_id"][0], 0.0)
    assert edit["annotation_uid"] == before["annotation_uid"][0]
    assert edit["source"] == "human"
    assert collect(world).new_events == 0


def test_refused_lines_are_named_and_hold_up_nothing(tmp_path: Path):
    world = make_world(tmp_path, votes=1, vendor={"kind": "file", "folder": "exchange"})
    world.choose([0])
    vendor = open_vendor(world.config)
    assert isinstance(vendor, FileVendor)
    place = tmp_path / "exchange" / order(world, vendor).native_id
    uid = json.loads((place / "tasks.jsonl").read_text())["task_uid"]
    bad = [
        '{"task_uid": "',
        "[1]",
        '{"task_uid": "nobody", "value": "cat"}',
        f'{{"task_uid": "{uid}", "value": "cow"}}',
    ]
    good = json.dumps({"task_uid": uid, "value": "cat", "author": "ana"})
    (place / "answers.jsonl").write_text("\n".join([*bad, good]))
    report = collect(world, vendor)
    assert (report.state, report.answers, len(report.refused)) == ("returned", 1, 4)
    assert [refusal.where for refusal in report.refused[:2]] == ["answers.jsonl, line 1", "answers.jsonl, line 2"]
    assert events(world)["value"].to_list() == ["cat"]


def _fresh(folder: Path) -> Path:
    (folder / "undisturbed").mkdir()
    return folder / "undisturbed"
