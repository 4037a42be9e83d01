"""The whole circle against a real Label Studio server: a job goes out with pre-labels, people's answers come back."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from flywheel.errors import VendorError
from flywheel.quality import derive_labels, labels_as_of
from flywheel.vendors import Job, LabelStudioVendor, collect_answers, submit_job
from flywheel.vendors.collect import ordered_job
from tests.label_studio_server import LabelStudio, running
from tests.labeling_world import World, make_job, make_world, png
from tests.vendor_contract import CONTRACT

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Person:
    """A user of the server, signed in through its pages, who answers through its API."""

    id: int
    http: httpx.Client

    def answer(self, task: int, *choices: str, seconds: float = 5.0, **more: Any) -> int:
        given = {"result": result(*choices), "lead_time": seconds, **more}
        response = self.http.post(f"/api/tasks/{task}/annotations/", json=given)
        assert response.status_code == 201, response.text
        return response.json()["id"]

    def change(self, annotation: int, choice: str) -> None:
        self.http.patch(f"/api/annotations/{annotation}/", json={"result": result(choice)}).raise_for_status()

    def tasks(self, native_id: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"/api/tasks?project={native_id}&page_size=100&fields=all").json()
        return sorted(answer["tasks"], key=lambda task: task["id"])


def result(*choices: str) -> list[dict[str, Any]]:
    return [{"from_name": "answer", "to_name": "item", "type": "choices", "value": {"choices": list(choices)}}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    with running(tmp_path_factory.mktemp("label-studio") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def people(server: LabelStudio) -> tuple[Person, Person]:
    return sign_up(server, "ana"), sign_up(server, "bo")


def sign_up(server: LabelStudio, name: str) -> Person:
    """Join as a new user, the way an invited person does."""
    invitation = client(server, server.token).get("/api/invite").json()["invite_url"]
    session = client(server)
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', session.get(invitation).text)
    assert found
    form = {"csrfmiddlewaretoken": found.group(1), "email": f"{name}@example.org", "password": "a-Passw0rd-of-its-own"}
    session.post(invitation, data=form | {"allow_newsletters": "false"}).raise_for_status()
    token = session.get("/api/current-user/token").json()["token"]
    http = client(server, token)
    return Person(http.get("/api/current-user/whoami").json()["id"], http)


def client(server: LabelStudio, token: str = "") -> httpx.Client:
    return httpx.Client(
        base_url=server.url,
        headers={"Authorization": f"Token {token}"} if token else {},
        follow_redirects=True,
        timeout=60,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


@pytest.fixture
def vendor(server: LabelStudio) -> LabelStudioVendor:
    return LabelStudioVendor(server.url, server.token)


@pytest.mark.parametrize("check", CONTRACT)
def test_label_studio_keeps_the_contract(check, server: LabelStudio, people: tuple[Person, Person]):
    def answer(job: Job, native_id: str) -> None:
        for number, task in enumerate(people[0].tasks(native_id)):
            for person in people:
                person.answer(task["id"], job.spec.classes[number % len(job.spec.classes)])

    check(lambda: LabelStudioVendor(server.url, server.token), answer)


def labeled_world(folder: Path, server: LabelStudio, **budget: Any) -> World:
    return make_world(folder, vendor={"kind": "label-studio", "url": server.url}, votes=2, **budget)


def test_a_batch_goes_out_and_comes_back_as_labels(
    tmp_path: Path, server: LabelStudio, vendor: LabelStudioVendor, people: tuple[Person, Person]
):
    world = labeled_world(tmp_path, server)
    world.choose(range(4), arm="chosen", prelabel="dog")
    world.choose([4, 5], arm="evaluation")
    job = submit_job(world.tables, world.sources, world.config, vendor, 0)
    assert (job.tasks, job.created) == (6, True)
    ana, bo = people
    tasks = {task["data"]["name"]: task for task in ana.tasks(job.native_id)}
    shown = {name: [p["result"][0]["value"]["choices"] for p in task["predictions"]] for name, task in tasks.items()}
    assert shown == {f"{number:04d}.png": [[["dog"]], []][number > 3] for number in range(6)}
    assert tasks["0000.png"]["predictions"][0]["score"] == pytest.approx(0.7)

    for task in tasks.values():
        ana.answer(task["id"], "cat", seconds=7.5)
    first = collect(world, vendor)
    assert (first.state, first.done, first.new_events) == ("submitted", 0, 6)
    annotation = bo.answer(tasks["0000.png"]["id"], "emu")
    for name in sorted(tasks)[1:]:
        bo.answer(tasks[name]["id"], "cat")
    assert collect(world, vendor).state == "returned"
    log = world.tables.read("annotation_events")
    assert set(log["author"]) == {f"label-studio:{ana.id}", f"label-studio:{bo.id}"}
    assert set(log["source"]) == {"human"}
    assert log.filter(author=f"label-studio:{ana.id}")["seconds"].to_list() == [7.5] * 6

    bo.change(annotation, "cat")
    assert collect(world, vendor).new_events == 1
    grown = world.tables.read("annotation_events")
    edit = grown.filter(action="edit").row(0, named=True)
    created = log.filter(value="emu").row(0, named=True)
    assert (edit["value"], edit["annotation_uid"], edit["parent"]) == (
        "cat",
        created["annotation_uid"],
        created["event_id"],
    )
    assert grown.join(log, on="event_id", how="semi").sort("event_id").equals(log.sort("event_id"))
    assert collect(world, vendor).new_events == 0

    report = derive_labels(world.tables, world.config, 0)
    assert (report.labels, report.votes, report.agreement) == (6, 12, 1.0)
    assert set(labels_as_of(world.tables, 0, "label", "1")["value"]) == {"cat"}


def test_a_deleted_annotation_is_rejected_and_a_skipped_one_never_counts(
    tmp_path: Path, server: LabelStudio, vendor: LabelStudioVendor, people: tuple[Person, Person]
):
    world = labeled_world(tmp_path, server, labels_per_turn=2)
    world.choose([7, 8])
    job = submit_job(world.tables, world.sources, world.config, vendor, 0)
    ana, bo = people
    kept, doubted = (task["id"] for task in ana.tasks(job.native_id))
    ana.answer(kept, "cat")
    ana.answer(doubted, "dog")
    bo.answer(kept, "cat", was_cancelled=True)
    bo.answer(doubted, "cat", "dog")
    report = collect(world, vendor)
    assert (report.answers, len(report.refused), report.done) == (2, 1, 0)
    uid = world.tables.read("annotation_events").filter(value="dog")["annotation_uid"].item()
    ordered = ordered_job(world.tables, world.config, world.tables.read("jobs").row(0, named=True))
    vendor.send_back(ordered, job.native_id, uid, "look again")
    assert collect(world, vendor).new_events == 1
    reject = world.tables.read("annotation_events").filter(action="reject").row(0, named=True)
    assert (reject["annotation_uid"], reject["author"]) == (uid, "label-studio:unknown")
    task = next(task for task in ana.tasks(job.native_id) if task["id"] == doubted)
    assert task["data"]["note"] == "look again"
    derive_labels(world.tables, world.config, 0)
    assert labels_as_of(world.tables, 0, "label", "1")["value"].to_list() == ["cat"]


class Killed(BaseException):
    """Stands for the process dying at this point."""


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_import_that_was_cut_off_is_completed(
    vendor: LabelStudioVendor,
    server: LabelStudio,
    people: tuple[Person, Person],
    monkeypatch: pytest.MonkeyPatch,
    at: int,
):
    """Dies before the first, the second and the third of three import requests."""
    monkeypatch.setattr("flywheel.vendors.label_studio.CHUNK_TASKS", 2)
    job = make_job(6, key=f"cut-off-{at}")
    call, imports = vendor._call, []

    def die(method: str, address: str, **request: Any) -> Any:
        imports.append(address) if address.endswith("/import") else None
        if len(imports) == at:
            raise Killed
        return call(method, address, **request)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(vendor, "_call", die)
        vendor.submit(job)
    fresh = LabelStudioVendor(server.url, server.token)
    assert fresh.find(job.idempotency_key) is None
    native_id = fresh.submit(job)
    assert fresh.find(job.idempotency_key) == native_id
    tasks = people[0].tasks(native_id)
    assert sorted(task["meta"]["uid"] for task in tasks) == sorted(task.uid for task in job.tasks)
    assert len(titled(server, job.idempotency_key)) == 1


def test_tasks_that_were_imported_twice_are_taken_out(
    vendor: LabelStudioVendor, server: LabelStudio, people: tuple[Person, Person], monkeypatch: pytest.MonkeyPatch
):
    job = make_job(3, key="twice-imported")
    call = vendor._call

    def deliver_twice(method: str, address: str, **request: Any) -> Any:
        if address.endswith("/import"):
            call(method, address, **request)
        return call(method, address, **request)

    monkeypatch.setattr(vendor, "_call", deliver_twice)
    native_id = vendor.submit(job)
    assert [task["meta"]["uid"] for task in people[0].tasks(native_id)] == [task.uid for task in job.tasks]


def test_a_crash_after_the_order_pays_once(
    tmp_path: Path, server: LabelStudio, vendor: LabelStudioVendor, monkeypatch: pytest.MonkeyPatch
):
    world = labeled_world(tmp_path, server)
    world.choose([9, 10, 11])
    accepted = vendor.submit
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(vendor, "submit", lambda job: (accepted(job), (_ for _ in ()).throw(Killed)))
        submit_job(world.tables, world.sources, world.config, vendor, 0)
    report = submit_job(world.tables, world.sources, world.config, vendor, 0)
    assert (report.created, report.state, report.tasks) == (False, "submitted", 3)
    [project] = titled(server, report.job_id)
    assert (str(project["id"]), project["task_number"]) == (report.native_id, 3)


def test_people_see_the_very_picture(vendor: LabelStudioVendor, people: tuple[Person, Person]):
    job = make_job(2, key="pictures")
    native_id = vendor.submit(job)
    page = people[1].http.get(f"/api/projects/{native_id}/next").json()
    assert bytes_of(page["data"]["image"]) == png(0)


def test_a_wrong_token_is_refused(server: LabelStudio):
    with pytest.raises(VendorError, match="token_env"):
        LabelStudioVendor(server.url, "0" * 40).find("key")


def collect(world: World, vendor: LabelStudioVendor):
    return collect_answers(world.tables, vendor, world.config, world.sources, 0)


def titled(server: LabelStudio, title: str) -> list[dict[str, Any]]:
    return client(server, server.token).get("/api/projects/", params={"title": title}).json()["results"]


def bytes_of(address: str) -> bytes:
    """The bytes of a `data:` address."""
    head, _, body = address.partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(body)
