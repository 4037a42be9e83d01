"""The embedded index: Qdrant's own engine in this process, one folder, one owner at a time."""

import contextlib
import logging
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import qdrant_edge as qe

from flywheel.errors import FlywheelError, IndexMismatch
from flywheel.index import generations
from flywheel.index.edge_values import KINDS, PointId, edge_filter, restored, restored_value, stored
from flywheel.index.lock import HomeLock
from flywheel.index.points import (
    BATCH,
    check_kinds,
    check_points,
    check_spaces,
    check_vector,
    direction,
    field_of,
    field_path,
    item_of,
    known_space,
    point_id,
    vector_name,
)
from flywheel.index.protocol import Condition, Hit, Points, Space

log = logging.getLogger("flywheel.index.edge")

PAGE = 1000


class EdgeIndex:
    """A `VectorIndex` in a local folder. What `upsert` stored survives the death of the process.

    Args:
        folder: where it lies; created by the first `ensure`.
        wait_seconds: how long to wait for another process that has it open.
        optimize_from: points from which closing after a write builds the graph index (minutes per 100,000 points);
            below, search compares with every vector: exact, and 9 ms for 100,000.
    """

    def __init__(self, folder: str | Path, *, wait_seconds: float = 30.0, optimize_from: int = 200_000):
        self._home = Path(folder)
        self._wait = wait_seconds
        self._optimize_from = optimize_from
        self._lock = HomeLock(self._home, wait_seconds)
        self._shard: qe.EdgeShard | None = None
        self._spaces: dict[str, Space] = {}
        self._written = False

    def __enter__(self) -> Self:
        """Take the lock and open the live generation, if there is one.

        Raises:
            FlywheelError: another process holds the index for longer than the wait, or this object is open already.
            IndexMismatch: the files cannot be read.
        """
        if self._lock.is_locked:
            raise FlywheelError(f"the index in {self._home} is open already; do not enter it twice")
        deadline = time.monotonic() + self._wait
        self._lock.acquire()
        try:
            generations.sweep(self._home)
            live = generations.current(self._home)
            if live is not None:
                self._open(live, deadline)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            if self._shard is not None:
                self._optimize_if_large(failed=exc[:1] not in ((), (None,)))
                self._close()
        finally:
            self._lock.release()

    def ensure(self, spaces: Sequence[Space], filter_fields: Mapping[str, str]) -> None:
        """Create the index or add what it lacks; see `VectorIndex.ensure`."""
        self._check_entered()
        wanted = check_spaces(spaces)
        check_kinds(filter_fields)
        if self._shard is None:
            self._create(wanted)
        for space in wanted.values():
            self._add_space(space)
        self._add_fields(filter_fields)

    def upsert(self, points: Points) -> None:
        """Store points; each batch stands in the write-ahead log before the call goes on."""
        self._live()
        check_points(points, self._spaces)
        ids = [point_id(item) for item in points.item_ids]
        for start in range(0, len(ids), BATCH):
            batch = slice(start, start + BATCH)
            block = {vector_name(space): vectors[batch] for space, vectors in points.vectors.items()}
            payloads = [stored(payload) for payload in points.payloads[batch]] or [{} for _ in ids[batch]]
            rows = [
                qe.Point(point, {name: vectors[row].tolist() for name, vectors in block.items()}, payloads[row])
                for row, point in enumerate(ids[batch])
            ]
            self._update("store points", qe.UpdateOperation.upsert_points(rows))
        self._written = self._written or bool(ids)

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove points; unknown ids are no error."""
        ids: list[PointId] = [point_id(item) for item in item_ids]
        for start in range(0, len(ids), PAGE):
            self._update("delete points", qe.UpdateOperation.delete_points(ids[start : start + PAGE]))
        self._written = self._written or bool(ids)

    def query(self, space: str, vector: Sequence[float], limit: int = 10, where: Sequence[Condition] = ()) -> list[Hit]:
        """Return the nearest points; see `VectorIndex.query`."""
        values = check_vector(vector, self._space(space))
        return self._nearest(space, values, limit, edge_filter(where))

    def query_by_examples(
        self,
        space: str,
        positive: Sequence[str],
        negative: Sequence[str] = (),
        limit: int = 10,
        where: Sequence[Condition] = (),
    ) -> list[Hit]:
        """Return points like and unlike the examples; see `VectorIndex.query_by_examples` and `direction`."""
        self._space(space)
        name = vector_name(space)
        examples: list[PointId] = [point_id(item) for item in {*positive, *negative}]
        with self._engine("read the examples") as shard:
            records = shard.retrieve(examples, with_payload=False, with_vector=[name])
        vectors = {item_of(record.id): cast(Mapping[str, list[float]], record.vector or {}) for record in records}
        found = {item: named[name] for item, named in vectors.items() if name in named}
        values = direction(found, space, positive, negative)
        return self._nearest(space, values, limit, edge_filter(where, leave_out=examples))

    def count(self, where: Sequence[Condition] = ()) -> int:
        """Return exactly how many points meet the conditions."""
        request = qe.CountRequest(exact=True, filter=edge_filter(where))
        with self._engine("count") as shard:
            return shard.count(request)

    def facet(self, field: str, where: Sequence[Condition] = (), limit: int = 100) -> dict[str, int]:
        """Return the values of a keyword field; see `VectorIndex.facet`.

        Raises:
            IndexMismatch: `ensure` was never asked to make it a filter field.
        """
        if field not in self._fields():
            raise IndexMismatch(f"'{field}' is no filter field of the index in {self._home}: {sorted(self._fields())}")
        request = qe.FacetRequest(field_path(field), limit=limit, exact=True, filter=edge_filter(where))
        with self._engine("count values") as shard:
            hits = [(str(restored_value(hit.value)), hit.count) for hit in shard.facet(request).hits]
        return dict(sorted(hits, key=lambda hit: (-hit[1], hit[0])))

    def scroll(self) -> dict[str, Mapping[str, object]]:
        """Return every point's payload by item id."""
        found: dict[str, Mapping[str, object]] = {}
        offset: PointId | None = None
        while True:
            request = qe.ScrollRequest(offset=offset, limit=PAGE, with_payload=True, with_vector=False)
            with self._engine("read points") as shard:
                records, offset = shard.scroll(request)
            found.update((item_of(record.id), restored(record.payload)) for record in records)
            if offset is None:
                return found

    def save(self, destination: str) -> None:
        """Copy the live generation to `destination`; see `VectorIndex.save`. A repeat replaces the copy."""
        with self._engine("flush") as shard:
            shard.flush()
        generations.copy_generation(self._live(), Path(destination))

    def restore(self, saved: str) -> None:
        """Replace the content by a saved generation, which is read in full before the old one is let go.

        Raises:
            IndexMismatch: `saved` is no complete generation.
        """
        self._check_entered()
        fresh = generations.next_generation(self._home)
        generations.copy_generation(Path(saved), fresh)
        self._open(fresh, time.monotonic() + self._wait)
        generations.make_current(self._home, fresh)
        generations.sweep(self._home)

    @property
    def exists(self) -> bool:
        """Whether there is a generation; it has to be open (inside its context)."""
        return self._shard is not None

    def rebuild(self) -> None:
        """Write every point into a fresh generation: nothing of a deleted one is left on disk.

        Killed midway, the old generation stays the live one.
        """
        fields, fresh = self._fields(), generations.next_generation(self._home)
        vectors = {vector_name(space.name): _params(space) for space in self._spaces.values()}
        shard = qe.EdgeShard.create(str(fresh / "shard"), qe.EdgeConfig(vectors=vectors, wal_enabled=True))
        try:
            for block in self._stored():
                shard.update(qe.UpdateOperation.upsert_points(block))
            shard.flush()
        finally:
            shard.close()
        generations.write_spaces(fresh, self._spaces)
        self._open(fresh, time.monotonic() + self._wait)
        self._add_fields(fields)
        generations.make_current(self._home, fresh)
        generations.sweep(self._home)

    def _stored(self) -> Iterator[list[qe.Point]]:
        """Yield all points with their vectors, a page at a time."""
        offset: PointId | None = None
        while True:
            request = qe.ScrollRequest(offset=offset, limit=PAGE, with_payload=True, with_vector=True)
            with self._engine("read points") as shard:
                records, offset = shard.scroll(request)
            if records:
                yield [qe.Point(record.id, cast(Any, record.vector), record.payload or {}) for record in records]
            if offset is None:
                return

    def _nearest(self, space: str, values: list[float], limit: int, where: qe.Filter | None) -> list[Hit]:
        query = qe.Query.Nearest(values, using=vector_name(space))
        with self._engine("search") as shard:
            points = shard.query(qe.QueryRequest(limit=limit, query=query, filter=where, with_payload=True))
        return [Hit(item_of(point.id), float(point.score), restored(point.payload)) for point in points]

    def _space(self, name: str) -> Space:
        self._live()
        return known_space(name, self._spaces)

    def _check_entered(self) -> None:
        if not self._lock.is_locked:
            raise FlywheelError(f"the index in {self._home} is not open; use it as a context manager")

    def _live(self) -> Path:
        live = generations.current(self._home)
        if live is None or self._shard is None:
            raise IndexMismatch(
                f"there is no open index in {self._home}; bring it up to the tables first (the vector_index asset, "
                "or refresh_index), and use it as a context manager"
            )
        return live

    @contextlib.contextmanager
    def _engine(self, what: str) -> Generator[qe.EdgeShard]:
        """Hand out the open shard, and say what failed and where if the engine raises."""
        live = self._live()
        try:
            yield cast(qe.EdgeShard, self._shard)
        except Exception as error:
            raise FlywheelError(f"the index in {live} could not {what}: {error}") from error

    def _update(self, what: str, operation: qe.UpdateOperation) -> None:
        with self._engine(what) as shard:
            shard.update(operation)

    def _fields(self) -> dict[str, str]:
        """The filter fields there are, with the engine's kind (of booleans: keyword)."""
        with self._engine("read its fields") as shard:
            schema = shard.info().payload_schema
        names = {str(kind): name for name, kind in KINDS.items() if name != "bool"}
        return {field_of(path.strip('"')): names.get(str(info.data_type), "") for path, info in schema.items()}

    def _create(self, spaces: Mapping[str, Space]) -> None:
        fresh = generations.next_generation(self._home)
        vectors = {vector_name(space.name): _params(space) for space in spaces.values()}
        try:
            qe.EdgeShard.create(str(fresh / "shard"), qe.EdgeConfig(vectors=vectors, wal_enabled=True)).close()
        except Exception as error:
            raise FlywheelError(f"no index could be created in {fresh}: {error}") from error
        generations.write_spaces(fresh, spaces)
        self._open(fresh, time.monotonic() + self._wait)
        generations.make_current(self._home, fresh)

    def _add_space(self, space: Space) -> None:
        known = self._spaces.get(space.name)
        if known is None:
            operation = qe.UpdateOperation.create_dense_vector(vector_name(space.name), space.dim, qe.Distance.Cosine)
            self._update(f"add the space '{space.name}'", operation)
            with self._engine("flush") as shard:
                shard.flush()
            self._spaces[space.name] = space
            generations.write_spaces(self._live(), self._spaces)
        elif known.dim != space.dim:
            raise IndexMismatch(
                f"space '{space.name}' of the index in {self._home} has length {known.dim}, asked for is {space.dim}; "
                "an encoder's id must change when its vectors do, or delete the folder: it is rebuilt from the tables"
            )

    def _add_fields(self, wanted: Mapping[str, str]) -> None:
        there = self._fields()
        for field, kind in sorted(wanted.items()):
            engine_kind = "keyword" if kind == "bool" else kind
            if there.get(field) == engine_kind:
                continue
            if field in there:
                self._update(f"drop the index of '{field}'", qe.UpdateOperation.delete_field_index(field_path(field)))
            operation = qe.UpdateOperation.create_field_index(field_path(field), KINDS[kind])
            self._update(f"index '{field}'", operation)

    def _open(self, generation: Path, deadline: float) -> None:
        """Open a generation in place of the one that is open."""
        spaces = generations.read_spaces(generation)
        fresh = self._load(generation, deadline)
        if self._shard is not None:
            self._close()
        self._shard, self._spaces, self._written = fresh, spaces, False

    def _load(self, generation: Path, deadline: float) -> qe.EdgeShard:
        """Load a shard; the engine's own lock outlives its last owner by a moment."""
        while True:
            try:
                return qe.EdgeShard.load(str(generation / "shard"))
            except Exception as error:
                if "WouldBlock" not in str(error):
                    raise IndexMismatch(
                        f"the index in {generation} cannot be opened: {error}; it holds nothing of its own, "
                        f"so delete {self._home} and bring it up to the tables again"
                    ) from error
                if time.monotonic() > deadline:
                    raise FlywheelError(self._lock.refusal()) from error
                time.sleep(0.1)

    def _close(self) -> None:
        shard, self._shard = cast(qe.EdgeShard, self._shard), None
        try:
            shard.flush()
        finally:
            shard.close()

    def _optimize_if_large(self, failed: bool) -> None:
        shard = cast(qe.EdgeShard, self._shard)
        if failed or not self._written or shard.info().points_count < self._optimize_from:
            return
        started = time.monotonic()
        shard.optimize()
        log.info("built the graph index of %s in %.0f s", self._home, time.monotonic() - started)


def _params(space: Space) -> qe.EdgeVectorParams:
    return qe.EdgeVectorParams(size=space.dim, distance=qe.Distance.Cosine)
