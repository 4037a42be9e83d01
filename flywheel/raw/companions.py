"""Companions: objects that are no data by themselves, but belong to one that is.

The samples of a WFDB record belong to its header, joined tables to the table of their subjects. A companion is
accounted for by its owner; when it lands, changes or vanishes, its owner is registered again.
"""

from collections.abc import Iterable

from flywheel.config import SourceConfig
from flywheel.raw.patterns import is_manifest, matches

HEADER = ".hea"
SAMPLES = (".dat",)  # and annotations, which are not read


def is_companion(config: SourceConfig, key: str) -> bool:
    """Whether the object belongs to another one."""
    return _has_header(config, key) or _is_joined(config, key)


def holds_data(config: SourceConfig | None, key: str) -> bool:
    """Whether the object has to be answered by items or refusals of its own."""
    return config is None or not (is_manifest(config.manifest, key) or is_companion(config, key))


def owner_pattern(config: SourceConfig, key: str) -> str:
    """Return the pattern of the keys a companion belongs to; a key where there can be one only."""
    if _has_header(config, key):
        return f"{key.rpartition('.')[0]}{HEADER}"
    return config.records.subjects or ""


def owners(config: SourceConfig, companions: Iterable[str], keys: Iterable[str]) -> set[str]:
    """Return those among `keys` that some of the companions belong to. Cost: one look at each key."""
    patterns = {owner_pattern(config, companion) for companion in companions}
    tables = config.records.subjects if config.records.subjects in patterns else None
    return {key for key in keys if key in patterns or matches(tables, key)}


def accompanied(config: SourceConfig, companions: Iterable[str], keys: Iterable[str]) -> set[str]:
    """Return those of the companions that belong to something among `keys`."""
    there = set(keys)
    joined = any(matches(config.records.subjects, key) for key in there)
    return {key for key in companions if (joined if _is_joined(config, key) else owner_pattern(config, key) in there)}


def _has_header(config: SourceConfig, key: str) -> bool:
    return config.modality in ("auto", "signal") and key.lower().endswith(SAMPLES)


def _is_joined(config: SourceConfig, key: str) -> bool:
    records = config.records
    if records.subjects is None or matches(records.subjects, key):
        return False
    return any(matches(table.match, key) for table in records.tables)
