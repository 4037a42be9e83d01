"""Any history of a bucket or folder, looked at in any way, ends like one look at its last state."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel.objects import FolderStore, Message, S3Store, Source
from flywheel.raw import current_items, plan_arrivals, sweeps
from flywheel.tables import Tables
from tests.notifications import notification
from tests.raw_world import NOW, World, csv
from tests.servers import SeaweedFS

KEYS = ["a.txt", "b.txt", "sub/a.txt", "sub-b.txt", "sub/deep/c.txt", "t.csv", "z.txt"]
CONTENTS = [b"one", b"two", csv("id,text", "x,one", "y,two"), csv("id,text", "y,two", "z,three")]
COLUMNS = ["item_id", "key", "part", "content_id", "size", "subject_id", "split", "attributes", "status", "version"]

key, content = st.sampled_from(KEYS), st.integers(0, len(CONTENTS) - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), key, content),
        st.tuples(st.just("delete"), key),
        st.tuples(st.just("event"), st.lists(key, min_size=1, max_size=3)),  # true, late, twice or about nothing
        st.just(("part of a tick",)),
        st.just(("tick",)),
        st.just(("lose the state",)),
        st.just(("a day passes",)),
        st.just(("messages come again",)),
    ),
    min_size=2,
    max_size=14,
)


class HostileQueue:
    """A queue in which messages come in any order, and again as long as nobody deletes them."""

    def __init__(self) -> None:
        self.messages: dict[str, str] = {}
        self.hidden: set[str] = set()
        self._numbers = itertools.count()

    def send(self, body: str) -> None:
        self.messages[str(next(self._numbers))] = body

    def waiting(self) -> int:
        return len(self.messages) - len(self.hidden)

    def receive(self) -> list[Message]:
        shown = sorted((receipt for receipt in self.messages if receipt not in self.hidden), key=lambda r: r[::-1])
        self.hidden.update(shown[:2])
        return [Message(receipt, self.messages[receipt]) for receipt in shown[:2]]

    def delete(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.messages.pop(message.receipt, None)
            self.hidden.discard(message.receipt)


class Lived(World):
    """A world that is looked at in ticks, with a queue where it is a bucket."""

    def __init__(self, folder: Path, store: Any, **config: Any):
        super().__init__(Tables(str(folder / "tables")), store, **config)
        self.state, self.now, self.queue = folder / "sweeps", NOW, HostileQueue()
        if isinstance(store, S3Store):
            events = {"queue": "q"}
            settings = self.sources["photos"].config.model_validate({"id": "photos", **config, "events": events})
            self.sources["photos"] = Source(settings, store, self.queue)

    def tick(self, seconds: float) -> None:
        plan_arrivals(self.tables, self.sources, now=self.now, tick_seconds=seconds, state=self.state, max_objects=3)

    def live(self, steps: list[tuple[Any, ...]]) -> None:
        for name, *arguments in steps:
            if name == "put":
                self.put(arguments[0], CONTENTS[arguments[1]])
            elif name == "delete":
                self.delete(arguments[0])
            elif name == "event":
                prefix = self.store.prefix if isinstance(self.store, S3Store) else ""
                bucket = self.store.bucket if isinstance(self.store, S3Store) else ""
                for named in arguments[0]:
                    self.queue.send(notification(prefix + named, bucket))
            elif name == "lose the state":
                shutil.rmtree(self.state, ignore_errors=True)
            elif name == "a day passes":
                self.now += timedelta(hours=25)
            elif name == "messages come again":
                self.queue.hidden.clear()
            else:
                self.tick(60 if name == "tick" else 0)

    def active(self) -> dict[str, str]:
        rows = self.tables.read("objects").sort("arrival").unique("key", keep="last")
        return dict(rows.filter(pl.col("state") == "active").select("key", "version").iter_rows())

    def check_rows(self, steps: list[tuple[Any, ...]]) -> None:
        """Nothing was told twice in a row, and nothing told to be deleted that never was."""
        deleted = {step[1] for step in steps if step[0] == "delete"}
        rows = self.tables.read("objects").sort("key", "arrival").select("key", "state", "version").rows()
        assert {key for key, state, _ in rows if state == "deleted"} <= deleted
        assert all(row != following for row, following in itertools.pairwise(rows))


@pytest.fixture(scope="module")
def versioned(seaweedfs: SeaweedFS) -> str:
    """A bucket that keeps old versions."""
    client: Any = seaweedfs.client()
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    return "versioned"


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "BLOCK", 2)
        yield


def check(folder: Path, world: Lived, steps: list[tuple[Any, ...]]) -> None:
    world.live(steps)
    world.now += timedelta(hours=25)
    world.tick(60)
    assert world.active() == {info.key: info.version for info in world.store.list()}
    before = world.tables.version("objects")
    world.now += timedelta(hours=25)
    world.tick(60)
    assert world.tables.version("objects") == before
    world.check_rows(steps)
    once = World(Tables(str(folder / "once")), world.store)
    for each in (world, once):
        if each is once:
            each.plan()
        for arrival in sorted(each.tables.read("objects")["arrival"].unique()):
            each.register(arrival)
    found, expected = (current_items(each.tables).select(COLUMNS).rows() for each in (world, once))
    assert found == expected
    assert world.refused() == once.refused()


few = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
numbers = itertools.count()


@few
@given(STEPS)
def test_any_history_of_a_folder(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "source").mkdir()
        check(folder, Lived(folder, FolderStore(folder / "source", page_size=2)), steps)


@pytest.mark.integration
@few
@given(STEPS)
def test_any_history_of_a_bucket(seaweedfs: SeaweedFS, steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = seaweedfs.new_root()
        check(Path(name), Lived(Path(name), S3Store(root, seaweedfs.s3, page_size=2), root=root), steps)


@pytest.mark.integration
@settings(few, max_examples=8)
@given(STEPS)
def test_any_history_of_a_versioned_bucket(seaweedfs: SeaweedFS, versioned: str, steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = f"s3://{versioned}/{next(numbers)}"
        check(Path(name), Lived(Path(name), S3Store(root, seaweedfs.s3, page_size=2), root=root), steps)


@pytest.mark.integration
def test_equal_timestamps_and_identical_bytes_are_told_apart_by_content(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    root = seaweedfs.new_root()
    world = Lived(tmp_path, S3Store(root, seaweedfs.s3), root=root)
    for step, changed in ((b"one", 1), (b"one", 1), (b"two", 2), (b"one", 3)):
        world.put("a.txt", step)
        world.now += timedelta(hours=25)
        world.tick(60)
        assert world.tables.read("objects").height == changed


@pytest.mark.integration
def test_a_listing_says_the_same_time_and_zone_as_a_head(tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    store = S3Store(seaweedfs.new_root(), seaweedfs.s3)
    store.write("a.txt", b"x")
    [listed] = store.list()
    asked = store.info("a.txt")
    assert (listed.key, listed.version, listed.size) == (asked.key, asked.version, asked.size)
    assert isinstance(asked.modified_at, datetime)
    assert listed.modified_at.replace(microsecond=0) == asked.modified_at.replace(microsecond=0)
