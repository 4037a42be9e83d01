"""Rows on their way into a table: more than fit into memory, kept on disk until they are written in one transaction."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from flywheel.records import SCHEMAS

ROWS = 50_000  # of one table in memory


class Spill:
    """The rows that one arrival adds to one table, in their order.

    Args:
        table: its name.
        folder: where rows wait; who made it removes it.
    """

    def __init__(self, table: str, folder: Path):
        self._table = table
        self._folder = folder
        self._rows: list[dict[str, Any]] = []
        self._files: list[Path] = []

    def add(self, row: dict[str, Any]) -> None:
        """Add one row."""
        self._rows.append(row)
        if len(self._rows) == ROWS:
            path = self._folder / f"{self._table}-{len(self._files):06d}.arrow"
            self._frame().write_ipc(path, compression="lz4")
            self._files.append(path)
            self._rows = []

    def extend(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add several rows."""
        for row in rows:
            self.add(row)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Give the rows as frames of at most `ROWS`; may be asked for again."""
        for path in self._files:
            yield pl.read_ipc(path)
        yield self._frame()

    def _frame(self) -> pl.DataFrame:
        return pl.DataFrame(self._rows, schema=SCHEMAS[self._table])
