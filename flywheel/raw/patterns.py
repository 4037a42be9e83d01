"""Patterns over keys: which objects are meant, and what their keys say about them."""

import re
from collections.abc import Mapping
from functools import lru_cache

from flywheel.identity import stable_fraction
from flywheel.raw.datum import Said
from flywheel.raw.reasons import SPLITS
from flywheel.raw.rows import Scalar

NAMED = ("subject", "label", "split")


def matches(pattern: str | None, key: str) -> bool:
    """Whether the key matches the pattern: "*" and "?" stay within a folder, "**/" stands for any folders."""
    return pattern is not None and _compiled(pattern).fullmatch(key) is not None


def is_manifest(pattern: str | None, key: str) -> bool:
    """Whether the key is one of a source's manifests."""
    return matches(pattern, key)


def said_by_key(pattern: str | None, key: str) -> Said | None:
    """Read what a key says, by a pattern like `site={site}/day={day}/**`; None where it does not match.

    A name in braces stands for some of one folder's or file's name. `{subject}`, `{label}` and `{split}` are what
    they say (a split that is none is left out), every other name is an attribute, as text.
    """
    found = _compiled(pattern).fullmatch(key) if pattern else None
    if found is None:
        return None
    told = found.groupdict()
    attributes: dict[str, Scalar] = {name: value for name, value in sorted(told.items()) if name not in NAMED}
    split = told.get("split")
    return Said(told.get("subject"), told.get("label"), split if split in SPLITS else None, attributes)


def is_sampled(pattern: str | None, share: float, key: str) -> bool:
    """Whether the object is among a share of all, by a stable hash of its subject, or of its key if that names none."""
    said = said_by_key(pattern, key)
    return stable_fraction((said.subject if said else None) or key, "sample") < share


def named_parts(pattern: str | None, key: str) -> dict[str, str]:
    """Return what the names in braces stand for in a key; nothing where it does not match."""
    found = _compiled(pattern).fullmatch(key) if pattern else None
    return found.groupdict() if found else {}


def fill(pattern: str, parts: Mapping[str, str]) -> str:
    """Write what names in braces stand for into another pattern."""
    for name, value in parts.items():
        pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


def is_plain(pattern: str) -> bool:
    """Whether the pattern is a key, without anything that stands for something else."""
    return re.search(r"[*?\[{]", pattern) is None


def stem_of(pattern: str) -> str:
    """Return the plain words of a pattern's file name, without its ending: "labs" for "day={day}/labs-*.csv"."""
    name = pattern.rpartition("/")[2].rpartition(".")[0]
    return re.sub(r"[-_.]*(\{\w+\}|\*|\?|\[[^\]]*\])", "", name) or "table"


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"(\*\*/|\*\*$|\*|\?|\[[^\]]+\]|\{[A-Za-z_]\w*\})", pattern)
    return re.compile("".join(_regex(piece) for piece in pieces), re.DOTALL)


def _regex(piece: str) -> str:
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if piece in known:
        return known[piece]
    if piece.startswith("[") and piece.endswith("]"):
        inside = piece[1:-1].replace("\\", r"\\")
        return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    if piece.startswith("{") and piece.endswith("}"):
        return f"(?P<{piece[1:-1]}>[^/]+?)"
    return re.escape(piece)
