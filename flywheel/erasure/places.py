"""Places beside the tables that may show what is erased: the index, reports, vendors' folders, caches."""

import html
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flywheel.config import FileVendorConfig, WheelConfig
from flywheel.index import VectorIndex
from flywheel.index.edge import EdgeIndex
from flywheel.index.generations import MARK
from flywheel.objects import ObjectStore
from flywheel.tables import Tables
from flywheel.vendors.jobs import task_uid

if TYPE_CHECKING:
    from flywheel.erasure.plan import Plan

REPORTS = "reports/"  # whatever lies there is made anew by `flywheel report`
MEANINGFUL = 5  # digits of a number that is looked for in files
KEPT = ("models/", "erasures/")


def forget_vectors(index: VectorIndex, item_ids: Sequence[str]) -> int:
    """Remove points from an index, and from the disk of an embedded one; return how many it held."""
    with index as opened:
        if not opened.exists:
            return 0
        held = len(opened.scroll().keys() & set(item_ids))
        opened.delete(item_ids)
        if isinstance(opened, EdgeIndex):
            opened.rebuild()  # a deleted point's vector stays in the engine's files until they are written anew
        return held


def forget_copies(config: WheelConfig) -> list[str]:
    """Remove saved generations of an embedded index under the cache, and places of sweeps; return what was removed.

    Both are made again from the tables and the sources when they are missed.
    """
    home = config.cache / "index"
    saved = [mark.parent for mark in config.cache.rglob(MARK) if home not in mark.parents]
    gone = [folder for folder in (*saved, config.cache / "sweeps") if folder.exists()]
    for folder in gone:
        shutil.rmtree(folder)
    return sorted(folder.relative_to(config.cache).as_posix() for folder in gone)


def forget_files(files: ObjectStore, plan: "Plan") -> list[str]:
    """Remove the wheel's reports, and other files of it that name what is erased; return which."""
    gone: list[str] = []
    for info in list(files.list()):
        if info.key.startswith(KEPT):
            continue
        if info.key.startswith(REPORTS) or _names(files.read(info.key), plan):
            files.delete(info.key)
            gone.append(info.key)
    return gone


def forget_tasks(tables: Tables, config: WheelConfig, plan: "Plan") -> int:
    """Take the tasks about erased items out of a file vendor's folder, its unfinished drafts whole; return how many."""
    if not isinstance(config.vendor, FileVendorConfig):
        return 0
    folder = Path(config.vendor.folder)
    for draft in folder.glob(".*.tmp"):
        shutil.rmtree(draft, ignore_errors=True)
    return sum(_without_tasks(folder / job, job, plan.items) for job in tables.read("jobs")["job_id"].to_list())


def forget_alerts(config: WheelConfig, plan: "Plan") -> int:
    """Drop the lines of the alerts' file that name what is erased; return how many."""
    path = Path(config.triggers.alerts) if config.triggers.alerts else config.cache / "alerts.jsonl"
    if not path.exists():
        return 0
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not _names(line, plan)]
    if len(kept) < len(lines):
        _write_whole(path, b"".join(kept))
    return len(lines) - len(kept)


def _without_tasks(place: Path, job: str, items: Sequence[str]) -> int:
    path = place / "tasks.jsonl"
    if not path.exists():
        return 0
    uids = {task_uid(job, item) for item in items}
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["task_uid"] not in uids]
    for media in (place / "media").glob("*"):
        if media.stem in uids:
            media.unlink()
    if len(kept) < len(lines):
        _write_whole(path, b"".join(kept))
    return len(lines) - len(kept)


def _names(content: bytes, plan: "Plan") -> bool:
    """Whether a file names what is erased; a number of a few digits would be found anywhere, and is not looked for."""
    texts = {key for _, key in plan.objects} | {*plan.items, *plan.contents}
    shown = {form.encode() for text in texts for form in (text, html.escape(text), json.dumps(text)[1:-1])}
    if any(form in content for form in shown):
        return True
    subject = plan.subject or ""
    if len(subject) < MEANINGFUL and (subject.isdigit() or not subject):
        return False
    return re.search(rb"(?<!\w)" + re.escape(subject.encode()) + rb"(?!\w)", content) is not None


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
