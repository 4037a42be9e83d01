"""The quarantine, for people: what stands, what became of an object, and reading refused objects once more.

Reads `quarantine`, `objects`, `items` and the sources; writes an arrival of the objects that are read once more.
"""

import difflib
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl

from flywheel.errors import DataError
from flywheel.objects import Source
from flywheel.raw.arrivals import NUMBER, arrival_name, count_arrivals, inventory
from flywheel.raw.current import current_quarantine
from flywheel.raw.decoders import decode
from flywheel.raw.manifest import read_manifest
from flywheel.raw.opened import Opened
from flywheel.raw.patterns import is_manifest
from flywheel.raw.reasons import (
    CATALOGUE,
    DUPLICATE_ID,
    MISSING_OBJECT,
    UNKNOWN_LABEL,
    Reason,
    Refusal,
    Refused,
    find_reason,
)
from flywheel.raw.statements import Spec
from flywheel.tables import Tables

log = logging.getLogger("flywheel.raw")

ACROSS = (DUPLICATE_ID, MISSING_OBJECT)  # of a manifest: found only beside other manifests and objects
Row = dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """What was found in an object, what to do, and what became of it so far."""

    source: str
    key: str
    standing: tuple[Row, ...]  # refusals that still stand
    reasons: tuple[Reason, ...]  # their meaning, in the order of the catalogue
    history: tuple[Row, ...]  # per arrival: state, version, items, refused

    def as_json(self) -> Row:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Retry:
    """What reading refused objects once more comes to."""

    looked_at: int  # objects
    arrival: str | None  # made of those that differ now; None where none does
    objects: int  # in it


def standing_refusals(
    tables: Tables, *, reason: str | None = None, source: str | None = None, arrival: str | None = None
) -> pl.DataFrame:
    """Return the refusals that stand, narrowed down, sorted by source, key and part.

    Raises:
        DataError: there is no such reason code.
    """
    if reason is not None:
        find_reason(reason)
    wanted = {"reason": reason, "source": source, "arrival": arrival}
    return current_quarantine(tables).filter(
        *(pl.col(column) == value for column, value in wanted.items() if value is not None)
    )


def count_reasons(refused: pl.DataFrame) -> dict[str, int]:
    """Return how many refusals have each reason, most first, ties by code."""
    counted = Counter(refused["reason"].to_list())
    return {code: counted[code] for code in sorted(counted, key=lambda code: (-counted[code], code))}


def of_targets(refused: pl.DataFrame, targets: Collection[str]) -> pl.DataFrame:
    """Return the refusals about these objects: named by key, as key#part, or as what a manifest says of a key.

    Raises:
        DataError: one of the targets has no refusal; the message names the nearest that has.
    """
    names = pl.concat_str("key", pl.lit("#"), "part")
    for target in targets:
        if refused.filter((pl.col("key") == target) | (pl.col("part") == target) | (names == target)).is_empty():
            raise _unknown(target, refused)
    wanted = list(targets)
    return refused.filter(pl.col("key").is_in(wanted) | pl.col("part").is_in(wanted) | names.is_in(wanted))


def explain_object(tables: Tables, target: str, source: str | None = None) -> list[Explanation]:
    """Return what became of the object, in every source that has refused it at any time.

    Args:
        tables: the wheel's tables.
        target: its key, key#part, or a key that a manifest speaks of.
        source: only look in this one.

    Raises:
        DataError: it was never refused.
    """
    ever = tables.read("quarantine")
    ever = ever if source is None else ever.filter(pl.col("source") == source)
    places = of_targets(ever, [target]).select("source", "key").unique().sort("source", "key")
    stands = current_quarantine(tables)
    return [_explained(tables, stands, sid, key) for sid, key in places.iter_rows()]


def plan_retry(
    tables: Tables, sources: Mapping[str, Source], spec: Spec, refused: pl.DataFrame, *, now: datetime
) -> Retry:
    """Read the objects of these refusals once more; those that differ now become an arrival of their own.

    For after limits were raised, a decoder was added or the label spec was widened: the bytes are the same. Where
    the same refusals come out again, nothing is written. The arrival is registered like any other, and then its
    refusals are over or stand anew. One planner at a time, see `plan_arrivals`.

    Args:
        tables: the wheel's tables.
        sources: the sources by id; refusals of others are left alone.
        spec: the label spec.
        refused: rows of `standing_refusals`.
        now: the present time, UTC.
    """
    objects = refused.select("source", "key").unique().sort("source", "key")
    looked = [(sid, key) for sid, key in objects.iter_rows() if sid in sources]
    changed = [place for place in looked if _differs(refused, sources[place[0]], place[1], spec, now)]
    if not changed:
        return Retry(len(looked), None, 0)
    wanted = pl.DataFrame(changed, schema={"source": pl.String, "key": pl.String}, orient="row")
    rows = inventory(tables.read("objects")).join(wanted, on=["source", "key"], how="semi")
    name = arrival_name(count_arrivals(tables) + 1)
    tables.replace("objects", rows.with_columns(arrival=pl.lit(name)), arrival=name)
    log.info("%s: %d refused objects are read once more", name, rows.height)
    return Retry(len(looked), name, rows.height)


def unregistered(tables: Tables, arrival: str) -> list[str]:
    """Return the arrivals before this one of which nothing stands in the tables yet, oldest first."""
    done = set[str]()
    for table in ("items", "quarantine"):
        done |= set(tables.scan(table).select(pl.col("arrival").unique()).collect()["arrival"].to_list())
    known = tables.scan("objects").select(pl.col("arrival").unique()).sort(NUMBER).collect()["arrival"].to_list()
    return [name for name in known[: known.index(arrival)] if name not in done]


def _differs(refused: pl.DataFrame, source: Source, key: str, spec: Spec, now: datetime) -> bool:
    """Whether a refusal of the object would not come out again."""
    mine = refused.filter(pl.col("source") == source.config.id, pl.col("key") == key)
    stood = set(mine.select("part", "reason").iter_rows())
    if is_manifest(source.config.manifest, key):
        stood = {(part, reason) for part, reason in stood if reason not in ACROSS}
    return not stood <= _found_now(source, key, spec, now)


def _found_now(source: Source, key: str, spec: Spec, now: datetime) -> set[tuple[str, str]]:
    """Parts and reasons of what is refused of the object today."""
    opened = Opened(source, key)
    if is_manifest(source.config.manifest, key):
        try:
            manifest = read_manifest(opened.content(), key, arrival=0, at=now, classes=spec.classes)
        except Refused as wrong:
            return {("", wrong.refusal.reason)}
        return {(refusal.part, refusal.reason) for refusal in manifest.refusals}
    found = set[tuple[str, str]]()
    for datum in decode(opened):
        if isinstance(datum, Refusal):
            found.add((datum.part, datum.reason))
        elif datum.said and datum.said.label is not None and datum.said.label not in spec.classes:
            found.add((datum.part, UNKNOWN_LABEL))
    return found


def _explained(tables: Tables, stands: pl.DataFrame, source: str, key: str) -> Explanation:
    mine = stands.filter(pl.col("source") == source, pl.col("key") == key)
    codes = set(mine["reason"].to_list())
    return Explanation(
        source,
        key,
        tuple(mine.iter_rows(named=True)),
        tuple(reason for code, reason in CATALOGUE.items() if code in codes),
        tuple(_history(tables, source, key)),
    )


def _history(tables: Tables, source: str, key: str) -> Sequence[Row]:
    """What came of each version of the object, oldest first."""

    def rows(table: str) -> pl.DataFrame:
        return tables.scan(table).filter(pl.col("source") == source, pl.col("key") == key).collect()

    items = rows("items").filter(pl.col("status") == "active").group_by("arrival").len("items")
    codes = pl.col("reason").unique().sort().str.join(", ").alias("refused")
    refused = rows("quarantine").group_by("arrival").agg(codes)
    seen = rows("objects").join(items, on="arrival", how="left").join(refused, on="arrival", how="left").sort(NUMBER)
    told = seen.with_columns(pl.col("items").fill_null(0), pl.col("refused").fill_null(""))
    return told.select("arrival", "state", "version", "modified_at", "size", "items", "refused").to_dicts()


def _unknown(target: str, refused: pl.DataFrame) -> DataError:
    near = difflib.get_close_matches(target, refused["key"].unique().to_list(), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "`flywheel quarantine` lists what is refused"
    return DataError(f"nothing is refused about '{target}'; {hint}", (target,))
