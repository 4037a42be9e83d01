"""Tasks as JSON lines in a folder, answers as JSON lines from it: for people and tools that read files.

Out, published in one rename: `<key>/job.json` (what is asked), `<key>/tasks.jsonl` (one task a line, with its text or
the path of its image) and `<key>/media/`. In: any number of `<key>/answers*.jsonl`, one answer a line:

    {"task_uid": "…", "value": "…", "author": "…", "seconds": 3.5, "id": "…"}

`task_uid` and `value` are needed. An author's later line on the same task (with the same `id`, if given) corrects the
earlier one; files are read in the order of their names. `<key>/rework.jsonl` lists what was sent back.
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from flywheel.encoders import show
from flywheel.errors import VendorError
from flywheel.vendors.answers import SAFE_KEY, answer_named, image_kind, status_of, usable_answers
from flywheel.vendors.protocol import (
    Answer,
    Answers,
    Capabilities,
    Job,
    JobStatus,
    Refusal,
    Task,
    annotation_uid,
)


class FileVendor:
    """Publishes a job as a folder of files and reads answers from it.

    Args:
        folder: where jobs are published; made when first needed.
    """

    name = "file"
    simulated = False
    capabilities = Capabilities(prelabels=True, annotator_identity=True, object_rework=True, push=False)

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)

    def find(self, idempotency_key: str) -> str | None:
        """Return the job's folder name, None if it was not published."""
        return idempotency_key if (self._place(idempotency_key) / "tasks.jsonl").exists() else None

    def submit(self, job: Job) -> str:
        """Publish the job whole, once.

        Raises:
            VendorError: an image is of no kind that browsers show, or the folder cannot be written.
        """
        place = self._place(job.idempotency_key)
        if self.find(job.idempotency_key) is None:
            draft = self._folder / f".{job.idempotency_key}.{uuid.uuid4().hex}.tmp"
            try:
                _write_job(job, draft)
                draft.rename(place)
                for left in self._folder.glob(f".{job.idempotency_key}.*.tmp"):  # of attempts that were killed
                    shutil.rmtree(left, ignore_errors=True)
            except OSError as error:
                if self.find(job.idempotency_key) is None:
                    raise VendorError(f"the job could not be published at {place}: {error}") from error
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return job.idempotency_key

    def status(self, job: Job, native_id: str) -> JobStatus:
        """Return how far the job is, counting usable answers."""
        return status_of(job, native_id, self.fetch(job, native_id), _line_count(self._tasks(job)))

    def fetch(self, job: Job, native_id: str) -> Answers:
        """Return the latest answer of every author to every task, by task and author; what is refused beside them."""
        self._tasks(job)
        latest: dict[str, Answer] = {}
        refused: list[Refusal] = []
        for path in sorted(self._place(job.idempotency_key).glob("answers*.jsonl")):
            for parsed in _read_answers(path):
                if isinstance(parsed, Refusal):
                    refused.append(parsed)
                else:
                    latest[parsed.annotation_uid] = parsed
        ordered = sorted(latest.values(), key=lambda answer: (answer.task_uid, answer.author, answer.annotation_uid))
        return usable_answers(job, ordered, refused)

    def send_back(self, job: Job, native_id: str, annotation_uid: str, comment: str) -> None:
        """Add a line to `rework.jsonl`; the author answers again in any answers file."""
        answer = answer_named(self.fetch(job, native_id), annotation_uid, self.name)
        line = {"task_uid": answer.task_uid, "author": answer.author.removeprefix("file:"), "comment": comment}
        path = self._place(job.idempotency_key) / "rework.jsonl"
        if path.exists() and _json_line(line) in path.read_text("utf-8").splitlines(keepends=True):
            return
        with path.open("a", encoding="utf-8") as file:
            file.write(_json_line(line))

    def _tasks(self, job: Job) -> Path:
        path = self._place(job.idempotency_key) / "tasks.jsonl"
        if not path.exists():
            raise VendorError(f"there is no {path}; the job was never published here, or its folder was removed")
        return path

    def _place(self, idempotency_key: str) -> Path:
        if not SAFE_KEY.fullmatch(idempotency_key):
            raise VendorError(f"'{idempotency_key}' cannot be a file name; expected letters, digits, '.', '_' or '-'")
        return self._folder / idempotency_key


def _write_job(job: Job, place: Path) -> None:
    (place / "media").mkdir(parents=True)
    spec = job.spec
    asked = {"field": spec.field, "version": spec.version, "classes": list(spec.classes)}
    asked |= {"instructions": spec.instructions, "votes": job.votes, "tasks": len(job.tasks)}
    (place / "job.json").write_text(json.dumps(asked, ensure_ascii=False, indent=1), "utf-8")
    with (place / "tasks.jsonl").open("w", encoding="utf-8") as file:
        for task in job.tasks:
            file.write(_json_line(_written_task(task, spec.modality, place)))


def _written_task(task: Task, modality: str, place: Path) -> dict[str, Any]:
    line: dict[str, Any] = {"task_uid": task.uid, "name": task.name}
    seen = show(modality, task.data)
    if seen.kind == "text":
        line["text"] = seen.data.decode("utf-8")
    else:
        line["image"] = f"media/{task.uid}.{image_kind(seen.data)}"
        (place / line["image"]).write_bytes(seen.data)
    if task.prelabel:
        line |= {"prelabel": task.prelabel, "prelabel_confidence": task.prelabel_confidence}
    return line


def _read_answers(path: Path) -> Iterator[Answer | Refusal]:
    """Yield what each line of an answers file says; a line that cannot be read is a refusal and stops nothing."""
    at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    for number, raw in enumerate(path.read_bytes().split(b"\n"), start=1):
        if raw.strip():
            try:
                yield _read_answer(json.loads(raw), at)
            except (ValueError, RecursionError) as problem:  # JSON and UTF-8 errors are ValueErrors too
                yield Refusal(f"{path.name}, line {number}", str(problem))


def _read_answer(line: object, at: datetime) -> Answer:
    if not isinstance(line, dict):
        raise ValueError(f"expected a JSON object, found {type(line).__name__}")
    given = cast(dict[str, object], line)
    task_uid, value = _text(given, "task_uid"), _text(given, "value")
    author = f"file:{_text(given, 'author', 'unknown')}"
    native_id = _text(given, "id", f"{author}/{task_uid}")
    return Answer(
        annotation_uid=annotation_uid(task_uid, author, native_id),
        task_uid=task_uid,
        value=value,
        author=author,
        seconds=_seconds(given.get("seconds", 0)),
        native_id=native_id,
        at=at,
    )


def _text(given: dict[str, object], name: str, default: str | None = None) -> str:
    value = given.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and name == "id":
        value = str(value)
    if value in (None, "") and default is not None:
        return default
    if not isinstance(value, str) or not value:
        raise ValueError(f"'{name}' must be a text that is not empty, found {value!r}")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e7:
        raise ValueError(f"'seconds' must be a number from 0, found {value!r}")
    return float(value)


def _line_count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _json_line(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"
