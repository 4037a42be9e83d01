"""S3 event notifications from an SQS queue: hints that an object may have changed, never the truth about it."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import unquote_plus

from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs]

from flywheel.config import S3, EventsConfig
from flywheel.errors import ConfigError, DataError
from flywheel.objects.s3 import asked, open_session

log = logging.getLogger("flywheel.objects")

BATCH = 10  # messages in one call, SQS allows no more
HIDDEN_SECONDS = 120  # a message that was received and not deleted shows up again after this
MAX_BODY = 1 << 20  # characters; SQS allows no longer messages
MAX_RECORDS = 1000  # in one message; S3 sends one

Key = tuple[str, str]  # bucket, key


class MalformedNotification(DataError):
    """A message that is no S3 event notification."""


@dataclass(frozen=True)
class Message:
    """One message, hidden from others for a while."""

    receipt: str  # what deletes it
    body: str


class EventQueue(Protocol):
    """Where notifications of a bucket wait. A message is given again until it is deleted."""

    def waiting(self) -> int:
        """Return about how many messages wait."""
        ...

    def receive(self) -> list[Message]:
        """Return some messages; none if none came within a short while."""
        ...

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete messages that were dealt with. One that cannot be deleted comes again."""
        ...


class SqsQueue:
    """A queue of Amazon SQS, or of a server that speaks its protocol.

    Args:
        config: the queue.
        s3: the bucket's endpoint; region and profile are taken from it where the queue names none.
    """

    def __init__(self, config: EventsConfig, s3: S3):
        self._name, self._wait = config.queue, config.wait_seconds
        self._url = config.queue if "://" in config.queue else None
        place = S3(region=config.region or s3.region, profile=config.profile or s3.profile)
        settings = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=30)
        self._client = open_session(place).client("sqs", endpoint_url=config.endpoint, config=settings)

    def waiting(self) -> int:
        """Return about how many messages wait.

        Raises:
            ConfigError: there is no such queue, or no access to it.
            StoreUnavailable: it cannot be reached.
        """
        name = "ApproximateNumberOfMessages"
        answer = self._ask(lambda url: self._client.get_queue_attributes(QueueUrl=url, AttributeNames=[name]))
        return int(answer["Attributes"][name])

    def receive(self) -> list[Message]:
        """Return up to ten messages; none if none came within `wait_seconds`. Errors are those of `waiting`."""
        options = {
            "MaxNumberOfMessages": BATCH,
            "WaitTimeSeconds": self._wait,
            "VisibilityTimeout": HIDDEN_SECONDS,
        }
        answer = self._ask(lambda url: self._client.receive_message(QueueUrl=url, **options))
        return [Message(row["ReceiptHandle"], row.get("Body", "")) for row in answer.get("Messages", [])]

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete messages. Errors are those of `waiting`."""
        for start in range(0, len(messages), BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": message.receipt}
                for number, message in enumerate(messages[start : start + BATCH])
            ]
            answer = self._ask(lambda url: self._client.delete_message_batch(QueueUrl=url, Entries=entries))  # noqa: B023
            if answer.get("Failed"):
                log.info("%d messages of '%s' could not be deleted and come again", len(answer["Failed"]), self._name)

    def _ask(self, call: Callable[[str], Any]) -> Any:
        def ask() -> Any:
            try:
                if self._url is None:
                    self._url = cast(str, self._client.get_queue_url(QueueName=self._name)["QueueUrl"])
                return call(self._url)
            except self._client.exceptions.QueueDoesNotExist:
                raise ConfigError(f"there is no queue '{self._name}'; create it, or correct 'events.queue'") from None

        return asked(ask, self._name)


def read_notification(body: str) -> list[Key]:
    """Return bucket and key of every object a message speaks of; none for the test that S3 sends by itself.

    Understood are S3's own notifications, plain or wrapped by SNS, whose keys are URL-encoded, and EventBridge's.
    EventBridge says keys as they are; where a decoded one would differ both are returned: they are but hints.

    Raises:
        MalformedNotification: it is none of these.
    """
    try:
        found = list(_keys(_loaded(body)))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise MalformedNotification(f"a message is no S3 event notification: {type(error).__name__}") from None
    if any("\0" in part or not part for key in found for part in key):
        raise MalformedNotification("a message names no bucket or no key")
    return found


def _loaded(body: str) -> Any:
    """Return what a message says, unwrapped from SNS."""
    if len(body) > MAX_BODY:
        raise ValueError("too long")
    said = json.loads(body)
    return json.loads(said["Message"]) if said.get("Type") == "Notification" else said


def _keys(said: Any) -> Iterator[Key]:
    if said.get("Event") == "s3:TestEvent":
        return
    if "detail" in said:
        bucket, key = said["detail"]["bucket"]["name"], said["detail"]["object"]["key"]
        yield from {(str(bucket), name): None for name in (str(key), unquote_plus(key))}
        return
    if len(said["Records"]) > MAX_RECORDS:
        raise ValueError("too many records")
    for record in said["Records"]:
        yield str(record["s3"]["bucket"]["name"]), unquote_plus(record["s3"]["object"]["key"])
