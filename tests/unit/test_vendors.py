"""What is particular to one vendor."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest

from flywheel.config import parse_config
from flywheel.errors import ConfigError, VendorBusy, VendorError
from flywheel.vendors import FileVendor, LabelStudioVendor, SimulatedVendor, open_vendor
from flywheel.vendors.label_studio import labeling_config
from tests.labeling_world import make_job, png, truth_of, write_truth


def simulated(folder: Path, **arguments: float) -> SimulatedVendor:
    return SimulatedVendor(write_truth(folder / "truth.csv", 200), folder / "orders", **arguments)  # type: ignore[arg-type]


def test_simulated_annotators_answer_the_same_in_every_run_and_differ_by_seed(tmp_path: Path):
    job = make_job(60, votes=3)

    def said(folder: str, seed: int) -> list[tuple[str, str, str]]:
        (tmp_path / folder).mkdir()
        vendor = simulated(tmp_path / folder, annotators=5, error_rate=0.3, seed=seed)
        return [(one.task_uid, one.author, one.value) for one in vendor.fetch(job, vendor.submit(job))]

    first = said("a", 1)
    assert first == said("b", 1)
    assert first != said("c", 2)
    authors = [author for _, author, _ in first]
    assert set(authors) == {f"simulated:annotator-{number}" for number in range(1, 6)}
    assert all(20 < authors.count(author) < 52 for author in set(authors))


def test_annotators_without_errors_tell_the_truth(tmp_path: Path):
    job = make_job(20)
    vendor = simulated(tmp_path, error_rate=0.0)
    said = {one.task_uid: one.value for one in vendor.fetch(job, vendor.submit(job))}
    assert said == {task.uid: truth_of(number) for number, task in enumerate(job.tasks)}


def test_an_unknown_truth_orders_nothing(tmp_path: Path):
    vendor = simulated(tmp_path)
    job = make_job(2)
    with pytest.raises(VendorError, match="holds no label for 'stranger"):
        vendor.submit(replace(job, tasks=(replace(job.tasks[0], name="stranger.png"),)))
    with pytest.raises(VendorError, match=r"'cat' for '0000\.png', expected one of"):
        vendor.submit(replace(job, spec=replace(job.spec, classes=("yes", "no"))))
    with pytest.raises(VendorError, match="9 votes"):
        vendor.submit(replace(job, votes=9))
    assert vendor.orders() == []
    assert vendor.find(job.idempotency_key) is None


def test_a_truth_file_without_its_columns_is_named(tmp_path: Path):
    (tmp_path / "truth.csv").write_text("file,class\n")
    with pytest.raises(ConfigError, match="columns key, label"):
        SimulatedVendor(tmp_path / "truth.csv", tmp_path).submit(make_job())
    with pytest.raises(ConfigError, match="no file"):
        SimulatedVendor(tmp_path / "none.csv", tmp_path).submit(make_job())


def test_an_answer_that_is_sent_back_is_drawn_anew(tmp_path: Path):
    job = make_job(100, votes=1)
    vendor = simulated(tmp_path, error_rate=0.5)
    native_id = vendor.submit(job)
    before = {one.annotation_uid: one.value for one in vendor.fetch(job, native_id)}
    for uid in before:
        vendor.send_back(job, native_id, uid, "sure?")
    after = {one.annotation_uid: one.value for one in vendor.fetch(job, native_id)}
    assert before.keys() == after.keys()
    assert 30 < sum(before[uid] != after[uid] for uid in before) < 90


def test_a_published_job_holds_what_people_need(tmp_path: Path):
    job = make_job(3)
    place = tmp_path / FileVendor(tmp_path).submit(job)
    asked = json.loads((place / "job.json").read_text())
    assert (asked["classes"], asked["votes"], asked["instructions"]) == (["cat", "dog", "emu"], 2, "Which animal?")
    tasks = [json.loads(line) for line in (place / "tasks.jsonl").read_text().splitlines()]
    assert (place / tasks[1]["image"]).read_bytes() == png(1)
    assert tasks[0]["prelabel"] == "dog"
    assert "prelabel" not in tasks[1]


def test_a_job_is_published_whole_or_not_at_all(tmp_path: Path):
    job = make_job(2)
    broken = replace(job, tasks=(*job.tasks, replace(job.tasks[0], uid="x", data=b"%PDF-1.7")))
    with pytest.raises(VendorError, match="png, jpeg"):
        FileVendor(tmp_path).submit(broken)
    assert FileVendor(tmp_path).find(job.idempotency_key) is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_attempt_left_is_cleared_away(tmp_path: Path):
    job = make_job(2)
    (tmp_path / f".{job.idempotency_key}.0123.tmp" / "media").mkdir(parents=True)
    FileVendor(tmp_path).submit(job)
    assert [path.name for path in tmp_path.iterdir()] == [job.idempotency_key]


def test_a_key_never_leaves_the_folder(tmp_path: Path):
    for vendor in (FileVendor(tmp_path / "a"), simulated(tmp_path)):
        for key in ("../up", "a/b", "", ".hidden"):
            with pytest.raises(VendorError, match="file name"):
                vendor.find(key)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "Expecting value"),
        (b'{"task_uid": "t"}', "'value' must be a text"),
        (b'{"task_uid": 7, "value": "cat"}', "'task_uid' must be a text"),
        (b'{"task_uid": "job-1-task-0", "value": "cat", "seconds": "long"}', "'seconds' must be a number"),
        (b'{"task_uid": "job-1-task-0", "value": "cat", "seconds": NaN}', "'seconds' must be a number"),
        (b'{"task_uid": "job-1-task-0", "value": "cow"}', "'cow' is none of the classes"),
        (b'{"task_uid": "job-9-task-0", "value": "cat"}', "no task of this job"),
        (b'"\xff\xfe"', "utf-8"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_bad_line_is_refused_with_its_reason_and_the_good_ones_count(tmp_path: Path, line: bytes, reason: str):
    job = make_job()
    vendor = FileVendor(tmp_path)
    place = tmp_path / vendor.submit(job)
    (place / "answers.jsonl").write_bytes(line + b'\n\n{"task_uid": "job-1-task-1", "value": "cat"}\n')
    answers = vendor.fetch(job, job.idempotency_key)
    [refusal] = answers.refused
    assert reason in refusal.reason
    assert [(one.value, one.author) for one in answers] == [("cat", "file:unknown")]


def test_a_later_line_corrects_an_earlier_one(tmp_path: Path):
    job = make_job()
    vendor = FileVendor(tmp_path)
    place = tmp_path / vendor.submit(job)
    (place / "answers-2.jsonl").write_text('{"task_uid": "job-1-task-1", "value": "dog", "author": "ana"}')
    (place / "answers-1.jsonl").write_text('{"task_uid": "job-1-task-1", "value": "cat", "author": "ana"}')
    assert [one.value for one in vendor.fetch(job, job.idempotency_key)] == ["dog"]


def test_the_labeling_configuration_is_well_formed_whatever_the_classes():
    spec = replace(make_job().spec, classes=('a <b> & "c"', "it's", "\u65e5\u672c"))
    tree = ElementTree.fromstring(labeling_config(spec))
    assert tuple(choice.attrib["value"] for choice in tree.iter("Choice")) == spec.classes
    with pytest.raises(VendorError, match="variables"):
        labeling_config(replace(spec, classes=("$image", "b")))


def label_studio(respond: Callable[[httpx.Request], httpx.Response]) -> LabelStudioVendor:
    """The vendor with the network cut off: `respond` plays the server."""
    return LabelStudioVendor("http://label-studio.test", "token", transport=httpx.MockTransport(respond))


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [(429, {"retry-after": "7"}, 7.0), (503, {}, 30.0), (500, {"retry-after": "x"}, 30)],
)
def test_a_busy_server_says_when_to_come_back(status: int, headers: dict[str, str], expected: float):
    vendor = label_studio(lambda _: httpx.Response(status, headers=headers, text="busy"))
    with pytest.raises(VendorBusy, match="busy") as caught:
        vendor.find("key")
    assert caught.value.retry_after == expected


def test_a_server_that_is_not_there_is_busy_and_a_wrong_token_is_not():
    vendor = LabelStudioVendor("http://127.0.0.1:9", "token")
    with pytest.raises(VendorBusy, match="is it running"):
        vendor.find("key")
    with pytest.raises(VendorError, match="token_env") as caught:
        label_studio(lambda _: httpx.Response(401)).find("key")
    assert not isinstance(caught.value, VendorBusy)
    with pytest.raises(VendorError, match="no such project"):
        label_studio(lambda _: httpx.Response(404, text="no such project")).fetch(make_job(), "4")


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ({"kind": "simulated", "truth": "t.csv"}, SimulatedVendor),
        ({"kind": "file", "folder": "out"}, FileVendor),
        ({"kind": "label-studio"}, LabelStudioVendor),
    ],
)
def test_the_configuration_names_the_vendor(
    section: dict[str, str], kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", "secret")
    raw = {"sources": [{"id": "a", "root": "a"}], "label_spec": {"classes": ["a", "b"]}, "vendor": section}
    vendor = open_vendor(parse_config(raw, base=tmp_path))
    assert isinstance(vendor, kind)
    assert vendor.simulated == (kind is SimulatedVendor)


def test_a_missing_token_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LABEL_STUDIO_TOKEN", raising=False)
    raw = {
        "sources": [{"id": "a", "root": "a"}],
        "label_spec": {"classes": ["a", "b"]},
        "vendor": {"kind": "label-studio"},
    }
    with pytest.raises(ConfigError, match="LABEL_STUDIO_TOKEN"):
        open_vendor(parse_config(raw, base=tmp_path))
