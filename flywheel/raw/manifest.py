"""Manifests: what a source's own tables say about its objects.

A manifest is a CSV, JSON lines, Parquet or COCO object whose key matches the source's `manifest` pattern. Its columns:
key (needed), subject, label, split; the rest are attributes. A later arrival's word overrules an earlier one's.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from flywheel.objects import key_problem
from flywheel.raw import coco
from flywheel.raw.datum import Said, what_is_said
from flywheel.raw.reasons import (
    BAD_KEY,
    DUPLICATE_ID,
    MALFORMED_ROW,
    UNKNOWN_LABEL,
    UNKNOWN_TYPE,
    Refusal,
    Refused,
    shown,
)
from flywheel.raw.rows import TABLE_ENDINGS, Row, as_text, read_rows


@dataclass(frozen=True, slots=True)
class Entry:
    """What one manifest row says about one object."""

    key: str
    said: Said
    manifest: str  # key of the manifest
    row: int  # its number, from 1
    arrival: int  # number of the arrival the manifest came with
    at: datetime  # when the manifest was last modified, UTC


@dataclass(frozen=True)
class Manifest:
    """One manifest: its entries, and what was refused of it."""

    key: str
    arrival: int
    entries: tuple[Entry, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True)
class Merged:
    """All manifests of a source together."""

    entries: dict[str, Entry]  # object key -> what counts for it
    labels: dict[str, Entry]  # object key -> the newest row that gives it a label
    refusals: dict[str, list[Refusal]]  # manifest key -> what was refused of it


def read_manifest(content: bytes, key: str, *, arrival: int, at: datetime, classes: Collection[str]) -> Manifest:
    """Read one manifest; rows that cannot be used, and words that mean nothing, become refusals.

    Args:
        content: the manifest's bytes.
        key: its key; the ending says how to read it.
        arrival: number of the arrival it came with.
        at: when it was last modified.
        classes: the labels of the label spec.
    """
    entries: list[Entry] = []
    refusals: list[Refusal] = []
    try:
        for row in _rows(content, key):
            if isinstance(row, Refusal):
                refusals.append(row)
                continue
            entry, problems = _entry(row, key, arrival, at, classes)
            refusals.extend(problems)
            if entry:
                entries.append(entry)
    except Refused as refused:  # the file as a whole: nothing of it counts
        return Manifest(key, arrival, (), (refused.refusal,))
    return Manifest(key, arrival, tuple(entries), tuple(refusals))


def merge(manifests: Iterable[Manifest]) -> Merged:
    """Bring the manifests of a source together.

    A later arrival overrules an earlier one in what it says and leaves the rest. Within one arrival the first row
    counts (in the order of manifest keys and rows), each further row for the same object is refused, and where their
    labels differ none is taken.
    """
    merged = Merged({}, {}, {})
    for manifest in sorted(manifests, key=lambda manifest: (manifest.arrival, manifest.key)):
        merged.refusals.setdefault(manifest.key, []).extend(manifest.refusals)
        for entry in manifest.entries:
            first = merged.entries.get(entry.key)
            if first is not None and first.arrival == entry.arrival:
                _refuse_repeated(merged, first, entry)
                continue
            merged.entries[entry.key] = entry if first is None else replace(entry, said=_overruled(first, entry))
            if entry.said.label is not None:
                merged.labels[entry.key] = entry
    return merged


def _overruled(old: Entry, new: Entry) -> Said:
    return Said(
        new.said.subject or old.said.subject,
        new.said.label or old.said.label,
        new.said.split or old.said.split,
        {**old.said.attributes, **new.said.attributes},
    )


def _refuse_repeated(merged: Merged, first: Entry, entry: Entry) -> None:
    taken = merged.labels.get(entry.key)
    if taken is None or taken.arrival != entry.arrival or entry.said.label in (None, taken.said.label):
        merged.refusals[entry.manifest].append(_repeated(entry, first, differs=False))
        return
    merged.refusals[entry.manifest].append(_repeated(entry, first, differs=True))
    merged.refusals[taken.manifest].append(_repeated(taken, entry, differs=True))
    del merged.labels[entry.key]


def _rows(content: bytes, key: str) -> Iterator[Row | Refusal]:
    if key.lower().endswith(coco.ENDING):
        return coco.coco_rows(content, key)
    if not key.lower().endswith(TABLE_ENDINGS):
        expected = ", ".join((*TABLE_ENDINGS, coco.ENDING))
        raise Refused(UNKNOWN_TYPE, f"the manifest {key} is of a kind that is not read; expected {expected}")
    return read_rows(content, key, needed="key")


def _entry(
    row: Row, manifest: str, arrival: int, at: datetime, classes: Collection[str]
) -> tuple[Entry | None, list[Refusal]]:
    where = f"row {row.number} of {manifest}"
    key = row.values.get("key")
    key = key if isinstance(key, str) else as_text(key)
    if not key:
        return None, [Refusal(MALFORMED_ROW, f"{where} names no object; expected one in the column 'key'", row.name)]
    if problem := key_problem(key):
        message = f"{where} names the key {shown(key)}: {problem}; expected a path relative to the source's root"
        return None, [Refusal(BAD_KEY, message, row.name)]
    said, problems = what_is_said(row, where, taken=("key",), part=key)
    if said.label is not None and said.label not in classes:
        problems.append(unknown_label(said.label, where, classes, key))
        said = replace(said, label=None)
    return Entry(key, said, manifest, row.number, arrival, at), problems


def unknown_label(label: str, where: str, classes: Collection[str], part: str) -> Refusal:
    """Build the refusal of a label that is not in the label spec."""
    expected = shown(list(classes), 120)
    return Refusal(
        UNKNOWN_LABEL, f"{where} says label {shown(label)}; expected one of {expected}; no label is taken", part
    )


def _repeated(entry: Entry, other: Entry, differs: bool) -> Refusal:
    where = f"row {entry.row} of {entry.manifest}"
    there = f"row {other.row} of {other.manifest}"
    labels = " with another label: none is taken"
    message = f"{where} names {shown(entry.key)}, as does {there}{labels if differs else ''}; keep one row a key"
    return Refusal(DUPLICATE_ID, message, entry.key)
