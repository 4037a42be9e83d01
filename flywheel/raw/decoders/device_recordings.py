"""Recordings of devices, read window by window from disk: EDF, and WFDB with the data files beside its header."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from flywheel.raw.decoders.recording import Recording, Samples, lead_names, unit_names
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import (
    MISSING_COMPANION,
    MISSING_OBJECT,
    NO_SIGNAL,
    TOO_LARGE,
    TRUNCATED,
    UNDECODABLE,
    UNSUPPORTED,
    Refused,
    shown,
)
from flywheel.raw.rows import Scalar

HEADER_BYTES = 1_000_000  # of a WFDB header
_WFDB_BYTES = {
    "16": 2.0,
    "61": 2.0,
    "160": 2.0,
    "24": 3.0,
    "32": 4.0,
    "80": 1.0,
    "212": 1.5,
    "310": 4 / 3,
    "311": 4 / 3,
}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,200}")


def from_edf(opened: Opened, held: ExitStack) -> Recording:
    """Open an EDF file; `held` keeps it on disk while it is read."""
    import edfio  # a second of imports that only EDF needs

    path = held.enter_context(opened.file())
    _check_edf(path, opened.key)
    edf = edfio.read_edf(path, lazy_load_data=True, header_encoding="latin-1")
    if not edf.is_continuous:
        raise Refused(UNSUPPORTED, f"{opened.key} has gaps between its data records (EDF+D); cut it into whole pieces")
    chosen = _of_one_rate(edf.signals, opened.config.signals.rate)
    if not chosen:
        raise Refused(NO_SIGNAL, f"{opened.key} has no signals, only annotations")
    rate = float(chosen[0].sampling_frequency)
    length = edf.num_data_records * chosen[0].samples_per_data_record

    def read(start: int, stop: int) -> Samples:
        slices = [signal.get_data_slice(start / rate, stop / rate) for signal in chosen]
        with np.errstate(over="ignore"):
            return np.stack(slices).astype(np.float32)

    left = len(edf.signals) - len(chosen)
    told: dict[str, Scalar] = {"leads_left_out": left} if left else {}
    names = [signal.label for signal in chosen]
    return Recording(
        rate, lead_names(names, len(chosen)), unit_names([s.physical_dimension for s in chosen]), length, read, told
    )


def _of_one_rate(signals: Sequence[Any], wanted: float | None) -> list[Any]:
    """The leads of the wanted rate; else of the rate that most have, the higher one of equals."""
    rates = [float(signal.sampling_frequency) for signal in signals]
    if wanted not in rates:
        wanted = max(rates, key=lambda rate: (rates.count(rate), rate), default=None)
    return [signal for signal, rate in zip(signals, rates) if rate == wanted]


def _check_edf(path: Path, key: str) -> None:
    """Compare what the header says with the size of the file."""
    with path.open("rb") as file:
        head = file.read(256)
        if head[:8].strip() != b"0":
            raise Refused(UNDECODABLE, f"{key} does not begin as an EDF file does")
        header, records, signals = int(head[184:192]), int(head[236:244]), int(head[252:256])
        if signals < 1 or header != 256 * (signals + 1):
            raise Refused(UNDECODABLE, f"the header of {key} contradicts itself: {signals} signals in {header} bytes")
        file.seek(256 + 216 * signals)
        counts = [int(file.read(8)) for _ in range(signals)]
    if min(counts) < 1:
        raise Refused(UNDECODABLE, f"a signal of {key} has {min(counts)} samples in a data record")
    expected, size = header + 2 * sum(counts) * records, path.stat().st_size
    if records < 0 or size < expected:
        said = "was never closed" if records < 0 else f"has {size:,} bytes where its header says {expected:,}"
        raise Refused(TRUNCATED, f"{key} {said}; upload it whole")
    if size > expected:
        raise Refused(UNDECODABLE, f"{key} has {size:,} bytes where its header says {expected:,}; export it anew")


def from_wfdb(opened: Opened, held: ExitStack) -> Recording:
    """Open a WFDB record; `held` keeps its files on disk while it is read."""
    wfdb: Any = import_module("wfdb")  # a second of imports that only WFDB needs

    folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="flywheel-")))
    header = opened.content()
    if len(header) > HEADER_BYTES:
        raise Refused(TOO_LARGE, f"{opened.key} has {len(header):,} bytes; a WFDB header has at most {HEADER_BYTES:,}")
    name = str(folder / "recording")
    (folder / "recording.hea").write_bytes(header)
    record: Any = wfdb.rdheader(name)
    if not isinstance(record, wfdb.Record):
        raise Refused(UNSUPPORTED, f"{opened.key} is a record of several segments; write each as a record of its own")
    if not record.n_sig or not getattr(record, "file_name", None):
        raise Refused(NO_SIGNAL, f"{opened.key} names no signals")
    sizes = {file: _fetch(opened, file, folder, held) for file in dict.fromkeys(record.file_name)}
    length = _wfdb_length(record, sizes, opened.key)

    def read(start: int, stop: int) -> Samples:
        part: Any = wfdb.rdrecord(name, sampfrom=start, sampto=stop)
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(part.p_signal.T, dtype=np.float32)

    return Recording(
        float(record.fs), lead_names(record.sig_name, record.n_sig), unit_names(record.units), length, read
    )


def _fetch(opened: Opened, name: str, folder: Path, held: ExitStack) -> int:
    """Lay a data file beside the header; return its size. Only a plain name stays within the object's own folder."""
    if not _PLAIN_NAME.fullmatch(str(name)) or name == "recording.hea":
        raise Refused(UNSUPPORTED, f"{opened.key} names the data file {shown(name)}; expected a plain name beside it")
    try:
        path = held.enter_context(opened.beside(name).file())
    except Refused as refused:
        if refused.refusal.reason != MISSING_OBJECT:
            raise
        raise Refused(MISSING_COMPANION, f"{opened.key} needs the file {name} beside it; upload that too") from None
    (folder / name).symlink_to(path.resolve())
    return path.stat().st_size


def _wfdb_length(record: Any, sizes: Mapping[str, int], key: str) -> int:
    """Frames of the record; refused where a data file is too short for them, or of a form that is not read."""
    if record.sig_len is None:
        raise Refused(UNSUPPORTED, f"the header {key} does not say how many samples there are; add them")
    odd = sorted({str(form) for form in record.fmt} - _WFDB_BYTES.keys())
    if odd:
        raise Refused(UNSUPPORTED, f"{key} has samples in format {', '.join(odd)}; expected {', '.join(_WFDB_BYTES)}")
    frames: list[int] = []
    for file, size in sizes.items():
        mine = [place for place, name in enumerate(record.file_name) if name == file]
        width = _WFDB_BYTES[record.fmt[mine[0]]] * sum(record.samps_per_frame[place] or 1 for place in mine)
        offset = record.byte_offset[mine[0]] or 0
        frames.append(int((size - offset + 1) / width) if width % 1 else int((size - offset) / width))
    held = min(frames)
    if held < record.sig_len:
        message = f"{key} says {record.sig_len:,} samples, but its data file holds {held:,}; upload that whole"
        raise Refused(TRUNCATED, message)
    return int(record.sig_len)
