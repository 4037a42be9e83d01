"""Companions: objects that are no data by themselves, but belong to one that is.

The samples of a WFDB record belong to its header, joined tables to the table of their subjects. A companion is
accounted for by its owner; when it lands, changes or vanishes, its owner is registered again.
"""

from collections.abc import Iterable

from flywheel.config import SourceConfig
from flywheel.raw.patterns import fill, is_manifest, is_plain, matches, named_parts

HEADER = ".hea"
SAMPLES = (".dat",)  # and annotations, which are not read


def is_companion(config: SourceConfig, key: str) -> bool:
    """Whether the object belongs to another one."""
    return _has_header(config, key) or _is_joined(config, key)


def holds_data(config: SourceConfig | None, key: str) -> bool:
    """Whether the object has to be answered by items or refusals of its own."""
    return config is None or not (is_manifest(config.manifest, key) or is_companion(config, key))


def owner_pattern(config: SourceConfig, key: str) -> str:
    """Return the pattern of the keys a companion belongs to; a key where there can be one only.

    What names in braces stand for in a joined table's key, they stand for in its subject table's too.
    """
    if _has_header(config, key):
        return f"{key.rpartition('.')[0]}{HEADER}"
    records = config.records
    parts = next(
        (named_parts(table.match, key) for table in records.tables if matches(table.match, key)), dict[str, str]()
    )
    return fill(records.subjects or "", parts)


def owners(config: SourceConfig, companions: Iterable[str], keys: Iterable[str]) -> set[str]:
    """Return those among `keys` that some of the companions belong to. Cost: one look at each key and pattern."""
    patterns = {owner_pattern(config, companion) for companion in companions}
    wide = [pattern for pattern in patterns if not is_plain(pattern)]
    return {key for key in keys if key in patterns or any(matches(pattern, key) for pattern in wide)}


def accompanied(config: SourceConfig, companions: Iterable[str], keys: Iterable[str]) -> set[str]:
    """Return those of the companions that belong to something among `keys`."""
    there = set(keys)
    of = {companion: owner_pattern(config, companion) for companion in companions}
    wide = {pattern for pattern in of.values() if not is_plain(pattern)}
    held = there | {pattern for pattern in wide if any(matches(pattern, key) for key in there)}
    return {companion for companion, pattern in of.items() if pattern in held}


def _has_header(config: SourceConfig, key: str) -> bool:
    return config.modality in ("auto", "signal") and key.lower().endswith(SAMPLES)


def _is_joined(config: SourceConfig, key: str) -> bool:
    records = config.records
    if records.subjects is None or matches(records.subjects, key):
        return False
    return any(matches(table.match, key) for table in records.tables)
