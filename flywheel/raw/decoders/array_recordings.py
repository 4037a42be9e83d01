"""Recordings that are read into memory: arrays of NPZ archives, and CSV tables. See `recordings` for their forms."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.raw.decoders.recording import Recording, Samples, lead_names, unit_names
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import (
    BAD_VALUE,
    DECOMPRESSION_BOMB,
    MALFORMED_ROW,
    NO_SIGNAL,
    TRUNCATED,
    UNSUPPORTED,
    WRONG_RATE,
    Refused,
    shown,
)
from flywheel.raw.rows import decode_utf8

UNPACKED = 8  # an NPZ may be so many times `max_bytes` large when unpacked
MOST_MEMBERS = 64  # arrays in an NPZ
EVEN = 0.01  # steps of a time column may differ by this share from their median

_SIGNALS = ("signal", "signals", "data", "ecg", "eeg", "x")
_RATES = ("rate", "fs", "sampling_rate", "frequency")
_NAMES = ("leads", "channels", "sig_name")
_TIMES = ("time", "t", "seconds")


def from_npz(opened: Opened) -> Recording:
    """Read an NPZ archive; see `open_recording`."""
    content, limit = opened.content(), UNPACKED * opened.config.max_bytes
    _check_archive(content, opened.key, limit)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: cast(NDArray[Any], archive[name]) for name in archive.files}
    signal = _signal_array(arrays, opened.key)
    names = [str(name) for name in _first(arrays, _NAMES, np.array([])).ravel().tolist()]
    table = _leads_first(signal, names, opened.key)
    rate = _first(arrays, _RATES, None)
    units = [str(unit) for unit in np.asarray(arrays.get("units", np.array([]))).ravel().tolist()]
    known = None if rate is None else float(np.asarray(rate, np.float64).ravel()[0])
    return _in_memory(table, _declared(known, opened), names, units)


def _check_archive(content: bytes, key: str, limit: int) -> None:
    """Refuse an archive by what its directory and its arrays' headers say, before anything is unpacked."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > limit or len(members) > MOST_MEMBERS:
            found = f"{len(members):,} arrays with {size:,} bytes"
            expected = f"at most {MOST_MEMBERS} with {limit:,} ({UNPACKED} x max_bytes) are unpacked"
            raise Refused(DECOMPRESSION_BOMB, f"{key} holds {found}, {expected}")
        for member in members:
            with archive.open(member) as file:
                _check_array(file, member.file_size, f"{member.filename} in {key}")


def _check_array(file: Any, size: int, where: str) -> None:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise Refused(UNSUPPORTED, f"{where} has version {version} of the format; save it with numpy.savez")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise Refused(UNSUPPORTED, f"{where} holds Python objects, which are never unpickled; save plain arrays")
    count = 1
    for side in shape:
        count *= side
    if count * dtype.itemsize > size:
        raise Refused(TRUNCATED, f"{where} says it has {count:,} values, which its {size:,} bytes cannot hold")


def _signal_array(arrays: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
    named = _first(arrays, _SIGNALS, None)
    numbers = [
        array for array in arrays.values() if array.dtype.kind in "iuf" and array.ndim in (1, 2) and array.size > 1
    ]
    found = named if named is not None else numbers[0] if len(numbers) == 1 else None
    if found is None or found.dtype.kind not in "iuf" or found.ndim not in (1, 2) or not found.size:
        held = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in sorted(arrays.items()))
        expected = f"expected numbers, 1-d or 2-d, under one of {', '.join(_SIGNALS)}"
        raise Refused(NO_SIGNAL, f"{key} holds {shown(held, 200)}; {expected}")
    return found


def _leads_first(signal: NDArray[Any], names: Sequence[str], key: str) -> Samples:
    """The array as (leads, n): by the number of names, else with the longer axis as time."""
    table = signal[None, :] if signal.ndim == 1 else signal
    if names and len(names) not in table.shape:
        raise Refused(MALFORMED_ROW, f"{key} names {len(names)} leads for an array of {table.shape}")
    turned = table.shape[0] != len(names) if names else table.shape[0] > table.shape[1]
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(table.T if turned else table, dtype=np.float32)


def from_csv(opened: Opened) -> Recording:
    """Read a table of samples; see `open_recording`."""
    text = decode_utf8(opened.content(), opened.key)
    first = text.lstrip().partition("\n")[0].split(",")
    headless = all(_is_number(field) for field in first)
    try:
        frame = pl.read_csv(io.StringIO(text), has_header=not headless, infer_schema=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        told = shown(str(error).partition("\n")[0], 150)
        raise Refused(MALFORMED_ROW, f"{opened.key} is no plain table of numbers ({told}); write it as CSV") from None
    columns = {name.strip(): _numbers(frame[name], opened.key) for name in frame.columns}
    time = next((name for name in columns if name.lower() in _TIMES), None)
    rate = _rate_of(columns.pop(time), opened.key) if time else None
    if not columns or not frame.height:
        raise Refused(NO_SIGNAL, f"{opened.key} has no column with samples")
    names = [str(number) for number in range(1, len(columns) + 1)] if headless else list(columns)
    table = np.stack([column.astype(np.float32) for column in columns.values()])
    return _in_memory(table, _declared(rate, opened), names, ())


def _numbers(column: pl.Series, key: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where it says nothing."""
    words = column.str.strip_chars()
    known = words.set(words.str.to_lowercase().is_in(["", "nan", "na", "n/a", "null", "none"]), None)
    values = known.cast(pl.Float64, strict=False)
    wrong = known.is_not_null() & values.is_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        where = f"row {row + 1} of {key} says {shown(column[row])} under '{column.name}'"
        raise Refused(BAD_VALUE, f"{where}; a signal holds numbers only")
    return values.fill_null(float("nan")).to_numpy()


def _rate_of(times: NDArray[np.float64], key: str) -> float:
    """The rate that a column of seconds tells."""
    steps = np.diff(times)
    step = float(np.median(steps)) if len(steps) else float("nan")
    if not step > 0 or not np.isfinite(times).all():
        raise Refused(WRONG_RATE, f"the times of {key} do not rise; expected seconds from sample to sample")
    if np.abs(steps - step).max() > EVEN * step:
        raise Refused(WRONG_RATE, f"the samples of {key} do not follow evenly; resample it")
    return float(f"{(len(times) - 1) / (times[-1] - times[0]):.6g}")


def _in_memory(table: Samples, rate: float, names: Sequence[str], units: Sequence[str]) -> Recording:
    return Recording(
        rate,
        lead_names(names, table.shape[0]),
        unit_names(units),
        table.shape[1],
        lambda start, stop: table[:, start:stop],
    )


def _declared(rate: float | None, opened: Opened) -> float:
    """The rate that the file tells, else the one its source declares."""
    known = opened.config.signals.rate if rate is None else rate
    if known is None:
        raise Refused(
            WRONG_RATE, f"{opened.key} does not tell its sampling rate; declare it in `signals.rate` of the source"
        )
    return known


def _first(arrays: Mapping[str, NDArray[Any]], names: Sequence[str], default: Any) -> Any:
    return next((arrays[name] for name in names if name in arrays), default)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
