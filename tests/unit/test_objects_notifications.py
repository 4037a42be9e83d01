"""What is read out of a message, whoever wrote it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.objects import MalformedNotification, read_notification
from tests.notifications import notification

ODD = "in/a b+c%20ü&=?.txt"


@pytest.mark.parametrize("form", ["plain", "sns"])
def test_keys_are_decoded(form: str) -> None:
    assert read_notification(notification(ODD, form=form)) == [("flywheel", ODD)]


def test_keys_of_eventbridge_are_taken_as_they_are_and_decoded() -> None:
    assert read_notification(notification("a.txt", form="eventbridge")) == [("flywheel", "a.txt")]
    assert read_notification(notification("a+b.txt", form="eventbridge")) == [
        ("flywheel", "a+b.txt"),
        ("flywheel", "a b.txt"),
    ]


def test_one_message_may_hold_several_records() -> None:
    both = [record for key in "ab" for record in json.loads(notification(key))["Records"]]
    assert read_notification(json.dumps({"Records": both})) == [("flywheel", "a"), ("flywheel", "b")]


def test_the_test_that_s3_sends_names_nothing() -> None:
    assert read_notification(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})) == []


RECORD = json.loads(notification("a"))["Records"][0]
HOSTILE = {
    "no JSON": "hello",
    "empty": "",
    "a number": "7",
    "a list": "[]",
    "null": "null",
    "another service": json.dumps({"Records": [{"eventSource": "aws:sns", "Sns": {}}]}),
    "no records": json.dumps({"Records": None}),
    "a record that is text": json.dumps({"Records": ["x"]}),
    "a key that is no text": json.dumps({"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": 7}}}]}),
    "no key": json.dumps({"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": ""}}}]}),
    "deeply nested": "[" * 200_000,
    "a huge number": '{"Records": ' + "9" * 5000 + "}",
    "too long": json.dumps({"Records": [], "x": "x" * (1 << 20)}),
    "too many records": json.dumps({"Records": [RECORD] * 1001}),
    "a wrapper without a message": json.dumps({"Type": "Notification"}),
    "a wrapper around text": json.dumps({"Type": "Notification", "Message": "hello"}),
    "a null byte": json.dumps({"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": "a%00b"}}}]}),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_notification_is_refused(body: str) -> None:
    with pytest.raises(MalformedNotification) as refused:
        read_notification(body)
    assert len(str(refused.value)) < 100


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Records", "s3", "bucket", "name", "object", "key", "detail", "Type"]), inner
        )
    ),
    max_leaves=12,
)


@given(values)
def test_any_json_is_read_or_refused(said: object) -> None:
    try:
        found = read_notification(json.dumps(said))
    except MalformedNotification:
        return
    assert all(bucket and key for bucket, key in found)
