"""The vendors that need no server keep the contract. Label Studio's turn is in `tests/e2e/test_label_studio.py`."""

import csv
import json
from pathlib import Path

import pytest

from flywheel.vendors import FileVendor, Job, SimulatedVendor
from tests.labeling_world import write_truth
from tests.vendor_contract import AWKWARD, AWKWARD_PREFIX, CONTRACT, Answering, Connect


@pytest.fixture(params=["simulated", "file"])
def vendor(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Connect, Answering]:
    folder = tmp_path / "vendor"
    if request.param == "file":
        return lambda: FileVendor(folder), lambda job, _: answer_in_files(folder, job)
    truth = write_truth(tmp_path / "truth.csv")
    with truth.open("a", newline="", encoding="utf-8") as file:
        named = ((f"{AWKWARD_PREFIX}{number:04d}.png", AWKWARD[number % len(AWKWARD)]) for number in range(6))
        csv.writer(file).writerows(named)
    return lambda: SimulatedVendor(truth, folder, annotators=4, error_rate=0.3), lambda job, _: None


def answer_in_files(folder: Path, job: Job) -> None:
    """Two people answer in a file each, going through the classes."""
    lines = (folder / job.idempotency_key / "tasks.jsonl").read_text("utf-8").splitlines()
    uids = [json.loads(line)["task_uid"] for line in lines]
    for who in ("ana", "bo"):
        said = [
            {"task_uid": uid, "author": who, "value": job.spec.classes[number % len(job.spec.classes)], "seconds": 2}
            for number, uid in enumerate(uids)
        ]
        text = "".join(json.dumps(one) + "\n" for one in said)
        (folder / job.idempotency_key / f"answers-{who}.jsonl").write_text(text)


@pytest.mark.parametrize("check", CONTRACT)
def test_every_vendor_keeps_the_contract(check, vendor: tuple[Connect, Answering]):
    check(*vendor)
