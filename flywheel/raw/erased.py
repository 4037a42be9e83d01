"""What was erased and must not come back while its object still lies in the source: reads `erasures`.

The table holds no key and no subject, only their digests under a random salt of the wheel. Who asks whether a name
was erased has to know the name.
"""

import json
import secrets
from collections.abc import Sequence
from typing import Any

import polars as pl

from flywheel.identity import digest
from flywheel.tables import Tables

PLACEHOLDER = "^erased-[0-9a-f]{32}$"  # keys that stand for erased ones
OBJECT, PART, SUBJECT = "object", "part", "subject"


class Erased:
    """The erased objects, rows of table files and subjects of a wheel, to be asked by name. Empty is falsy.

    Args:
        digests: of the names, from `name_digest`.
        salt: the wheel's; "" where nothing was ever erased.
    """

    def __init__(self, digests: frozenset[str] = frozenset(), salt: str = ""):
        self._digests = digests
        self.salt = salt

    def __bool__(self) -> bool:
        return bool(self._digests)

    def has_object(self, source: str, key: str) -> bool:
        """Whether the whole object was erased, whatever it holds now."""
        return bool(self) and name_digest(self.salt, OBJECT, source, key) in self._digests

    def has_datum(self, source: str, key: str, part: str, subject: str = "") -> bool:
        """Whether the object, this row of it, or the subject it belongs to was erased."""
        if not self:
            return False
        names = [(OBJECT, source, key), (PART, source, key, part)]
        names += [(SUBJECT, source, subject), (SUBJECT, "", subject)] if subject else []
        return any(name_digest(self.salt, *name) in self._digests for name in names)

    def without(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return `rows` (columns source, key) without those of erased objects; one digest per row."""
        if not self or rows.is_empty():
            return rows
        kept = [not self.has_object(source, key) for source, key in rows.select("source", "key").iter_rows()]
        return rows.filter(pl.Series(kept, dtype=pl.Boolean))


def read_erased(tables: Tables) -> Erased:
    """Return what was erased, erasures that were begun and not finished included."""
    rows = tables.scan("erasures").select("digest", "salt").collect()
    return Erased(frozenset(rows["digest"]), rows["salt"][0]) if rows.height else Erased()


def is_erased(tables: Tables, source: str, key: str, part: str = "", subject: str = "") -> bool:
    """Return whether one object, row or subject was erased; for many, ask `read_erased` once."""
    return read_erased(tables).has_datum(source, key, part, subject)


def placeholder(salt: str, source: str, key: str) -> str:
    """Return the key that stands in `objects` where an erased object stood: arrivals are counted by their rows."""
    return f"erased-{name_digest(salt, OBJECT, source, key)}"


def new_salt() -> str:
    """Draw a wheel's salt."""
    return secrets.token_hex(16)


def name_digest(salt: str, kind: str, *name: str) -> str:
    """Return the digest an erased name is known by."""
    return digest("erased", salt, kind, *name)


def order_of(tables: Tables, turn: int, batch_id: str) -> str | None:
    """Return the job that was ordered for a batch before items were erased from it; None where none was."""
    orders: Sequence[str] = tables.scan("erasures").select(pl.col("orders").unique()).collect()["orders"].to_list()
    for row in (row for text in orders for row in _orders(text)):
        if row["turn"] == turn and row["batch_id"] == batch_id:
            return row["job_id"]
    return None


def _orders(text: str) -> list[dict[str, Any]]:
    return json.loads(text or "[]")
