"""Annotators who answer from known truth with a stated error rate. For demos and tests, and marked as such everywhere.

It behaves like a service outside: what was ordered lies in its own folder, so our process can die between its
answer and our note of it, and what was paid can be counted afterwards.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flywheel.errors import ConfigError, VendorError
from flywheel.identity import digest, stable_fraction
from flywheel.vendors.answers import SAFE_KEY, answer_named, status_of, write_once, write_whole
from flywheel.vendors.protocol import Answer, Answers, Capabilities, Job, JobStatus, annotation_uid


@dataclass(frozen=True)
class Order:
    """One order the simulated vendor accepted, and what it would be paid for."""

    idempotency_key: str
    tasks: int
    votes: int


class SimulatedVendor:
    """Answers each task with `votes` of its annotators, each wrong at `error_rate`, uniformly over the other classes.

    An annotator's answer depends on the annotator, the task and the seed alone, so it is the same in every run.

    Args:
        truth: a CSV file with the columns key, label. A key is an object's key, or `key#part` for a row of a table.
        folder: where accepted orders lie; made when first needed.
        annotators: how many there are.
        error_rate: share of wrong answers of each, 0..1.
        seed: of who answers what, and who is wrong where.
    """

    name = "simulated"
    simulated = True
    capabilities = Capabilities(prelabels=True, annotator_identity=True, object_rework=True, push=False)

    def __init__(
        self, truth: str | Path, folder: str | Path, *, annotators: int = 5, error_rate: float = 0.05, seed: int = 0
    ):
        self._truth_path = Path(truth)
        self._folder = Path(folder)
        self._annotators = tuple(f"annotator-{number}" for number in range(1, annotators + 1))
        self._error_rate = error_rate
        self._seed = str(seed)
        self._truth: Mapping[str, str] | None = None

    def find(self, idempotency_key: str) -> str | None:
        """Return the order's native id, None if it was never accepted."""
        path = self._path(idempotency_key)
        return _native_id(idempotency_key) if path.exists() else None

    def submit(self, job: Job) -> str:
        """Accept the order, once.

        Raises:
            VendorError: more votes are asked than there are annotators, or the truth of a task is not known.
        """
        if job.votes > len(self._annotators):
            raise VendorError(
                f"{job.votes} votes per task are asked, but the simulated vendor has {len(self._annotators)} "
                "annotators; lower budget.votes or raise vendor.annotators"
            )
        order: dict[str, Any] = {
            "idempotency_key": job.idempotency_key,
            "votes": job.votes,
            "classes": list(job.spec.classes),
            "accepted_at": datetime.now(UTC).isoformat(),
            "tasks": [{"uid": task.uid, "truth": self._true_class(task.name, job)} for task in job.tasks],
            "rework": {},
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        write_once(self._path(job.idempotency_key), json.dumps(order).encode())
        return _native_id(job.idempotency_key)

    def status(self, job: Job, native_id: str) -> JobStatus:
        """Return how far the order is; simulated annotators answer at once."""
        return status_of(job, native_id, self.fetch(job, native_id), len(self._order(job.idempotency_key)["tasks"]))

    def fetch(self, job: Job, native_id: str) -> Answers:
        """Return every answer, in the order of the tasks and then of the annotators."""
        order = self._order(job.idempotency_key)
        return Answers(
            self._answer(order, task, annotator)
            for task in order["tasks"]
            for annotator in self._who_answers(task["uid"], order["votes"])
        )

    def send_back(self, job: Job, native_id: str, annotation_uid: str, comment: str) -> None:
        """Let the annotator answer anew; the second answer is drawn like the first."""
        answer_named(self.fetch(job, native_id), annotation_uid, self.name)
        order = self._order(job.idempotency_key)
        order["rework"][annotation_uid] = order["rework"].get(annotation_uid, 0) + 1
        write_whole(self._path(job.idempotency_key), json.dumps(order).encode())

    def orders(self) -> Sequence[Order]:
        """Return every order that was accepted, by key: what would have been paid for."""
        orders = (json.loads(path.read_bytes()) for path in sorted(self._folder.glob("*.json")))
        return [Order(order["idempotency_key"], len(order["tasks"]), order["votes"]) for order in orders]

    def _answer(self, order: dict[str, Any], task: dict[str, str], annotator: str) -> Answer:
        author, native_id = f"{self.name}:{annotator}", f"{annotator}/{task['uid']}"
        uid = annotation_uid(task["uid"], author, native_id)
        draw = (annotator, task["uid"], str(order["rework"].get(uid, 0)))
        return Answer(
            annotation_uid=uid,
            task_uid=task["uid"],
            value=self._value(draw, task["truth"], order["classes"]),
            author=author,
            seconds=round(2 + 6 * self._fraction("seconds", *draw), 1),
            native_id=native_id,
            at=datetime.fromisoformat(order["accepted_at"]),
        )

    def _value(self, draw: tuple[str, ...], truth: str, classes: Sequence[str]) -> str:
        if self._fraction("wrong", *draw) >= self._error_rate:
            return truth
        others = [name for name in classes if name != truth]
        return others[int(self._fraction("which", *draw) * len(others))]

    def _who_answers(self, task_uid: str, votes: int) -> list[str]:
        ranked = sorted(self._annotators, key=lambda annotator: self._fraction("who", annotator, task_uid))
        chosen = set(ranked[:votes])
        return [annotator for annotator in self._annotators if annotator in chosen]

    def _fraction(self, *draw: str) -> float:
        return stable_fraction(digest(self._seed, *draw), "simulated")

    def _true_class(self, name: str, job: Job) -> str:
        if self._truth is None:
            self._truth = read_truth(self._truth_path)
        if name not in self._truth:
            raise VendorError(f"{self._truth_path} holds no label for '{name}'; nothing was ordered")
        if self._truth[name] not in job.spec.classes:
            raise VendorError(
                f"{self._truth_path} says '{self._truth[name]}' for '{name}', expected one of {list(job.spec.classes)}"
            )
        return self._truth[name]

    def _order(self, idempotency_key: str) -> dict[str, Any]:
        try:
            return json.loads(self._path(idempotency_key).read_bytes())
        except FileNotFoundError:
            raise VendorError(f"the simulated vendor never accepted an order {idempotency_key}") from None

    def _path(self, idempotency_key: str) -> Path:
        if not SAFE_KEY.fullmatch(idempotency_key):
            raise VendorError(f"'{idempotency_key}' cannot be a file name; expected letters, digits, '.', '_' or '-'")
        return self._folder / f"{idempotency_key}.json"


def read_truth(path: Path) -> dict[str, str]:
    """Return key -> label of a truth file.

    Raises:
        ConfigError: it is missing, or lacks the columns key and label.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if not {"key", "label"} <= set(rows.fieldnames or ()):
                raise ConfigError(f"{path} must have the columns key, label; found {rows.fieldnames}")
            return {row["key"]: row["label"] for row in rows}
    except FileNotFoundError:
        raise ConfigError(f"vendor.truth: there is no file {path}") from None


def _native_id(idempotency_key: str) -> str:
    return f"order-{idempotency_key}"
