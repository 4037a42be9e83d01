"""Registers one arrival: its objects become items and labels, or quarantine rows that say why not.

Reads `objects` and the sources' bytes; writes one partition each of `quarantine`, `annotation_events` and `items`,
the items last: once they stand, the arrival is registered and a repeat reads nothing.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from flywheel.config import SourceConfig
from flywheel.errors import ConfigError, DataError
from flywheel.identity import item_id, stable_fraction
from flywheel.objects import Source
from flywheel.raw.companions import is_companion, owner_pattern
from flywheel.raw.datum import TOLD, Datum
from flywheel.raw.decoders import decode, holds_many
from flywheel.raw.erased import Erased, read_erased
from flywheel.raw.manifest import unknown_label
from flywheel.raw.opened import Opened
from flywheel.raw.part import Part, Row, open_part
from flywheel.raw.patterns import said_by_key
from flywheel.raw.reasons import ERASED, MISSING_OBJECT, Refusal, shown
from flywheel.raw.rows import Scalar
from flywheel.raw.spill import Spill
from flywheel.raw.statements import Spec, Statement, event_of
from flywheel.raw.streams import in_order
from flywheel.records import SCHEMAS
from flywheel.tables import Tables

log = logging.getLogger("flywheel.raw")

_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False)  # `dumps` would make one a row

Found = Iterable[Datum | Refusal]


@dataclass(frozen=True)
class ArrivalReport:
    """What stands in the tables for one arrival, and what this call did for it."""

    arrival: str
    objects: int  # that landed, changed or vanished
    items: int  # active
    retired: int
    quarantined: int
    labels: int
    reasons: dict[str, int]  # reason code -> quarantine rows
    decoded: int  # objects this call decoded
    written: bool  # whether this call changed a table


class _Rows:
    """Rows on their way into the tables; most of them wait in `folder`."""

    def __init__(self, folder: Path):
        self.items = Spill("items", folder)
        self.quarantine = Spill("quarantine", folder)
        self.events: list[Row] = []
        self.decoded = 0


def register_arrival(
    tables: Tables,
    sources: Mapping[str, Source],
    spec: Spec,
    arrival: str,
    *,
    evaluation_share: float,
    again: bool = False,
    workers: int | None = None,
) -> ArrivalReport:
    """Turn the objects of an arrival into items, quarantine rows and label events.

    Besides its own objects the arrival holds the older ones that its manifests speak of, and retired rows for what
    went away. An item's split is what its row or manifest says, else `eval` for a stable share of the subjects and
    `pool` for the rest. Register arrivals oldest first. An arrival that has items is not read again.

    Args:
        tables: the wheel's tables.
        sources: the sources by id.
        spec: field, version and classes of the labels.
        arrival: the arrival's name, from `plan_arrivals`.
        evaluation_share: share of the subjects kept for evaluation, 0..1.
        again: read the arrival once more, for instance under a new label spec. Events only ever add up; objects
            that later arrivals changed keep what stands for them.
        workers: threads that read and decode; as many as suit the source when left out.

    Raises:
        DataError: there is no such arrival, or one before it must be registered first.
        ConfigError: it has objects of a source that is not configured.
        StoreUnavailable: a source cannot be reached.
    """
    mine = tables.read("objects", arrival=arrival)
    if mine.is_empty():
        raise DataError(f"there is no arrival '{arrival}'; `plan_arrivals` makes them", (arrival,))
    if not again and _has_items(tables, arrival):
        return _report(tables, arrival, mine.height, decoded=0, written=False)
    ids, erased = sorted(mine["source"].unique()), read_erased(tables)
    if strangers := [sid for sid in ids if sid not in sources]:
        raise ConfigError(
            f"{arrival} holds objects of sources {strangers}, which flywheel.yaml does not name; ids must not change"
        )
    with TemporaryDirectory(prefix="flywheel-") as folder:
        rows = _Rows(Path(folder))
        for sid in ids:
            part = open_part(tables, sources[sid], spec, arrival)
            _Registrar(tables, part, spec, evaluation_share, rows, erased).run(workers or sources[sid].objects.readers)
        written = _write(tables, arrival, rows)
    return _report(tables, arrival, mine.height, rows.decoded, written)


@dataclass
class _Registrar:
    """Adds one source's rows of an arrival, object by object in the order of keys."""

    tables: Tables
    part: Part
    spec: Spec
    share: float
    rows: _Rows
    erased: Erased

    def run(self, workers: int) -> None:
        for key in self.part.manifests:
            problems = [*self.part.merged.refusals[key], *self._missing(key)]
            problems = [one for one in problems if not self.erased.has_object(self.part.source.config.id, one.part)]
            self.rows.quarantine.extend(self._refused(self.part.now[key], problem) for problem in problems)
        targets = list(self.part.targets())
        for row, (found, decoded) in zip(targets, in_order(self._look, targets, workers=workers)):
            self.rows.decoded += decoded
            if found is None:
                self._keep(row)
            else:
                self._add(row, found)

    def _look(self, row: Row) -> tuple[Found | None, int]:
        """Return an object's data and how many objects were decoded for it; no data where it has to be kept as is."""
        key = row["key"]
        many = holds_many(key, self.part.source.config.modality)
        if row["state"] != "active":
            return [], 0
        if self.part.owns(row) and key in self.part.later:
            return None, 0
        if is_companion(self.part.source.config, key):
            return [_alone(self.part.source.config, key)], 0
        if not self.part.owns(row):
            self._check_order(row)
            known = [item for item in self.part.before.get(key, []) if item["version"] == row["version"]]
            if known and not many:  # only what is said about it is new
                [item] = known
                return [Datum("", item["modality"], item["content_id"], item["size"], told=_told(item))], 0
        found = decode(Opened(self.part.source, key, row["size"]))
        return found if many else list(found), 1  # what may be very many is read as it is added

    def _check_order(self, row: Row) -> None:
        """Refuse to correct labels of an arrival that was not registered: they would look like first ones."""
        key, part = row["key"], self.part
        if key in part.before or not part.said_before:
            return
        refused = self.tables.read("quarantine", arrival=row["arrival"]).filter(pl.col("key") == key)
        if refused.is_empty():
            raise DataError(f"{part.arrival} corrects what {row['arrival']} brought; register that one first", (key,))

    def _keep(self, row: Row) -> None:
        """Keep what stands for an object that a later arrival changed."""
        items, refused = self.part.kept.get(row["key"], ([], []))
        if not items and not refused:
            message = (
                f"{row['key']} was replaced by a later arrival before it was read; that one tells what became of it"
            )
            refused = [self._refused(row, Refusal(MISSING_OBJECT, message))]
        self.rows.items.extend(items)
        self.rows.quarantine.extend(refused)

    def _add(self, row: Row, found: Found) -> None:
        """Add the rows of one object's data, and retire the items it no longer holds."""
        part, own = self.part, self.part.owns(row)
        before = {item["item_id"]: item for item in part.before.get(row["key"], [])}
        found = self._without_erased(row, found)
        for datum in found:
            if isinstance(datum, Refusal):
                if own:  # an older object's refusals stand in its own arrival
                    self.rows.quarantine.add(self._refused(row, datum))
                continue
            item = self._item(row, datum)
            old = before.pop(item["item_id"], None)
            if own or part.names(row["key"]) or _differs(old, item):
                self.rows.items.add(item)
            self._add_label(row, datum, item)
        for old in before.values():
            gone = {"status": "retired", "version": row["version"], "arrival": part.arrival}
            self.rows.items.add({**old, **gone})

    def _without_erased(self, row: Row, found: Found) -> Found:
        """Leave out what may not be stored again, refusals of it included; an object with nothing else says so."""
        return self._not_erased(row, found) if self.erased else found

    def _not_erased(self, row: Row, found: Found) -> Iterator[Datum | Refusal]:
        source, seen, kept = self.part.source.config.id, 0, 0
        for datum in found:
            seen += 1
            subject = "" if isinstance(datum, Refusal) else self._item(row, datum)["subject_id"]
            if not self.erased.has_datum(source, row["key"], datum.part, subject):
                kept += 1
                yield datum
        if seen and not kept:
            yield Refusal(ERASED, f"{row['key']} holds nothing but what was erased; remove it from the source")

    def _add_label(self, row: Row, datum: Datum, item: Row) -> None:
        statement = self._statement(row, datum)
        if statement is None:
            return
        standing = self.part.standing.get((item["item_id"], item["content_id"]))
        event = event_of(statement, {**item, "arrival": self.part.arrival}, self.spec, standing)
        if event:
            self.rows.events.append(event)

    def _statement(self, row: Row, datum: Datum) -> Statement | None:
        """Return the label given to a datum: by its own row, else by a manifest."""
        label = datum.said.label if datum.said else None
        if label is None:
            entry = self.part.label_of(row)
            return Statement(entry.said.label or "", entry.manifest, entry.at) if entry else None
        if not self.part.owns(row):
            return None
        if label not in self.spec.classes:
            where = f"'{datum.part}' of {row['key']}"
            self.rows.quarantine.add(self._refused(row, unknown_label(label, where, self.spec.classes, datum.part)))
            return None
        return Statement(label, row["key"], row["modified_at"])

    def _missing(self, manifest: str) -> list[Refusal]:
        """Name the objects a manifest speaks of that are not there."""
        return [
            Refusal(
                MISSING_OBJECT,
                f"row {entry.row} of {manifest} names {shown(key)}, which is not there; upload it or drop the row",
                key,
            )
            for key, entry in sorted(self.part.merged.entries.items())
            if entry.manifest == manifest and key not in self.part.there
        ]

    def _item(self, row: Row, datum: Datum) -> Row:
        config, entry = self.part.source.config, self.part.merged.entries.get(row["key"])
        identity = item_id(config.id, row["key"], datum.part)
        by_key = said_by_key(config.attributes, row["key"])
        words = [said for said in (datum.said, entry.said if entry else None, by_key) if said]  # its own row's first
        whole = item_id(config.id, row["key"]) if datum.piece else identity
        subject = next((said.subject for said in words if said.subject), whole)
        split = next((said.split for said in words if said.split), None)
        if split is None:
            split = "eval" if stable_fraction(subject, "split") < self.share else "pool"
        attributes = {f"{TOLD}{name}": value for name, value in datum.told.items()}
        attributes |= {name: value for said in reversed(words) for name, value in said.attributes.items()}
        return {
            "item_id": identity,
            "source": config.id,
            "key": row["key"],
            "part": datum.part,
            "subject_id": subject,
            "modality": datum.modality,
            "content_id": datum.content_id,
            "size": datum.size,
            "attributes": _JSON.encode(attributes),
            "split": split,
            "license": config.license,
            "provenance": config.provenance,
            "status": "active",
            "version": row["version"],
            "arrival": self.part.arrival,
        }

    def _refused(self, row: Row, refusal: Refusal) -> Row:
        return {
            "source": self.part.source.config.id,
            "key": row["key"],
            "part": refusal.part,
            "content_id": refusal.content_id,
            "reason": refusal.reason,
            "message": refusal.message,
            "version": row["version"],
            "arrival": self.part.arrival,
        }


def _alone(config: SourceConfig, key: str) -> Refusal:
    """Refuse a companion whose owner is not there; it stands until the owner is."""
    owner = owner_pattern(config, key)
    return Refusal(MISSING_OBJECT, f"{key} belongs to {owner}, which is not there; upload it too", owner)


def _told(item: Row) -> dict[str, Scalar]:
    """Return what the file of a registered item told."""
    attributes = json.loads(item["attributes"])
    return {name[len(TOLD) :]: value for name, value in attributes.items() if name.startswith(TOLD)}


def _differs(old: Row | None, new: Row) -> bool:
    said = ("subject_id", "attributes", "split")
    return old is None or any(old[column] != new[column] for column in said)


def _write(tables: Tables, arrival: str, rows: _Rows) -> bool:
    """Write the three partitions, items last; return whether any of them changed."""
    stored = tables.read("annotation_events", origin=arrival)
    told = set(stored["event_id"])
    added = [event for event in rows.events if event["event_id"] not in told]
    events = pl.concat([stored, pl.DataFrame(added, schema=SCHEMAS["annotation_events"])])
    written = [
        tables.replace_chunks("quarantine", rows.quarantine, arrival=arrival),
        tables.replace("annotation_events", events, origin=arrival),
        tables.replace_chunks("items", rows.items, arrival=arrival),
    ]
    return any(written)


def _has_items(tables: Tables, arrival: str) -> bool:
    return not tables.scan("items").filter(pl.col("arrival") == arrival).head(1).collect().is_empty()


def _counted(tables: Tables, table: str, column: str, arrival: str) -> Counter[str]:
    rows = tables.scan(table).filter(pl.col("arrival") == arrival).group_by(column).len().sort(column)
    return Counter(dict(rows.collect().iter_rows()))


def _report(tables: Tables, arrival: str, objects: int, decoded: int, written: bool) -> ArrivalReport:
    statuses, reasons = _counted(tables, "items", "status", arrival), _counted(tables, "quarantine", "reason", arrival)
    report = ArrivalReport(
        arrival=arrival,
        objects=objects,
        items=statuses["active"],
        retired=statuses["retired"],
        quarantined=reasons.total(),
        labels=tables.read("annotation_events", origin=arrival).height,
        reasons=dict(reasons),
        decoded=decoded,
        written=written,
    )
    log.info("%s: %d items, %d refused, %d retired", arrival, report.items, report.quarantined, report.retired)
    return report
