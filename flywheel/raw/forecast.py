"""What would come in if the wheel took in now: reads listings, `objects` and a sample of objects; writes nothing.

The listing is compared by the same sweep, and objects are decoded by the same decoders, as when they are taken in.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from flywheel.errors import ConfigError
from flywheel.identity import stable_fraction
from flywheel.intervals import wilson
from flywheel.objects import Source, key_problem
from flywheel.raw.arrivals import count_arrivals, known_objects
from flywheel.raw.companions import is_companion
from flywheel.raw.decoders import decode, decoder_of
from flywheel.raw.erased import Erased, read_erased
from flywheel.raw.manifest import read_manifest
from flywheel.raw.opened import Opened
from flywheel.raw.patterns import is_manifest
from flywheel.raw.reasons import Refusal, Refused
from flywheel.raw.streams import in_order
from flywheel.raw.sweeps import Sweep
from flywheel.tables import Tables

SAMPLE = 200  # objects decoded of each source and ending
EXAMPLES = 5  # refusals shown of each kind
COMPANION = "companion"  # what is no data by itself
NONE = "(none)"
Row = dict[str, Any]


@dataclass(frozen=True)
class Forecast:
    """The objects of one source and ending that would come in. Estimates are sums where all were decoded."""

    ending: str  # ".png"; "manifest" for what describes others
    objects: int
    bytes: int
    decoded: int
    exact: bool  # whether every object was decoded or could be judged by the listing alone
    items: dict[str, int]  # by modality
    items_low: int  # of 95 % intervals of the share of objects that are refused
    items_high: int
    refused: dict[str, int]  # reason -> rows in quarantine
    examples: tuple[tuple[str, str, str], ...]  # key, reason, message
    seconds_low: float  # to read and decode them all
    seconds_high: float


@dataclass(frozen=True)
class SourceForecast:
    """What taking in now would do to one source's data."""

    source: str
    listed: int
    listing_seconds: float
    new: int
    changed: int
    gone: int
    young: int  # too young to be taken in yet
    bytes: int  # of what is new or changed
    kinds: tuple[Forecast, ...]

    @property
    def seconds(self) -> tuple[float, float]:
        """How long listing, reading and decoding should take, at least and at most (95 %)."""
        low, high = (sum(getattr(kind, name) for kind in self.kinds) for name in ("seconds_low", "seconds_high"))
        return self.listing_seconds + low, self.listing_seconds + high


def forecast_arrivals(
    tables: Tables,
    sources: Mapping[str, Source],
    *,
    classes: Collection[str],
    now: datetime,
    settle_seconds: float = 0,
    sample: int = SAMPLE,
    seed: int = 0,
    workers: int = 2,
) -> list[SourceForecast]:
    """Say what `plan_arrivals` and `register_arrival` would do now, without doing it.

    What the listing tells (endings, sizes, keys) is judged for every object; of the rest, a seeded sample of each
    ending is read and decoded. Messages of a queue are left where they are: the listing tells the same, later.

    Args:
        classes: the labels of the label spec.
        now: the present time, UTC.
        settle_seconds: objects younger than this are counted and wait.
        sample: objects decoded of each source and ending; all where there are no more.
        seed: of the sample.
        workers: threads that read and decode, as in registering: the time is measured with them.

    Raises:
        ConfigError: `sample` is below 1.
        DataError: a source's folder does not exist.
        StoreUnavailable: a source cannot be reached.

    Cost: one listing of every source, and `sample` objects of each ending.
    """
    if sample < 1:
        raise ConfigError(f"a sample needs at least 1 object, found {sample}")
    arrivals, erased = count_arrivals(tables), read_erased(tables)
    forecasts: list[SourceForecast] = []
    for sid in sorted(sources):
        known, started = known_objects(tables, sid), time.monotonic()
        sweep = Sweep(sources[sid], known, arrivals, now=now, settle=timedelta(seconds=settle_seconds))
        sweep.go_on(lambda: False)
        listing = time.monotonic() - started
        rows = _without(erased, sid, sweep.changes())
        looker = _Looker(sources[sid], frozenset(classes), sample, str(seed), workers)
        active = rows.filter(pl.col("state") == "active")
        there = known.filter("active").select("key")
        forecasts.append(
            SourceForecast(
                source=sid,
                listed=sweep.keys,
                listing_seconds=listing,
                new=active.join(there, on="key", how="anti").height,
                changed=active.join(there, on="key", how="semi").height,
                gone=rows.height - active.height,
                young=sweep.young,
                bytes=int(active["size"].sum()),
                kinds=tuple(looker.look(active)),
            )
        )
    return forecasts


def _without(erased: Erased, source: str, rows: pl.DataFrame) -> pl.DataFrame:
    return erased.without(rows.with_columns(source=pl.lit(source))).drop("source")


@dataclass(frozen=True)
class _Seen:
    """What decoding one object gave."""

    key: str
    items: Counter[str]
    refusals: list[Refusal]
    seconds: float


@dataclass(frozen=True)
class _Looker:
    source: Source
    classes: frozenset[str]
    sample: int
    seed: str
    workers: int

    def look(self, rows: pl.DataFrame) -> Iterator[Forecast]:
        """Yield a forecast for each ending, in alphabetical order."""
        kinds = [self._kind(key) for key in rows["key"]]
        cheap = [self._is_judged_by_listing(key, size) for key, size in rows.select("key", "size").iter_rows()]
        rows = rows.with_columns(kind=pl.Series(kinds, dtype=pl.String), cheap=pl.Series(cheap, dtype=pl.Boolean))
        for kind in sorted(set(kinds)):
            mine = rows.filter(pl.col("kind") == kind).sort("key")
            yield self._forecast(kind, mine.filter("cheap"), mine.filter(~pl.col("cheap")))

    def _kind(self, key: str) -> str:
        if is_manifest(self.source.config.manifest, key):
            return "manifest"
        if is_companion(self.source.config, key):
            return COMPANION
        decoder = decoder_of(key, self.source.config.modality)
        known = next((ending for ending in decoder.endings if key.lower().endswith(ending)), NONE) if decoder else NONE
        name = key.rpartition("/")[2].lower()
        return known if decoder else f".{name.rpartition('.')[2][:12]}" if "." in name[1:] else NONE

    def _is_judged_by_listing(self, key: str, size: int) -> bool:
        """Whether the decoder refuses the object without reading any of it."""
        config = self.source.config
        if is_manifest(config.manifest, key) or is_companion(config, key):
            return False
        decoder = decoder_of(key, self.source.config.modality)
        wrong = decoder is None or (config.modality != "auto" and config.modality not in decoder.modalities)
        return wrong or size == 0 or size > max(config.max_bytes, config.max_file_bytes) or key_problem(key) is not None

    def _forecast(self, kind: str, cheap: pl.DataFrame, dear: pl.DataFrame) -> Forecast:
        started = time.monotonic()
        seen = list(in_order(self._see, self._drawn(dear), workers=self.workers))
        low, high = _seconds(seen, time.monotonic() - started, dear.height)
        scale = dear.height / max(len(seen), 1)
        items = sum((one.items for one in seen), Counter[str]())
        refused, shown = _told(seen)
        certain, certainly_shown = _told(self._see(row) for row in cheap.iter_rows(named=True))
        counted = {reason: round(count * scale) for reason, count in refused.items()}
        least, most = _bounds(seen, dear.height)
        return Forecast(
            ending=kind,
            objects=cheap.height + dear.height,
            bytes=int(cheap["size"].sum()) + int(dear["size"].sum()),
            decoded=len(seen),
            exact=len(seen) == dear.height,
            items={modality: round(count * scale) for modality, count in sorted(items.items())},
            items_low=least,
            items_high=most,
            refused=dict(sorted((Counter(counted) + certain).items())),
            examples=(*certainly_shown, *shown),
            seconds_low=low,
            seconds_high=high,
        )

    def _drawn(self, rows: pl.DataFrame) -> list[Row]:
        """The objects of the sample: those with the smallest hash, so that a larger sample holds a smaller one."""
        drawn = pl.Series("drawn", [stable_fraction(key, self.seed) for key in rows["key"]], pl.Float64)
        return rows.with_columns(drawn).sort("drawn", "key").head(self.sample).to_dicts()

    def _see(self, row: Row) -> _Seen:
        started = time.monotonic()
        key, opened = row["key"], Opened(self.source, row["key"], row["size"])
        if is_manifest(self.source.config.manifest, key):
            items, refusals = Counter[str](), self._read_manifest(opened, row)
        elif is_companion(self.source.config, key):  # read with what it belongs to
            items, refusals = Counter[str](), list[Refusal]()
        else:
            found = list(decode(opened))
            refusals = [one for one in found if isinstance(one, Refusal)]
            items = Counter(one.modality for one in found if not isinstance(one, Refusal))
        return _Seen(key, items, refusals, time.monotonic() - started)

    def _read_manifest(self, opened: Opened, row: Row) -> list[Refusal]:
        try:
            content = opened.content()
        except Refused as refused:
            return [refused.refusal]
        read = read_manifest(content, opened.key, arrival=0, at=row["modified_at"], classes=self.classes)
        return list(read.refusals)


def _bounds(seen: Sequence[_Seen], objects: int) -> tuple[int, int]:
    """Return how many items there will be at least and at most, by the share of objects that give some."""
    count = sum(one.items.total() for one in seen)
    if not seen or len(seen) == objects:
        return count, count
    good = sum(bool(one.items) for one in seen)
    share = wilson(good, len(seen))
    each = count / max(good, 1)
    return round(share.low * objects * each), round(share.high * objects * each)


def _seconds(seen: Sequence[_Seen], wall: float, objects: int) -> tuple[float, float]:
    """Return how long all will take, at least and at most: the mean of the sample, give or take two standard errors.

    A sample smaller than all says nothing about a colder cache or a slower hour: a tenth is allowed on both sides.
    """
    if not seen:
        return 0.0, 0.0
    mean = sum(one.seconds for one in seen) / len(seen)
    spread = (sum((one.seconds - mean) ** 2 for one in seen) / max(len(seen) - 1, 1)) ** 0.5
    error = min(2 * spread / len(seen) ** 0.5 / mean, 1.0) if mean else 0.0
    expected = wall / len(seen) * objects
    return expected * (1 - error) * 0.9, expected * (1 + error) * 1.1


def _told(seen: Iterable[_Seen]) -> tuple[Counter[str], list[tuple[str, str, str]]]:
    """Count refusals by reason, and keep the first examples of each: key, reason, message."""
    reasons, shown = Counter[str](), list[tuple[str, str, str]]()
    for one in seen:
        for refusal in one.refusals:
            reasons[refusal.reason] += 1
            if reasons[refusal.reason] <= EXAMPLES:
                shown.append((one.key, refusal.reason, refusal.message))
    return reasons, shown
