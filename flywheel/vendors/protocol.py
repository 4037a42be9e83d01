"""What the flywheel asks of an annotation vendor."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, overload

from flywheel.identity import digest


@dataclass(frozen=True)
class LabelSpec:
    """What is asked about an item: one class out of `classes`, under versioned instructions."""

    field: str
    version: str
    modality: str  # image | text
    classes: tuple[str, ...]
    instructions: str = ""


@dataclass(frozen=True)
class Task:
    """One question about one item. `uid` is ours, carried through the vendor and back."""

    uid: str  # digest of (job id, item id)
    item_id: str
    content_id: str
    data: bytes  # encoded image, or UTF-8 text
    name: str  # for people: the object's key
    prelabel: str = ""  # the model's proposal, "" for none
    prelabel_confidence: float = 0.0
    model_version: str = ""


@dataclass(frozen=True)
class Job:
    """Tasks that are ordered together, once. Submitting the same `idempotency_key` again creates nothing."""

    job_id: str
    idempotency_key: str
    spec: LabelSpec
    votes: int  # annotators asked per task
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Answer:
    """One annotator's answer to one task."""

    annotation_uid: str  # ours: digest of (task uid, author, the vendor's id of the annotation)
    task_uid: str
    value: str
    author: str  # "<vendor>:<id>"; "<vendor>:unknown" where the vendor does not say
    seconds: float  # time spent, 0 where unknown
    native_id: str
    at: datetime  # UTC
    parent: str = ""  # annotation_uid it corrects


@dataclass(frozen=True)
class Refusal:
    """One answer of a vendor that cannot be used: where it stands and why. It never holds up the good ones."""

    where: str
    reason: str


class Answers(Sequence[Answer]):
    """What `AnnotationVendor.fetch` returns: the usable answers, in order, and beside them what was `refused`."""

    def __init__(self, answers: Iterable[Answer], refused: Iterable[Refusal] = ()):
        self._answers = tuple(answers)
        self.refused = tuple(refused)

    @overload
    def __getitem__(self, index: int) -> Answer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Answer]: ...
    def __getitem__(self, index: int | slice) -> Answer | Sequence[Answer]:
        return self._answers[index]

    def __len__(self) -> int:
        return len(self._answers)


def annotation_uid(task_uid: str, author: str, native_id: str) -> str:
    """Return our name of one annotator's answer to one task; the same however often it is fetched or changed."""
    return digest("annotation", task_uid, author, native_id)


@dataclass(frozen=True)
class JobStatus:
    """How far a job is."""

    native_id: str
    done: int  # tasks with at least the asked number of answers
    total: int

    @property
    def complete(self) -> bool:
        return self.total > 0 and self.done >= self.total


@dataclass(frozen=True)
class Capabilities:
    """What a vendor can do; the flywheel asks for nothing else."""

    prelabels: bool
    annotator_identity: bool
    object_rework: bool
    push: bool
    withdrawals: bool = False  # an answer that is no longer there was taken back on purpose


class AnnotationVendor(Protocol):
    """A place that answers tasks. Every call may be repeated; none may pay twice."""

    @property
    def name(self) -> str:
        """Short name, the prefix of its authors."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether answers come from a simulation; shown wherever its labels are."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    def find(self, idempotency_key: str) -> str | None:
        """Return the native id of the job submitted under this key, by asking the vendor; None if there is none."""
        ...

    def submit(self, job: Job) -> str:
        """Create the job, or complete a half-created one; return its native id.

        Raises:
            VendorBusy: come back later.
            VendorError: it was refused, and why.
        """
        ...

    def status(self, job: Job, native_id: str) -> JobStatus:
        """Ask how far the job is."""
        ...

    def fetch(self, job: Job, native_id: str) -> Answers:
        """Return what stands at the vendor: per annotation its latest value, in a stable order.

        A corrected answer keeps its `annotation_uid`. Answers that cannot be used are in `.refused`.
        """
        ...

    def send_back(self, job: Job, native_id: str, annotation_uid: str, comment: str) -> None:
        """Ask for one answer to be done again, where the vendor can; otherwise raise VendorError."""
        ...
