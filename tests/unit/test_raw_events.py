"""Arrivals from notifications: hints about objects, whose truth is asked of a real S3 server."""

import json
import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flywheel.errors import ConfigError
from flywheel.objects import S3Store, Source, SqsQueue, StoreUnavailable
from flywheel.raw import events, plan_arrivals
from flywheel.tables import Tables
from tests.notifications import Queue, Sqs, notification, run_sqs
from tests.raw_world import NOW, World
from tests.servers import SeaweedFS

pytestmark = pytest.mark.integration

LATER = NOW + timedelta(hours=25)


@pytest.fixture(scope="module")
def sqs() -> Iterator[Sqs]:
    with run_sqs() as server:
        yield server


class Bucket(World):
    """A source in a bucket, and the queue of its notifications."""

    def __init__(self, folder: Path, seaweedfs: SeaweedFS, queue: Queue, **config: Any):
        root = f"{seaweedfs.new_root()}/in"
        super().__init__(Tables(str(folder / "tables")), S3Store(root, seaweedfs.s3, page_size=2), root=root, **config)
        self.queue, self.state, self.prefix = queue, folder / "sweeps", root.removeprefix("s3://flywheel/") + "/"
        settings = self.sources["photos"].config.model_copy(update={"events": queue.config})
        self.sources["photos"] = Source(settings, self.store, SqsQueue(queue.config, seaweedfs.s3))

    def tick(self, **options: Any) -> list[str]:
        return plan_arrivals(
            self.tables, self.sources, **{"now": NOW, "tick_seconds": 30, "state": self.state} | options
        )

    def say(self, *keys: str, **options: Any) -> None:
        self.queue.say(*(self.prefix + key for key in keys), **options)

    def rows(self, arrival: str) -> list[tuple[str, str]]:
        rows = self.tables.read("objects", arrival=arrival).sort("key")
        return rows.select("key", "state").rows()


@pytest.fixture
def bucket(tmp_path: Path, seaweedfs: SeaweedFS, sqs: Sqs) -> Bucket:
    """A bucket with two objects that a first sweep has seen."""
    bucket = Bucket(tmp_path, seaweedfs, sqs.new_queue())
    bucket.put("a.txt", b"one")
    bucket.put("b.txt", b"two")
    assert bucket.tick() == ["arrival-00001"]
    return bucket


def test_what_messages_name_becomes_an_arrival_without_a_sweep(bucket: Bucket) -> None:
    for key in ("a.txt", "new +ü%.txt", "unnoticed.txt"):
        bucket.put(key, b"new")
    bucket.delete("b.txt")
    bucket.say("a.txt", form="sns")
    bucket.say("new +ü%.txt")
    bucket.say("b.txt", form="eventbridge")
    assert bucket.tick() == ["arrival-00001", "arrival-00002"]
    assert bucket.rows("arrival-00002") == [("a.txt", "active"), ("b.txt", "deleted"), ("new +ü%.txt", "active")]
    assert bucket.queue.left() == 0
    assert bucket.tick(now=LATER)[2:] == ["arrival-00003"]
    assert bucket.rows("arrival-00003") == [("unnoticed.txt", "active")]


def test_versions_are_those_that_a_sweep_would_see(bucket: Bucket) -> None:
    bucket.put("a.txt", b"new")
    bucket.say("a.txt")
    bucket.tick()
    listed = {info.key: (info.version, info.size) for info in bucket.store.list()}
    [row] = bucket.tables.read("objects", arrival="arrival-00002").to_dicts()
    assert (row["version"], row["size"]) == listed["a.txt"]
    assert bucket.tick(now=LATER) == ["arrival-00001", "arrival-00002"]


def test_duplicates_and_late_messages_change_nothing(bucket: Bucket) -> None:
    version = bucket.tables.version("objects")
    bucket.say("a.txt", "a.txt", "b.txt")
    bucket.say("never.txt", name="ObjectRemoved:Delete")
    assert bucket.tick() == ["arrival-00001"]
    assert bucket.tables.version("objects") == version
    assert bucket.queue.left() == 0


def test_messages_about_other_places_are_ignored(bucket: Bucket, seaweedfs: SeaweedFS) -> None:
    other = S3Store(seaweedfs.new_root(), seaweedfs.s3)
    other.write("c.txt", b"x")
    bucket.queue.say(f"{other.prefix}c.txt")
    bucket.say("c.txt", bucket="another")
    bucket.say(".hidden", "folder/")
    bucket.queue.send(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}))
    assert bucket.tick() == ["arrival-00001"]
    assert bucket.queue.left() == 0


def test_hostile_messages_are_dropped_with_a_warning_each_kind(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put("c.txt", b"x")
    for body in ("hello", "[" * 9000, "7", json.dumps({"Records": "secret-word"})):
        bucket.queue.send(body)
    bucket.queue.send("hello")
    bucket.say("../../up.txt", "c\n.txt", "c.txt")
    with caplog.at_level(logging.WARNING):
        assert bucket.tick() == ["arrival-00001", "arrival-00002"]
    assert bucket.rows("arrival-00002") == [("c.txt", "active")]
    assert bucket.queue.left() == 0
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sum("are dropped" in text for text in warnings) == len(set(warnings)) - 1
    assert "2 keys in the queue of 'photos' are refused; dropped" in warnings
    assert "secret-word" not in caplog.text


def test_messages_go_away_only_once_their_arrival_stands(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("a.txt", b"new")
    bucket.say("a.txt")

    def killed(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bucket.tables, "replace", killed)
        patch.setattr("flywheel.objects.notifications.HIDDEN_SECONDS", 1)
        bucket.tick()
    assert bucket.queue.left() == 1
    time.sleep(1.1)
    assert bucket.tick()[1:] == ["arrival-00002"]
    assert bucket.queue.left() == 0


def test_killed_after_the_arrival_the_messages_come_again_and_say_nothing(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.txt", b"new")
    bucket.say("a.txt")
    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
        patch.setattr(SqsQueue, "delete", lambda *_: (_ for _ in ()).throw(StoreUnavailable("gone")))
        patch.setattr("flywheel.objects.notifications.HIDDEN_SECONDS", 1)
        bucket.tick()
    assert bucket.queue.left() == 1
    time.sleep(1.1)
    assert bucket.tick() == ["arrival-00001", "arrival-00002"]
    assert bucket.queue.left() == 0


def test_what_cannot_be_asked_about_in_time_stays_in_the_queue(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "CHUNK", 2)
    monkeypatch.setattr("flywheel.objects.notifications.HIDDEN_SECONDS", 0)
    keys = [f"{number}.txt" for number in range(5)]
    for key in keys:
        bucket.put(key, b"x")
        bucket.say(key)
    for left in (3, 1, 0):
        bucket.tick(tick_seconds=0)
        assert bucket.queue.left() == left
    found = bucket.tables.read("objects").filter(pl.col("arrival") != "arrival-00001")
    assert sorted(found["key"]) == keys


def test_messages_wait_for_the_window(bucket: Bucket) -> None:
    bucket.put("a.txt", b"new")
    bucket.say("a.txt")
    options = {"window_seconds": 300}
    for second in (0, 299):
        assert bucket.tick(now=NOW + timedelta(seconds=second), **options) == ["arrival-00001"]
    bucket.put("c.txt", b"new")
    bucket.say("c.txt")
    assert bucket.tick(now=NOW + timedelta(seconds=300), **options) == ["arrival-00001", "arrival-00002"]
    assert bucket.rows("arrival-00002") == [("a.txt", "active"), ("c.txt", "active")]


def test_many_messages_do_not_wait_for_the_window(bucket: Bucket) -> None:
    bucket.put("a.txt", b"new")
    bucket.say("a.txt", "b.txt", "a.txt")
    assert bucket.tick(window_seconds=300, max_objects=3) == ["arrival-00001", "arrival-00002"]
    assert bucket.queue.left() == 0


def test_a_message_that_comes_during_a_sweep_is_newer_than_the_listing(
    tmp_path: Path, seaweedfs: SeaweedFS, sqs: Sqs
) -> None:
    bucket = Bucket(tmp_path, seaweedfs, sqs.new_queue())
    for key in ("a.txt", "b.txt", "c.txt", "d.txt", "e.txt"):
        bucket.put(key, b"old")
    bucket.tick(tick_seconds=0)
    bucket.put("a.txt", b"new")
    bucket.delete("b.txt")
    bucket.put("0.txt", b"behind the sweep")
    bucket.say("a.txt", "b.txt", "0.txt")
    while "e.txt" not in bucket.tables.read("objects")["key"]:
        bucket.tick(tick_seconds=0)
    rows = bucket.tables.read("objects").select("key", "version", "state").rows()
    assert sorted(rows) == sorted((info.key, info.version, "active") for info in bucket.store.list())
    assert bucket.tick(now=LATER) == ["arrival-00001", "arrival-00002"]


def test_a_queue_that_does_not_exist_is_named(bucket: Bucket, seaweedfs: SeaweedFS) -> None:
    for name in ("no-such-queue", f"{bucket.queue.url}-nowhere"):
        config = bucket.queue.config.model_copy(update={"queue": name})
        with pytest.raises(ConfigError, match=r"there is no queue '.*no"):
            SqsQueue(config, seaweedfs.s3).waiting()


def test_a_key_that_no_store_can_hold_is_not_taken_for_deleted(bucket: Bucket) -> None:
    row = bucket.tables.read("objects").head(1).with_columns(key=pl.lit("up/../x"), arrival=pl.lit("arrival-00002"))
    bucket.tables.replace("objects", row, arrival="arrival-00002")
    bucket.queue.send(notification(f"{bucket.prefix}up/../x"))
    assert bucket.tick() == ["arrival-00001", "arrival-00002"]


def test_young_objects_of_a_sweep_are_swept_for_again(tmp_path: Path, seaweedfs: SeaweedFS, sqs: Sqs) -> None:
    bucket = Bucket(tmp_path, seaweedfs, sqs.new_queue())
    bucket.put("a.txt", b"x")
    [info] = bucket.store.list()
    for age, arrivals in ((1, 0), (61, 1)):
        found = bucket.tick(now=info.modified_at + timedelta(seconds=age), settle_seconds=60)
        assert len(found) == arrivals
