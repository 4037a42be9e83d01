"""Label Studio over its REST API, tried on 1.23.2: a project per job, a task per question, pre-labels as predictions.

The project's title is our idempotency key, and each task carries our uid in its `meta`: so a crashed order is found
by listing, and a half-made one is completed by importing only what is missing.

Images travel inside the task as `data:` addresses. Nothing is then fetched by the server or opened to the network, no
link runs out while the labels are pending, and bytes from a private bucket never need a public address. Polling
leaves the bytes where they are (`omit=data`), so it costs the same for images and texts.
"""

import base64
import html
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, cast
from xml.sax.saxutils import quoteattr

import httpx

from flywheel.encoders import show, shown_as
from flywheel.errors import VendorBusy, VendorError
from flywheel.vendors.answers import answer_named, image_kind, status_of, usable_answers
from flywheel.vendors.protocol import (
    Answer,
    Answers,
    Capabilities,
    Job,
    JobStatus,
    LabelSpec,
    Refusal,
    Task,
    annotation_uid,
)

MODEL_VERSION = "flywheel"  # the name under which pre-labels are shown
PAGE = 200  # tasks per page when polling
CHUNK_TASKS, CHUNK_BYTES = 100, 20_000_000  # of one import request
POLLED = "omit=data,predictions,drafts,predictions_results,annotations_results"

Json = dict[str, Any]


class LabelStudioVendor:
    """Orders labels from a Label Studio server and polls for them.

    Args:
        url: the server's address.
        token: an access token of a user who may create projects ("legacy token" in Label Studio's words).
        timeout: seconds a request may take; an import is one request.
        transport: what carries the requests, for tests; the network where left out.
    """

    name = "label-studio"
    simulated = False
    capabilities = Capabilities(
        prelabels=True, annotator_identity=True, object_rework=True, push=False, withdrawals=True
    )

    def __init__(self, url: str, token: str, *, timeout: float = 300.0, transport: httpx.BaseTransport | None = None):
        self._url = url
        headers = {"Authorization": f"Token {token}"}
        # calls are rare and long: no connection is kept between them, so there is nothing to close either
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport, limits=limits)

    def find(self, idempotency_key: str) -> str | None:
        """Return the id of the project made for this key, None if there is none or its import was cut off."""
        project = self._project(idempotency_key)
        if project is None or (project["task_number"] or 0) < _announced(project):
            return None
        return str(project["id"])

    def submit(self, job: Job) -> str:
        """Make the project and import the tasks it lacks; return its id. Repeating it makes and imports nothing.

        Raises:
            VendorBusy: the server is down, overloaded or failing; come back later.
            VendorError: it refused the token, the labeling configuration or a task.
        """
        imports = [_imported(task, job.spec) for task in job.tasks]
        native_id = str((self._project(job.idempotency_key) or self._create(job))["id"])
        present = {_uid(task) for task in self._tasks(native_id)}
        for chunk in _chunks([task for task in imports if _uid(task) not in present]):
            self._call("POST", f"/api/projects/{native_id}/import", json=chunk)
        self._remove_doubles(native_id)
        return native_id

    def status(self, job: Job, native_id: str) -> JobStatus:
        """Return how far the project is, counting usable answers of different people."""
        tasks = list(self._tasks(native_id))
        return status_of(job, native_id, _answers(job, tasks), total=len(tasks))

    def fetch(self, job: Job, native_id: str) -> Answers:
        """Return every annotation as it stands, by task and annotation id; skipped ones are left out.

        An annotation that was changed keeps its uid. One that was deleted is missing: it was withdrawn.
        """
        return _answers(job, list(self._tasks(native_id)))

    def send_back(self, job: Job, native_id: str, annotation_uid: str, comment: str) -> None:
        """Delete one annotation, so that its task is open again, and show `comment` above the task.

        The community edition has no review: the next person who opens the project gets the task.
        """
        answer = answer_named(self.fetch(job, native_id), annotation_uid, self.name)
        task = next(task for task in self._tasks(native_id) if _uid(task) == answer.task_uid)
        data = self._call("GET", f"/api/tasks/{task['id']}/")["data"] | {"note": comment}
        self._call("PATCH", f"/api/tasks/{task['id']}/", json={"data": data})
        self._call("DELETE", f"/api/annotations/{answer.native_id}/")

    def _project(self, idempotency_key: str) -> Json | None:
        """Return the project of this title; the oldest, should two processes have made one at the same moment."""
        include = "id,title,description,task_number"
        found: list[Json] = []
        page = 1
        while page:
            query = {"title": idempotency_key, "include": include, "page": page, "page_size": 100}
            answer = self._call("GET", "/api/projects/", params=query)
            found += [project for project in answer["results"] if project["title"] == idempotency_key]
            page = page + 1 if answer["next"] else 0
        return min(found, key=lambda project: project["id"], default=None)

    def _create(self, job: Job) -> Json:
        project = {
            "title": job.idempotency_key,
            "description": f"flywheel: {len(job.tasks)} tasks about '{job.spec.field}'",
            "label_config": labeling_config(job.spec),
            "expert_instruction": html.escape(job.spec.instructions),
            "show_instruction": bool(job.spec.instructions),
            "maximum_annotations": job.votes,
            "show_collab_predictions": True,
            "model_version": MODEL_VERSION,
        }
        self._call("POST", "/api/projects/", json=project)
        return cast(Json, self._project(job.idempotency_key))

    def _tasks(self, native_id: str) -> Iterator[Json]:
        """Yield the project's tasks with their annotations, without their bytes, by task id."""
        page, seen, total = 1, 0, 1
        while seen < total:
            address = f"/api/tasks?project={native_id}&page={page}&page_size={PAGE}&fields=all&{POLLED}"
            answer = self._call("GET", address)
            yield from answer["tasks"]
            page, seen, total = page + 1, seen + len(answer["tasks"]), answer["total"]

    def _remove_doubles(self, native_id: str) -> None:
        """Delete tasks that were imported twice, where an answer got lost while the server went on importing."""
        seen: set[str] = set()
        for task in list(self._tasks(native_id)):
            if _uid(task) in seen and not task["annotations"]:
                self._call("DELETE", f"/api/tasks/{task['id']}/")
            seen.add(_uid(task))

    def _call(self, method: str, address: str, **request: Any) -> Any:
        try:
            response = self._http.request(method, address, **request)
        except httpx.TransportError as error:
            raise VendorBusy(f"Label Studio at {self._url} does not answer ({error}); is it running?") from error
        if response.status_code == 429 or response.status_code >= 500:
            raise VendorBusy(f"Label Studio: {_refusal(response)}", _retry_after(response))
        if response.status_code == 401:
            raise VendorError(f"Label Studio at {self._url} refused the access token; see vendor.token_env")
        if response.is_error:
            raise VendorError(f"Label Studio refused {method} {address.split('?')[0]}: {_refusal(response)}")
        return response.json() if response.content else None


def labeling_config(spec: LabelSpec) -> str:
    """Return Label Studio's labeling configuration for a label spec: one choice over an image or a text.

    Raises:
        VendorError: a class cannot be written in it.
    """
    variables = [name for name in spec.classes if name.startswith("$")]
    if variables:
        raise VendorError(f"Label Studio reads classes that start with '$' as variables; found {variables}")
    shown = '<Image name="item" value="$image" maxWidth="480px"/>'
    if shown_as(spec.modality) == "text":
        shown = '<Text name="item" value="$text" valueType="text"/>'
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in spec.classes)
    asked = f'<Choices name="answer" toName="item" choice="single" required="true">{choices}</Choices>'
    return f'<View><Header value="$note"/>{shown}{asked}</View>'


def _imported(task: Task, spec: LabelSpec) -> Json:
    data: Json = {"name": task.name, "note": ""}
    seen = show(spec.modality, task.data)
    if seen.kind == "text":
        data["text"] = seen.data.decode("utf-8")
    else:
        data["image"] = f"data:image/{image_kind(seen.data)};base64,{base64.b64encode(seen.data).decode()}"
    imported: Json = {"data": data, "meta": {"uid": task.uid}}
    if task.prelabel in spec.classes:
        choice = {"from_name": "answer", "to_name": "item", "type": "choices", "value": {"choices": [task.prelabel]}}
        score = task.prelabel_confidence
        imported["predictions"] = [{"model_version": MODEL_VERSION, "score": score, "result": [choice]}]
    return imported


def _chunks(tasks: Sequence[Json]) -> Iterator[list[Json]]:
    """Yield the tasks in groups that fit one request."""
    chunk: list[Json] = []
    size = 0
    for task in tasks:
        weight = len(task["data"].get("image", "")) + len(task["data"].get("text", ""))
        if chunk and (len(chunk) == CHUNK_TASKS or size + weight > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(task)
        size += weight
    if chunk:
        yield chunk


def _answers(job: Job, tasks: Sequence[Json]) -> Answers:
    good: list[Answer] = []
    refused: list[Refusal] = []
    for task in tasks:
        for annotation in sorted(task["annotations"], key=lambda annotation: annotation["id"]):
            if annotation["was_cancelled"]:
                continue
            value = _value(annotation)
            if value is None:
                refused.append(Refusal(f"annotation {annotation['id']}", "it holds no choice, or more than one"))
            else:
                good.append(_answer(_uid(task), annotation, value))
    return usable_answers(job, good, refused)


def _answer(task_uid: str, annotation: Json, value: str) -> Answer:
    author = f"label-studio:{annotation['completed_by'] or 'unknown'}"
    native_id = str(annotation["id"])
    return Answer(
        annotation_uid=annotation_uid(task_uid, author, native_id),
        task_uid=task_uid,
        value=value,
        author=author,
        seconds=float(annotation["lead_time"] or 0.0),
        native_id=native_id,
        at=datetime.fromisoformat(annotation["updated_at"]),
    )


def _value(annotation: Json) -> str | None:
    chosen = [
        choice
        for region in annotation["result"]
        if region.get("from_name") == "answer"
        for choice in region["value"].get("choices", [])
    ]
    return chosen[0] if len(chosen) == 1 else None


def _uid(task: Json) -> str:
    meta: Json = task["meta"] or {}
    return str(meta.get("uid", ""))


def _announced(project: Json) -> int:
    """Return how many tasks the project's description says it is to have."""
    found = re.search(r"flywheel: (\d+) tasks", project["description"] or "")
    return int(found.group(1)) if found else 0


def _refusal(response: httpx.Response) -> str:
    return f"status {response.status_code}, {response.text[:500]}"


def _retry_after(response: httpx.Response) -> float:
    given = response.headers.get("retry-after", "")
    return float(given) if re.fullmatch(r"\d+(\.\d+)?", given) else 30.0
