"""The index on a Qdrant server: the same behavior as the embedded one, for many readers and writers at once."""

import contextlib
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Self, cast

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from flywheel.errors import FlywheelError, IndexMismatch
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
from flywheel.index.server_values import KINDS, restored, server_filter, stored
from flywheel.index.snapshots import ServerAddress, download_snapshot, upload_snapshot

log = logging.getLogger("flywheel.index.server")

PAGE = 1000


class ServerIndex:
    """A `VectorIndex` in one collection of a Qdrant server.

    Args:
        client: a client (the caller closes it), or a function that makes one (closed on leaving the context).
        collection: its name; created by the first `ensure`.
        address: where snapshots are fetched from and sent to; without it `save` and `restore` are refused.
    """

    def __init__(
        self,
        client: QdrantClient | Callable[[], QdrantClient],
        collection: str,
        *,
        address: ServerAddress | None = None,
    ):
        self._given = client
        self._client: QdrantClient | None = None
        self._collection = collection
        self._address = address
        self._spaces: dict[str, int] | None = None

    def __enter__(self) -> Self:
        self._client = self._given if isinstance(self._given, QdrantClient) else self._given()
        return self

    def __exit__(self, *exc: object) -> None:
        client, self._client = self._client, None
        self._spaces = None
        if client is not None and client is not self._given:
            client.close()

    def ensure(self, spaces: Sequence[Space], filter_fields: Mapping[str, str]) -> None:
        """Create the collection or add what it lacks; see `VectorIndex.ensure`."""
        wanted = check_spaces(spaces)
        check_kinds(filter_fields)
        with self._engine("look for the collection") as client:
            exists = client.collection_exists(self._collection)
        if not exists:
            self._create(wanted)
        self._spaces = self._read_spaces()
        for space in wanted.values():
            self._add_space(space)
        self._add_fields(filter_fields)

    def upsert(self, points: Points) -> None:
        """Store points in small batches; each is applied when its call returns."""
        check_points(points, self._known(*points.vectors))
        ids = [point_id(item) for item in points.item_ids]
        for start in range(0, len(ids), BATCH):
            batch = slice(start, start + BATCH)
            block = {vector_name(space): vectors[batch] for space, vectors in points.vectors.items()}
            payloads = [stored(payload) for payload in points.payloads[batch]] or [{} for _ in ids[batch]]
            rows = [
                models.PointStruct(
                    id=point,
                    vector={name: vectors[row].tolist() for name, vectors in block.items()},
                    payload=payloads[row],
                )
                for row, point in enumerate(ids[batch])
            ]
            with self._engine("store points") as client:
                client.upsert(self._collection, rows, wait=True)

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove points; unknown ids are no error."""
        self._known()
        ids: list[models.ExtendedPointId] = [point_id(item) for item in item_ids]
        for start in range(0, len(ids), PAGE):
            with self._engine("delete points") as client:
                client.delete(self._collection, models.PointIdsList(points=ids[start : start + PAGE]), wait=True)

    def query(self, space: str, vector: Sequence[float], limit: int = 10, where: Sequence[Condition] = ()) -> list[Hit]:
        """Return the nearest points; see `VectorIndex.query`."""
        values = check_vector(vector, known_space(space, self._known(space)))
        return self._nearest(space, values, limit, server_filter(where))

    def query_by_examples(
        self,
        space: str,
        positive: Sequence[str],
        negative: Sequence[str] = (),
        limit: int = 10,
        where: Sequence[Condition] = (),
    ) -> list[Hit]:
        """Return points like and unlike the examples; see `VectorIndex.query_by_examples` and `direction`."""
        known_space(space, self._known(space))
        name = vector_name(space)
        examples: list[models.ExtendedPointId] = [point_id(item) for item in {*positive, *negative}]
        with self._engine("read the examples") as client:
            records = client.retrieve(self._collection, examples, with_payload=False, with_vectors=[name])
        vectors = {item_of(record.id): cast(Mapping[str, list[float]], record.vector or {}) for record in records}
        found = {item: named[name] for item, named in vectors.items() if name in named}
        values = direction(found, space, positive, negative)
        return self._nearest(space, values, limit, server_filter(where, leave_out=examples))

    def count(self, where: Sequence[Condition] = ()) -> int:
        """Return exactly how many points meet the conditions."""
        self._known()
        condition = server_filter(where)
        with self._engine("count") as client:
            return client.count(self._collection, count_filter=condition, exact=True).count

    def facet(self, field: str, where: Sequence[Condition] = (), limit: int = 100) -> dict[str, int]:
        """Return the values of a keyword field; see `VectorIndex.facet`.

        Raises:
            IndexMismatch: `ensure` was never asked to make it a filter field (the local stand-in does not mind).
        """
        self._known()
        condition = server_filter(where)
        with self._engine(f"count the values of '{field}'; is it a filter field?") as client:
            response = client.facet(self._collection, field_path(field), condition, limit=limit, exact=True)
        hits = [(str(hit.value), hit.count) for hit in response.hits]
        return dict(sorted(hits, key=lambda hit: (-hit[1], hit[0])))

    @property
    def exists(self) -> bool:
        """Whether the collection is there; the server has to be connected (inside its context)."""
        with self._engine("look for the collection") as client:
            return client.collection_exists(self._collection)

    def scroll(self) -> dict[str, Mapping[str, object]]:
        """Return every point's payload by item id."""
        self._known()
        found: dict[str, Mapping[str, object]] = {}
        offset: object = None
        while True:
            with self._engine("read points") as client:
                records, offset = client.scroll(
                    self._collection,
                    limit=PAGE,
                    offset=cast(models.ExtendedPointId | None, offset),
                    with_payload=True,
                    with_vectors=False,
                )
            found.update((item_of(record.id), restored(record.payload)) for record in records)
            if offset is None:
                return found

    def save(self, destination: str) -> None:
        """Let the server make a snapshot and fetch it; see `VectorIndex.save`. A repeat replaces the copy.

        Raises:
            IndexMismatch: the client is the local stand-in, which has no snapshots.
        """
        address = self._server()
        with self._engine("make a snapshot") as client:
            snapshot = client.create_snapshot(self._collection, wait=True)
            if snapshot is None:
                raise FlywheelError(f"the server made no snapshot of '{self._collection}'")
            try:
                download_snapshot(address, self._collection, snapshot.name, snapshot.checksum, Path(destination))
            finally:
                client.delete_snapshot(self._collection, snapshot.name)

    def restore(self, saved: str) -> None:
        """Send a saved snapshot, which takes the place of the collection's content.

        Raises:
            IndexMismatch: there is no complete snapshot under `saved`, or the client is the local stand-in.
        """
        upload_snapshot(self._server(), self._collection, Path(saved))
        self._spaces = None

    def _nearest(self, space: str, values: list[float], limit: int, where: models.Filter | None) -> list[Hit]:
        with self._engine("search") as client:
            response = client.query_points(
                self._collection,
                query=values,
                using=vector_name(space),
                query_filter=where,
                limit=limit,
                with_payload=True,
            )
        return [Hit(item_of(point.id), float(point.score), restored(point.payload)) for point in response.points]

    def _server(self) -> ServerAddress:
        if self._address is None:
            raise IndexMismatch(
                f"collection '{self._collection}' is in the client's local mode, which has no snapshots; "
                "save and restore need a real server (or the embedded index)"
            )
        return self._address

    @contextlib.contextmanager
    def _engine(self, what: str) -> Generator[QdrantClient]:
        """Hand out the client, and say what failed and where if the server refuses or cannot be reached."""
        if self._client is None:
            raise FlywheelError(f"the index '{self._collection}' is not open; use it as a context manager")
        try:
            yield self._client
        except (ApiException, OSError) as error:
            where = self._address.url if self._address else "local mode"
            raise FlywheelError(f"the index '{self._collection}' ({where}) could not {what}: {error}") from error

    def _read_spaces(self) -> dict[str, int]:
        """The engine's vector names with their lengths.

        Raises:
            IndexMismatch: there is no collection, or it was not made by us (one unnamed vector, another distance).
        """
        with self._engine("read its spaces") as client:
            if not client.collection_exists(self._collection):
                raise IndexMismatch(
                    f"there is no collection '{self._collection}' on the server; bring it up to the tables first "
                    "(the vector_index asset, or refresh_index)"
                )
            vectors = client.get_collection(self._collection).config.params.vectors
        if not isinstance(vectors, dict) or any(v.distance != models.Distance.COSINE for v in vectors.values()):
            raise IndexMismatch(
                f"collection '{self._collection}' does not hold named cosine vectors: it was not made by the flywheel; "
                "name another collection in flywheel.yaml (index.collection)"
            )
        return {name: params.size for name, params in vectors.items()}

    def _known(self, *names: str) -> dict[str, Space]:
        """Those of the named spaces that the collection has; all it has where none of them is there."""
        if self._spaces is None:
            self._spaces = self._read_spaces()
        spaces = self._spaces
        found = {name: Space(name, spaces[vector_name(name)]) for name in names if vector_name(name) in spaces}
        return found or {name: Space(name, dim) for name, dim in spaces.items()}

    def _create(self, spaces: Mapping[str, Space]) -> None:
        vectors = {
            vector_name(space.name): models.VectorParams(size=space.dim, distance=models.Distance.COSINE)
            for space in spaces.values()
        }
        with self._engine("create the collection") as client:
            client.create_collection(self._collection, vectors_config=vectors)

    def _add_space(self, space: Space) -> None:
        spaces = cast(dict[str, int], self._spaces)
        known = spaces.get(vector_name(space.name))
        if known is not None and known != space.dim:
            raise IndexMismatch(
                f"space '{space.name}' of collection '{self._collection}' has length {known}, asked for is "
                f"{space.dim}; an encoder's id must change when its vectors do, or delete the collection: it is "
                "rebuilt from the tables"
            )
        if known is None:
            config = models.DenseVectorNameConfig(
                dense=models.DenseVectorConfig(size=space.dim, distance=models.Distance.COSINE)
            )
            with self._engine(f"add the space '{space.name}'") as client:
                try:
                    client.create_vector_name(self._collection, vector_name(space.name), config, wait=True)
                except ApiException as error:
                    raise IndexMismatch(
                        f"collection '{self._collection}' lacks the space '{space.name}' and the server cannot add it "
                        f"({error}); name another collection in flywheel.yaml (index.collection)"
                    ) from error
            spaces[vector_name(space.name)] = space.dim

    def _add_fields(self, wanted: Mapping[str, str]) -> None:
        """Make payload indexes. The local stand-in has none and needs none."""
        if self._address is None:
            return
        with self._engine("index its fields") as client:
            schema = client.get_collection(self._collection).payload_schema
            there = {field_of(path.strip('"')): info.data_type for path, info in schema.items()}
            for field, kind in sorted(wanted.items()):
                if there.get(field) == KINDS[kind]:
                    continue
                if field in there:
                    client.delete_payload_index(self._collection, field_path(field), wait=True)
                client.create_payload_index(self._collection, field_path(field), KINDS[kind], wait=True)


def connect(address: ServerAddress) -> QdrantClient:
    """Return a client for a server; it connects with the first request."""
    return QdrantClient(url=address.url, api_key=address.api_key, timeout=60, check_compatibility=False)
