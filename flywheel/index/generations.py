"""Folders that appear whole or not at all: where an embedded index keeps its generations.

A home holds `CURRENT` (the name of the live generation), `generation-N/`, and a lock. A generation is a folder
with the engine's `shard/` and `spaces.json`, which is written last: without it a generation is not complete.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from flywheel.errors import IndexMismatch
from flywheel.index.protocol import Space

MARK = "spaces.json"
_BLOCK = 1 << 18


def current(home: Path) -> Path | None:
    """Return the live generation, None where there is none yet."""
    try:
        name = (home / "CURRENT").read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    return home / name


def next_generation(home: Path) -> Path:
    """Return a folder name for a new generation, later than every one there."""
    numbers = [int(path.name.split("-")[1]) for path in home.glob("generation-*") if path.name.split("-")[1].isdigit()]
    return home / f"generation-{max(numbers, default=0) + 1:06d}"


def make_current(home: Path, generation: Path) -> None:
    """Let `generation` be the live one, in one step that a kill cannot halve."""
    _write(home / "CURRENT", generation.name)


def sweep(home: Path) -> None:
    """Remove what is not the live generation: leftovers of killed writers. The caller holds the home's lock."""
    live = current(home)
    for path in home.glob("generation-*"):
        if path != live:
            shutil.rmtree(path)


def write_spaces(generation: Path, spaces: Mapping[str, Space]) -> None:
    """Write the spaces of a generation, which completes it."""
    _write(generation / MARK, json.dumps({space.name: space.dim for space in spaces.values()}, sort_keys=True))


def read_spaces(generation: Path) -> dict[str, Space]:
    """Return the spaces of a complete generation.

    Raises:
        IndexMismatch: the folder is no complete generation.
    """
    try:
        dims = json.loads((generation / MARK).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise IndexMismatch(f"{generation} is no complete generation of an index: it has no {MARK}") from None
    return {name: Space(name, int(dim)) for name, dim in dims.items()}


def copy_generation(source: Path, destination: Path) -> None:
    """Copy a closed or flushed generation so that `destination` appears whole; an older one there is replaced.

    The engine's files are preallocated and mostly holes; runs of zeros are not written.

    Raises:
        IndexMismatch: the source is no complete generation.
    """
    read_spaces(source)
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    shutil.copytree(source / "shard", partial / "shard", copy_function=_copy_sparse)
    shutil.copyfile(source / MARK, partial / MARK)
    old = destination.with_name(destination.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if destination.exists():
        destination.rename(old)
    partial.rename(destination)
    shutil.rmtree(old, ignore_errors=True)


def _copy_sparse(source: str, destination: str) -> None:
    zeros = bytes(_BLOCK)
    with Path(source).open("rb") as reader, Path(destination).open("wb") as writer:
        while block := reader.read(_BLOCK):
            if block == zeros[: len(block)]:
                writer.seek(len(block), os.SEEK_CUR)
            else:
                writer.write(block)
        writer.truncate(reader.tell())


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    partial.replace(path)
