"""Delta tables under one root: a folder or an S3 prefix. Every write is one transaction.

Each step replaces its own partition, so a step that is killed and repeated leaves the same rows, and
steps that work on different partitions never conflict. A write that would change nothing is not made.
"""

import io
import json
import logging
import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import numpy as np
import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction

from flywheel.errors import DataError, VersionErased
from flywheel.records import PARTITION, SCHEMAS, VOLATILE, empty

log = logging.getLogger("flywheel.tables")

ATTEMPTS = 8
BATCH = 50_000  # rows

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


class Tables:
    """The wheel's tables.

    Args:
        root: a folder, or `s3://bucket/prefix`.
        storage_options: what `deltalake` needs to reach an S3 root (endpoint, keys, region); never logged.
    """

    def __init__(self, root: str, storage_options: Mapping[str, str] | None = None):
        self.root = root.rstrip("/")
        self._options = dict(storage_options or {})

    def uri(self, name: str) -> str:
        """Where the table lies."""
        return f"{self.root}/{name}"

    def scan(self, name: str, version: int | None = None) -> pl.LazyFrame:
        """Return the table, as of `version` if given; a table nobody wrote yet has no rows.

        A `version` of -1 stands for "did not exist yet", as recorded by `versions`.

        Raises:
            VersionErased: the version was removed when something was erased.
        """
        if version == -1 or self.version(name) is None:
            return empty(name).lazy()
        frame = pl.scan_delta(self._standing(name, version), **self._polars_options())
        return frame.select(pl.col(column).cast(dtype) for column, dtype in SCHEMAS[name].items())

    def read(self, name: str, version: int | None = None, **partition: object) -> pl.DataFrame:
        """Return the rows of the table whose columns equal `partition`."""
        conditions = [pl.col(column) == value for column, value in partition.items()]
        return self.scan(name, version).filter(*conditions).collect()

    def replace(self, name: str, rows: pl.DataFrame, **partition: str | int) -> bool:
        """Make `rows` the whole content of one partition; return whether anything was written.

        Rows equal to what stands there, volatile columns aside, are not written again.

        Raises:
            DataError: a row lies outside the partition, or a column is missing.
        """
        [(column, value)] = partition.items()
        rows = _conform(name, rows)
        _check_partition(name, rows, column, value)
        if _same(name, rows, self.read(name, None, **{column: value})):
            return False
        return self.rewrite(name, rows, **partition)

    def replace_chunks(self, name: str, chunks: Iterable[pl.DataFrame], **partition: str) -> bool:
        """Like `replace`, for rows that do not fit into memory: at most one chunk is held, and one commit made.

        A kill leaves data files that no version counts; `vacuum` removes them like those of old versions.

        Args:
            name: the table.
            chunks: its rows; asked for twice where as many rows stand there already.
            partition: the one that is replaced.

        Raises:
            DataError: see `replace`.
        """
        [(column, value)] = partition.items()
        first = list(islice((rows for rows in chunks if rows.height), 2))
        if len(first) < 2:  # one chunk is no stream
            return self.replace(name, first[0] if first else empty(name), **partition)
        if self._stands(name, chunks, column, value):
            return False
        self._create(name)
        files = [self._put(name, rows, column, value) for rows in chunks if rows.height]

        def commit() -> None:
            table = DeltaTable(self.uri(name), storage_options=self._options or None)
            filters = cast(Any, [(column, "=", value)])
            table.create_write_transaction(cast(Any, files), "overwrite", table.schema(), [column], filters)

        _retry_conflicts(commit, name)
        return True

    def _stands(self, name: str, chunks: Iterable[pl.DataFrame], column: str, value: str) -> bool:
        """Whether a partition holds exactly these rows, volatile columns aside."""
        stored = self.scan(name).filter(pl.col(column) == value)
        if stored.select(pl.len()).collect().item() != sum(rows.height for rows in chunks):
            return False
        return _fingerprint(name, chunks) == _fingerprint(name, stored.collect_batches(chunk_size=BATCH))

    def _put(self, name: str, rows: pl.DataFrame, column: str, value: str) -> AddAction:
        """Write one data file of a partition; it counts once it is committed."""
        rows = _conform(name, rows)
        _check_partition(name, rows, column, value)
        if not _PLAIN.fullmatch(value):
            raise DataError(f"'{value}' cannot name a folder of table '{name}'; expected letters, digits, '-' and '_'")
        path, buffer = f"{column}={value}/part-{uuid.uuid4().hex}.parquet", io.BytesIO()
        rows.drop(column).write_parquet(buffer)
        rows.drop(column).write_parquet(f"{self.uri(name)}/{path}", mkdir=True, **self._polars_options())
        counted = json.dumps({"numRecords": rows.height})
        now = time.time_ns() // 1_000_000
        return AddAction(path, buffer.tell(), {column: value}, now, True, counted)

    def rewrite(self, name: str, rows: pl.DataFrame, **partition: str | int) -> bool:
        """Like `replace`, but written in any case: for changes of volatile columns."""
        [(column, value)] = partition.items()
        rows = _conform(name, rows)
        _check_partition(name, rows, column, value)
        quoted = str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
        return self._write(name, rows, predicate=f"{column} = {quoted}")

    def append(self, name: str, rows: pl.DataFrame) -> None:
        """Add rows in one transaction. For chunks of long work; appends never conflict with one another."""
        self._write(name, _conform(name, rows), mode="append")

    def version(self, name: str) -> int | None:
        """Return the newest version of the table, or None if it was never written."""
        try:
            return DeltaTable(self.uri(name), storage_options=self._options or None).version()
        except TableNotFoundError:
            return None

    def scan_file(self, path: str) -> pl.LazyFrame:
        """Return one Parquet file under the tables' root as it is, whether a table still counts it or not."""
        # hidden columns of a partition stand in the folder's name only, so the file lacks them
        return pl.scan_parquet(f"{self.root}/{path}", glob=False, hive_partitioning=False, **self._polars_options())

    def forget_versions(self, name: str) -> int:
        """Remove the data files that only old versions of a table hold; return its version.

        A checkpoint stands at that version, so the log's entries before it are needed no more and may be deleted.
        Whoever reads an old version at this moment fails.
        """
        options = self._options or None
        table = DeltaTable(self.uri(name), storage_options=options)
        table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
        table = DeltaTable(self.uri(name), storage_options=options)
        table.create_checkpoint()
        return table.version()

    def versions(self) -> dict[str, int]:
        """Return the version of every table; -1 for one that was never written."""
        found = {name: self.version(name) for name in SCHEMAS}
        return {name: -1 if version is None else version for name, version in found.items()}

    def _standing(self, name: str, version: int | None) -> DeltaTable:
        """Open a version of a table, or the newest; say so where an erasure removed it."""
        try:
            return _PlainPaths(self.uri(name), version=version, storage_options=self._options or None)
        except DeltaError as error:
            erasures = self.read("erasures") if name != "erasures" else empty("erasures")
            if erasures.is_empty():
                raise
            last = erasures.sort("erased_at").row(-1, named=True)
            raise VersionErased(
                f"version {version} of table '{name}' no longer exists: erasure {last['erasure_id']} of "
                f"{last['erased_at']:%Y-%m-%d} removed old versions. Read a newer one (now {self.version(name)}), or "
                "see the proofs under files/erasures; where an erasure was cut off, the same command finishes it",
                (name,),
            ) from error

    def _write(self, name: str, rows: pl.DataFrame, mode: str = "overwrite", predicate: str | None = None) -> bool:
        if not self.root.startswith("s3://"):
            Path(self.root).mkdir(parents=True, exist_ok=True)
        self._create(name)
        options = {"predicate": predicate} if predicate else {}

        def commit() -> None:
            cast(Any, rows).write_delta(
                self.uri(name), mode=mode, delta_write_options=options, **self._polars_options()
            )

        _retry_conflicts(commit, name)
        return True

    def _create(self, name: str) -> None:
        """Create the table without rows, unless it exists or a rival creates it at this moment."""
        if self.version(name) is not None:
            return
        options: dict[str, Any] = {"partition_by": [PARTITION[name]]} if name in PARTITION else {}
        try:
            cast(Any, empty(name)).write_delta(
                self.uri(name), mode="error", delta_write_options=options, **self._polars_options()
            )
        except DeltaError as rival:
            if self.version(name) is None:
                raise
            log.info("table '%s' was created by somebody else at the same moment: %s", name, rival)

    def _polars_options(self) -> dict[str, Any]:
        return {"storage_options": self._options, "credential_provider": None} if self._options else {}


class _PlainPaths(DeltaTable):
    """A table whose root may hold any character: deltalake gives it percent-encoded, polars opens it as it is."""

    def file_uris(self, *args: Any, **kwargs: Any) -> list[str]:
        found, encoded = super().file_uris(*args, **kwargs), self.table_uri.removeprefix("file://")
        if not self.table_uri.startswith("file://"):
            return found
        return [f"{unquote(encoded)}{path.removeprefix(encoded)}" for path in found]


def _retry_conflicts(commit: Callable[[], None], name: str) -> None:
    for attempt in range(ATTEMPTS):
        try:
            return commit()
        except CommitFailedError as conflict:
            if attempt == ATTEMPTS - 1:
                raise
            log.info("table '%s' was written by somebody else at the same moment, trying again: %s", name, conflict)
            time.sleep(random.uniform(0.05, 0.2) * 2**attempt)


def _check_partition(name: str, rows: pl.DataFrame, column: str, value: str | int) -> None:
    if PARTITION.get(name) != column:
        raise DataError(f"table '{name}' is partitioned by '{PARTITION.get(name)}', not by '{column}'")
    strangers = rows.filter(pl.col(column) != value).height
    if strangers:
        raise DataError(f"{strangers} rows for '{name}' lie outside {column}={value}", count=strangers)


def _conform(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    missing = [column for column in SCHEMAS[name] if column not in rows.columns]
    if missing:
        raise DataError(f"rows for table '{name}' lack the columns {missing}")
    return rows.select(pl.col(column).cast(dtype) for column, dtype in SCHEMAS[name].items())


def _fingerprint(name: str, chunks: Iterable[pl.DataFrame]) -> tuple[int, ...]:
    """Return 128 bits that are the same for the same rows in any order, volatile columns aside."""
    columns = [column for column in SCHEMAS[name] if column not in VOLATILE.get(name, ())]
    sums = [0, 0]
    for chunk in chunks:
        rows = _conform(name, chunk).select(columns)
        for place in range(2):
            sums[place] += int(rows.hash_rows(seed=place).to_numpy().sum(dtype=np.uint64))
    return tuple(one % 2**64 for one in sums)


def _same(name: str, rows: pl.DataFrame, stored: pl.DataFrame) -> bool:
    """Whether two frames hold the same rows in any order, volatile columns aside."""
    if rows.height != stored.height:
        return False
    columns = [column for column in SCHEMAS[name] if column not in VOLATILE.get(name, ())]
    order = [column for column in columns if not isinstance(SCHEMAS[name][column], pl.List)]
    return rows.select(columns).sort(order).equals(stored.select(columns).sort(order))
