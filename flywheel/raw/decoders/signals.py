"""Signals: recordings of one or many leads (NPZ, CSV, WFDB, EDF), cut into windows, one datum each.

The canonical content of a window is one line of JSON, `{"leads": ["II", "V5"], "rate": 360.0}`, then its samples:
float32, little-endian, one lead after the other, in the recording's own unit, NaN where a sample is missing.
`content_id` is its digest. A window is named by where it begins, `t=000010.000` in seconds.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flywheel.config import SignalsConfig
from flywheel.identity import content_id
from flywheel.raw.datum import Datum
from flywheel.raw.decoders.recording import Recording, Samples
from flywheel.raw.decoders.recordings import open_recording
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import NO_SIGNAL, NOT_FINITE, TOO_LARGE, TOO_LONG, TOO_SHORT, WRONG_RATE, Refusal, Refused

SIGNAL_DECODER = "signal-1"
SIGNAL_ENDINGS = (".npz", ".hea", ".edf")
DECLARED_ENDINGS = (".csv",)  # a recording only where the source says that it holds signals

MOST_SAMPLES = 50_000_000  # of all leads of one window
HIGHEST_RATE = 1_000_000.0  # Hz

_MISSING = np.float32(np.nan)  # one bit pattern for all


@dataclass(frozen=True)
class Signal:
    """One window: `samples` (leads, n) float32 with NaN where missing, `rate` in Hz."""

    rate: float
    leads: tuple[str, ...]
    samples: Samples


def decode_signal(opened: Opened, contents: bool) -> Iterator[Datum | Refusal]:
    """Decode the windows of a recording in the order of time; see `flywheel.raw.decoders.Decoder`."""
    config = opened.config.signals
    with open_recording(opened) as recording:
        _check(recording, opened.key, config)
        for start, stop in _windows(recording, opened.key, config):
            part = f"t={start / recording.rate:010.3f}"
            samples = _cleaned(recording.read(start, stop))
            if np.isnan(samples).all():
                message = f"the window {part} of {opened.key} holds no number at all; was the sensor connected?"
                yield Refusal(NOT_FINITE, message, part)
                continue
            yield _datum(recording, part, start, samples, contents)


def canonical_signal(signal: Signal) -> bytes:
    """Return a window in its canonical form, see the module's words."""
    header = json.dumps({"leads": list(signal.leads), "rate": signal.rate}, sort_keys=True)
    return header.encode("ascii") + b"\n" + np.ascontiguousarray(signal.samples, dtype="<f4").tobytes()


def parse_signal(data: bytes) -> Signal:
    """Read a window in its canonical form."""
    head, _, body = data.partition(b"\n")
    told = json.loads(head)
    leads = tuple(told["leads"])
    return Signal(float(told["rate"]), leads, np.frombuffer(body, "<f4").reshape(len(leads), -1))


def _check(recording: Recording, key: str, config: SignalsConfig) -> None:
    """Refuse what no window can be cut from, or should not be."""
    rate, leads = recording.rate, len(recording.leads)
    if not leads or recording.length < 1:
        raise Refused(NO_SIGNAL, f"{key} holds no samples; expected at least one lead")
    if not 0 < rate <= HIGHEST_RATE:
        raise Refused(WRONG_RATE, f"{key} says {rate:g} samples per second; expected up to {HIGHEST_RATE:,.0f}")
    if config.rate is not None and abs(rate - config.rate) > 1e-6 * config.rate:
        expected = f"its source is declared to hold {config.rate:g} (signals.rate)"
        raise Refused(WRONG_RATE, f"{key} has {rate:g} samples per second, but {expected}")
    if leads > config.max_leads:
        raise Refused(
            TOO_LARGE, f"{key} has {leads:,} leads, at most {config.max_leads:,} are read (signals.max_leads)"
        )
    seconds = recording.length / rate
    if seconds > config.max_seconds:
        limit = f"at most {config.max_seconds:,.0f} s are read (signals.max_seconds)"
        raise Refused(TOO_LONG, f"{key} lasts {seconds:,.0f} s, {limit}")
    if min(recording.length, config.window_seconds * rate) * leads > MOST_SAMPLES:
        raise Refused(TOO_LARGE, f"a window of {key} has more than {MOST_SAMPLES:,} samples; shorten the windows")


def _windows(recording: Recording, key: str, config: SignalsConfig) -> Iterator[tuple[int, int]]:
    """Yield first sample and end of each window; what is left at the end is one too if it is long enough."""
    rate, length = recording.rate, recording.length
    shortest_seconds = config.window_seconds / 2 if config.shortest_seconds is None else config.shortest_seconds
    window, step = (
        max(1, round(s * rate)) for s in (config.window_seconds, config.step_seconds or config.window_seconds)
    )
    shortest = min(window, max(1, round(shortest_seconds * rate)))
    if length < shortest:
        limit = f"at least {shortest_seconds:g} s are needed (signals.shortest_seconds)"
        raise Refused(TOO_SHORT, f"{key} lasts {length / rate:.3f} s, {limit}")
    for start in range(0, length, step):
        stop = min(start + window, length)
        if stop - start >= shortest:
            yield start, stop
        if stop == length:
            return


def _cleaned(samples: Samples) -> Samples:
    """Samples with one kind of NaN, also where they are infinite."""
    return np.where(np.isfinite(samples), samples, _MISSING).astype(np.float32, copy=False)


def _datum(recording: Recording, part: str, start: int, samples: Samples, contents: bool) -> Datum:
    content = canonical_signal(Signal(recording.rate, recording.leads, samples))
    missing = np.isnan(samples)
    spread = np.where(missing, -np.inf, samples).max(axis=1) - np.where(missing, np.inf, samples).min(axis=1)
    told = {
        "rate": recording.rate,
        "leads": ", ".join(recording.leads),
        "start": round(start / recording.rate, 6),
        "seconds": round(samples.shape[1] / recording.rate, 6),
        "units": ", ".join(dict.fromkeys(recording.units)),
        "missing_share": round(float(missing.mean()), 4),
        "flat_share": round(float((spread <= 0).mean()), 4),  # of the leads; without any number it is flat too
        **recording.told,
    }
    identity = content_id(content, SIGNAL_DECODER)
    return Datum(part, "signal", identity, len(content), told=told, data=content if contents else None, piece=True)
