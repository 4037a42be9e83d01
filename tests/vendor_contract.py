"""What every annotation vendor must do: one body of checks, run over each implementation.

Each check takes `connect`, which opens the vendor anew as a fresh process would, and `answer`, which lets two
annotators answer a submitted job completely (a simulated vendor needs none of that).
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from flywheel.errors import VendorError
from flywheel.vendors import AnnotationVendor, Job
from tests.labeling_world import make_job

Connect = Callable[[], AnnotationVendor]
Answering = Callable[[Job, str], None]

AWKWARD = ('a <b> & "c", d', "it's", "日本語 €")  # classes that a careless format would break
AWKWARD_PREFIX = "ünd,"  # of the names of the tasks they belong to


def submitting_twice_makes_one_job(connect: Connect, answer: Answering) -> None:
    job = make_job(key="twice")
    assert connect().find(job.idempotency_key) is None
    native_id = connect().submit(job)
    assert connect().submit(job) == native_id
    assert connect().status(job, native_id).total == len(job.tasks)


def a_job_is_found_by_its_key_alone(connect: Connect, answer: Answering) -> None:
    job, other = make_job(key="found"), make_job(key="found-too")
    native_id = connect().submit(job)
    assert connect().find(job.idempotency_key) == native_id
    assert connect().find(other.idempotency_key) is None
    assert connect().submit(other) != native_id


def answers_carry_our_names_and_stay_the_same(connect: Connect, answer: Answering) -> None:
    job = make_job(key="answers", votes=2)
    vendor = connect()
    native_id = vendor.submit(job)
    answer(job, native_id)
    first = list(vendor.fetch(job, native_id))
    assert first == list(connect().fetch(job, native_id))
    assert {one.task_uid for one in first} == {task.uid for task in job.tasks}
    assert len(first) == len({one.annotation_uid for one in first}) == 2 * len(job.tasks)
    assert len({(one.task_uid, one.author) for one in first}) == len(first)
    assert all(one.author.startswith(f"{vendor.name}:") for one in first)
    assert all(one.value in job.spec.classes for one in first)
    assert all(one.at.tzinfo is not None for one in first)
    status = vendor.status(job, native_id)
    assert (status.done, status.complete) == (len(job.tasks), True)


def awkward_classes_and_texts_survive(connect: Connect, answer: Answering) -> None:
    job = make_job(key="awkward", modality="text")
    tasks = tuple(replace(task, name=f"{AWKWARD_PREFIX}{task.name}", prelabel="") for task in job.tasks)
    job = replace(job, tasks=tasks, spec=replace(job.spec, classes=AWKWARD, instructions="<i>&"))
    vendor = connect()
    native_id = vendor.submit(job)
    answer(job, native_id)
    fetched = vendor.fetch(job, native_id)
    assert not fetched.refused
    assert {one.value for one in fetched} == set(AWKWARD)


def one_answer_is_sent_back_and_the_others_stay(connect: Connect, answer: Answering) -> None:
    job = make_job(key="rework", votes=2)
    vendor = connect()
    native_id = vendor.submit(job)
    answer(job, native_id)
    before = {one.annotation_uid: one.value for one in vendor.fetch(job, native_id)}
    doubted = sorted(before)[0]
    vendor.send_back(job, native_id, doubted, "look at the ears")
    after = {one.annotation_uid: one.value for one in connect().fetch(job, native_id)}
    assert {uid: value for uid, value in after.items() if uid != doubted} == {
        uid: value for uid, value in before.items() if uid != doubted
    }
    with pytest.raises(VendorError, match="no answer nobody"):
        vendor.send_back(job, native_id, "nobody", "")


def a_job_that_was_never_made_is_an_error(connect: Connect, answer: Answering) -> None:
    with pytest.raises(VendorError):
        connect().fetch(make_job(key="never"), "987654")


CONTRACT = [
    submitting_twice_makes_one_job,
    a_job_is_found_by_its_key_alone,
    answers_carry_our_names_and_stay_the_same,
    awkward_classes_and_texts_survive,
    one_answer_is_sent_back_and_the_others_stay,
    a_job_that_was_never_made_is_an_error,
]
