"""A queue of S3 notifications for tests: SQS as moto serves it, over a real socket."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote_plus

import boto3
from moto.server import ThreadedMotoServer

from flywheel.config import EventsConfig


@dataclass(frozen=True)
class Queue:
    """One queue, and what S3 would send to it."""

    config: EventsConfig
    url: str
    client: Any

    def say(self, *keys: str, bucket: str = "flywheel", form: str = "plain", name: str = "ObjectCreated:Put") -> None:
        """Send one notification about each key, in the form of S3, SNS or EventBridge."""
        for key in keys:
            self.send(notification(key, bucket, form, name))

    def send(self, body: str) -> None:
        self.client.send_message(QueueUrl=self.url, MessageBody=body)

    def left(self) -> int:
        """How many messages are not deleted, hidden ones counted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)


@dataclass(frozen=True)
class Sqs:
    """A running server."""

    endpoint: str
    _numbers: Iterator[int]

    def new_queue(self, **config: Any) -> Queue:
        client = boto3.client("sqs", endpoint_url=self.endpoint, region_name="us-east-1")
        name = f"events-{next(self._numbers)}"
        url = client.create_queue(QueueName=name)["QueueUrl"]
        settings = {"queue": name, "endpoint": self.endpoint, "wait_seconds": 0, **config}
        return Queue(EventsConfig.model_validate(settings), url, client)


@contextmanager
def run_sqs() -> Iterator[Sqs]:
    """Run an SQS server on loopback; keys are those of the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Sqs(f"http://{host}:{port}", count())
    finally:
        server.stop()


def notification(key: str, bucket: str = "flywheel", form: str = "plain", name: str = "ObjectCreated:Put") -> str:
    """Return what S3 says about a key."""
    if form == "eventbridge":
        detail = {"version": "0", "bucket": {"name": bucket}, "object": {"key": key, "size": 1, "etag": "0"}}
        return json.dumps({"version": "0", "source": "aws.s3", "detail-type": "Object Created", "detail": detail})
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key), "size": 1, "eTag": "0", "sequencer": "0"}}
    body = json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": name, "s3": s3}]})
    return json.dumps({"Type": "Notification", "Message": body}) if form == "sns" else body
