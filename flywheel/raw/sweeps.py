"""Sweeps: a source's whole listing compared with the inventory, in portions if it is long.

Reads a source's listing. A sweep that runs out of time keeps the server's token and the keys seen so far as one file
per block in a folder of its own, and the next one goes on there. Nothing depends on these files: where they are lost
or the token has expired, the sweep starts anew. What vanished is told at the end of a complete sweep only: what was
known before it began and was seen in no page.

No order of the listing is relied on: servers differ in it.
"""

import json
import logging
import shutil
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from flywheel.config import SourceConfig
from flywheel.objects import ListingLost, ObjectInfo, Source, StoreUnavailable
from flywheel.raw.companions import holds_data
from flywheel.raw.patterns import is_sampled
from flywheel.records import SCHEMAS

log = logging.getLogger("flywheel.raw")

BLOCK = 50_000  # keys between two saves
STALE = timedelta(hours=24)  # an older place is not gone on from: too much may have changed behind it

LISTED = {name: SCHEMAS["objects"][name] for name in ("key", "version", "size", "modified_at")}
CHANGED = {**LISTED, "state": pl.String()}
PENDING = {**LISTED, "as_of": pl.Int64()}  # as_of: arrivals there were when the row was listed


@dataclass(frozen=True)
class Place:
    """Where a sweep stopped."""

    address: str  # of the source, which may have been configured anew meanwhile
    began: int  # arrivals there were when it began
    saved_at: str  # ISO 8601
    token: str | None = None
    keys: int = 0  # seen so far
    blocks: int = 0  # files of seen keys
    young: int = 0  # objects among them that were too young to be changes


@dataclass
class _Portion:
    """What this call listed and did not save yet."""

    infos: list[ObjectInfo] = field(default_factory=list[ObjectInfo])
    seen: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])


class Sweep:
    """One source's sweep, new or gone on with.

    Args:
        source: what is listed.
        known: the inventory of the source, from `known_objects`.
        arrivals: how many arrivals the inventory is made of.
        now: the present time, UTC; the time of what vanished.
        settle: objects modified within this time of `now`, before or after, are seen, but are no changes yet.
        folder: where a place is kept; without it, nowhere.
    """

    def __init__(
        self,
        source: Source,
        known: pl.DataFrame,
        arrivals: int,
        *,
        now: datetime,
        settle: timedelta,
        folder: Path | None = None,
    ):
        self._source, self._known, self._arrivals = source, known, arrivals
        self._now, self._settle, self._folder = now, settle, folder
        self.complete = False
        self._gone = empty_changes()
        self._begin(self._resumed())

    @property
    def keys(self) -> int:
        """How many keys the sweep has seen."""
        return self._place.keys

    @property
    def pending(self) -> int:
        """How many changes of what was listed wait to be written."""
        return self._pending.height

    @property
    def young(self) -> int:
        """How many of them were too young to be changes."""
        return self._place.young

    def go_on(self, is_over: Callable[[], bool]) -> None:
        """List and compare until the end, or until `is_over` after a page; at least one page.

        Raises:
            StoreUnavailable: the source cannot be reached; what was seen is kept.
            DataError: the source's folder does not exist.
        """
        try:
            self._list(is_over)
        except ListingLost as lost:
            log.info("the sweep of '%s' starts anew: %s", self._source.config.id, lost)
            self.forget()
            self._begin(None)
            self._list(is_over)

    def changes(self) -> pl.DataFrame:
        """Return what differs from the inventory so far, one row per object: columns of `CHANGED`, in any order."""
        listed = differing(self._pending, self._known).select(*LISTED).with_columns(state=pl.lit("active"))
        return pl.concat([listed.unique("key", keep="last"), self._gone])

    def overrule(self, keys: Collection[str]) -> None:
        """Drop the changes of objects that were looked at since they were listed."""
        self._gone = self._gone.filter(~pl.col("key").is_in(list(keys)))
        self._pending = self._pending.filter(~pl.col("key").is_in(list(keys)))
        if self._folder and self._place.blocks:
            _write(self._pending, self._path("pending.parquet"))

    def forget(self) -> None:
        """Remove what was kept of the sweep's place."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, place: Place | None) -> None:
        self._portion = _Portion()
        self._pending = pl.DataFrame(schema=PENDING)
        self._place = Place(self._source.config.root, self._arrivals, self._now.isoformat())
        if place is None:
            return
        try:
            kept = pl.read_parquet(self._path("pending.parquet")).select(*PENDING)
            self._pending = differing(kept, self._known)  # without what was written since
            self._place = place
        except (OSError, pl.exceptions.PolarsError):
            self.forget()

    def _list(self, is_over: Callable[[], bool]) -> None:
        try:
            for page in self._source.objects.pages(self._place.token):
                self._portion.infos.extend(page.infos)
                self._place = replace(self._place, token=page.next, keys=self._place.keys + len(page.infos))
                if page.next is None:
                    self._finish()
                elif len(self._portion.infos) >= BLOCK:
                    self._save()
                if is_over():
                    break
        except StoreUnavailable:
            self._save()
            raise
        if not self.complete:
            self._save()

    def _compare(self) -> None:
        """Compare what was listed with the inventory, and keep its keys."""
        listed = listed_frame(self._portion.infos)
        self._portion.infos = []
        self._portion.seen.append(listed.select("key"))
        changed = differing(listed.with_columns(as_of=pl.lit(self._arrivals, pl.Int64)), self._known)
        changed = sampled(self._source.config, changed, self._known)
        first, last = self._now - self._settle, self._now + self._settle  # a clock far ahead is no reason to wait
        young = (changed["modified_at"] > first) & (changed["modified_at"] < last)
        self._place = replace(self._place, young=self._place.young + int(young.sum()))
        self._pending = pl.concat([self._pending, changed.filter(~young)])

    def _finish(self) -> None:
        """Compare the rest, and find what vanished.

        Raises:
            ListingLost: what was kept of the keys is incomplete.
        """
        self._compare()
        seen = self._seen()
        lost = self._known.filter("active", pl.col("number") <= self._place.began).join(seen, on="key", how="anti")
        rows = lost.with_columns(modified_at=pl.lit(self._now, LISTED["modified_at"]), state=pl.lit("deleted"))
        self._gone = rows.select(*CHANGED)
        self.complete = True

    def _seen(self) -> pl.DataFrame:
        try:
            kept = [pl.read_parquet(self._path(_block(number))) for number in range(self._place.blocks)]
            seen = pl.concat([*kept, *self._portion.seen])
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ListingLost(f"the keys seen so far cannot be read: {error}") from None
        if seen.height != self._place.keys:
            raise ListingLost(f"{seen.height} of {self._place.keys} keys seen so far are left")
        return seen

    def _save(self) -> None:
        """Keep the place; without a folder, or with nothing listed yet, there is none to keep."""
        if self._portion.infos:
            self._compare()
        if not self._folder or not self._portion.seen or self._place.token is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        _write(pl.concat(self._portion.seen), self._path(_block(self._place.blocks)))
        _write(self._pending, self._path("pending.parquet"))
        self._place = replace(self._place, blocks=self._place.blocks + 1, saved_at=self._now.isoformat())
        self._portion.seen = []
        temporary = self._path("place.tmp")
        temporary.write_text(json.dumps(asdict(self._place)), "utf-8")
        temporary.replace(self._path("place.json"))  # last: it is what makes the other files count

    def _resumed(self) -> Place | None:
        """Return the place to go on from, if one was kept that still fits."""
        place = read_place(self._folder) if self._folder else None
        if place is None:
            return None
        fits = (
            place.address == self._source.config.root
            and place.began <= self._arrivals
            and place.token is not None
            and self._now - datetime.fromisoformat(place.saved_at) < STALE
        )
        return place if fits else None

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise FileNotFoundError(name)
        return self._folder / name


def empty_changes() -> pl.DataFrame:
    """Return no changes."""
    return pl.DataFrame(schema=CHANGED)


def sampled(config: SourceConfig, changed: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Leave out new objects that are not in the source's sample; manifests and companions always are."""
    if config.sample >= 1:
        return changed
    new = changed.join(known.select("key"), on="key", how="anti")["key"]
    left = [key for key in new if holds_data(config, key) and not is_sampled(config.attributes, config.sample, key)]
    return changed.filter(~pl.col("key").is_in(left))


def differing(listed: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return the listed rows that the inventory does not hold.

    What an arrival said after a row was listed (its `as_of`, if it has one) stands: it was looked at later.
    """
    both = listed.join(known.select("key", "active", "number", known="version"), on="key", how="left")
    stands = pl.col("active") & (pl.col("known") == pl.col("version"))
    if "as_of" in listed.columns:
        stands |= pl.col("number") > pl.col("as_of")
    return both.filter(~stands.fill_null(value=False)).select(listed.columns)


def read_place(folder: Path) -> Place | None:
    """Return the place kept in a folder; None where there is none, or none that can be read."""
    try:
        return Place(**json.loads((folder / "place.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def listed_frame(infos: list[ObjectInfo]) -> pl.DataFrame:
    """Return what a listing says of objects: columns of `LISTED`."""
    columns = {name: [getattr(info, name) for info in infos] for name in LISTED}
    return pl.DataFrame(columns, schema=LISTED)


def _block(number: int) -> str:
    return f"seen-{number:05d}.parquet"


def _write(frame: pl.DataFrame, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    frame.write_parquet(temporary)
    temporary.replace(path)
