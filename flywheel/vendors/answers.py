"""What every vendor shares: who answers, which answers count as done, and files that appear whole or not at all."""

import os
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from flywheel.errors import VendorError
from flywheel.vendors.protocol import Answer, Answers, Job, JobStatus, Refusal

SAFE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# first bytes of the image files that every browser shows
MAGIC = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"BM": "bmp"}


def image_kind(data: bytes) -> str:
    """Return the kind of an encoded image: png, jpeg, gif, bmp or webp.

    Raises:
        VendorError: it is none of them.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    for magic, kind in MAGIC.items():
        if data.startswith(magic):
            return kind
    raise VendorError(f"an image starts with {data[:8]!r}; people are shown png, jpeg, gif, bmp or webp only")


def status_of(job: Job, native_id: str, answers: Iterable[Answer], total: int) -> JobStatus:
    """Return how far a job is: a task is done once `job.votes` different authors answered it."""
    authors: defaultdict[str, set[str]] = defaultdict(set)
    for answer in answers:
        authors[answer.task_uid].add(answer.author)
    done = sum(len(who) >= job.votes for who in authors.values())
    return JobStatus(native_id=native_id, done=done, total=total)


def usable_answers(job: Job, answers: Iterable[Answer], refused: Iterable[Refusal] = ()) -> Answers:
    """Return the answers to questions of `job` that name one of its classes; the others are refused with a reason."""
    asked = {task.uid for task in job.tasks}
    good: list[Answer] = []
    bad = list(refused)
    for answer in answers:
        where = f"answer {answer.native_id} of {answer.author}"
        if answer.task_uid not in asked:
            bad.append(Refusal(where, f"'{answer.task_uid}' is no task of this job"))
        elif answer.value not in job.spec.classes:
            bad.append(Refusal(where, f"'{answer.value}' is none of the classes {list(job.spec.classes)}"))
        else:
            good.append(answer)
    return Answers(good, bad)


def answer_named(answers: Sequence[Answer], annotation_uid: str, vendor: str) -> Answer:
    """Return the answer of that uid.

    Raises:
        VendorError: the vendor has none.
    """
    for answer in answers:
        if answer.annotation_uid == annotation_uid:
            return answer
    raise VendorError(f"vendor '{vendor}' has no answer {annotation_uid} among {len(answers)}; nothing was sent back")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, replacing what stood there."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def write_once(path: Path, content: bytes) -> bool:
    """Write a file whole unless one stands there; return whether it was written."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.write_bytes(content)
    try:
        os.link(temporary, path)
        return True
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
