"""Signals to vectors without a model: what their spectrum, their amplitudes and their rhythm are like.

Made for signals in which something recurs (heart beats, breath, machines); any number of leads and any rate. Of each
lead, after its median is taken off and its range scaled to 1:

- the logarithm of the share of its power in each of 40 bands from 0.1 to 125 Hz, equally wide on a logarithmic scale
  (none above half its rate);
- quantiles of its values and of the steps between them, and the logarithm of its range in its own unit;
- the autocorrelation of how steeply it moves (smoothed over 150 ms), from 0.2 to 2 s: the peaks say how fast and how
  evenly beats follow one another.

Mean and spread over the leads stand side by side, at unit length. Nothing of it is learned.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from flywheel.encoders.protocol import Content, Vectors
from flywheel.errors import DataError
from flywheel.raw.decoders.signals import parse_signal

VERSION = "v1"
EDGES = np.geomspace(0.1, 125.0, 41)  # Hz
FLOOR = 1e-4  # share of power below which a band is silent
QUANTILES = (0.01, 0.05, 0.25, 0.75, 0.95, 0.99)
GRID = 50.0  # Hz, of the autocorrelation
LAGS = np.arange(10, 101)  # steps of that grid: 0.2 to 2 s
SMOOTH = 0.15  # s
WEIGHTS = (1.0, 1.0, 1.5)  # of spectrum, amplitudes and rhythm
PER_LEAD = len(EDGES) - 1 + 2 * len(QUANTILES) + 2 + len(LAGS)
DIM = 2 * PER_LEAD

Numbers = NDArray[np.float64]

_np = cast(Any, np)  # its annotations lose track of types here


class SignalEncoder:
    """Features of recurring signals; its members are those of `Encoder`. It knows no words."""

    modality = "signal"
    id = f"signal-spectrum_{VERSION}"
    dim = DIM
    words_id = ""
    words_dim = 0

    def __init__(self) -> None:
        self.contents_encoded = 0

    def encode(self, batch: Sequence[Content]) -> Vectors:
        broken = dict[str, str]()
        vectors = np.zeros((len(batch), DIM), np.float32)
        self.contents_encoded += len(batch)
        for row, content in enumerate(batch):
            try:
                signal = parse_signal(content.data)
                vectors[row] = describe(signal.samples.astype(np.float64), signal.rate)
            except (ValueError, KeyError) as error:  # of json and numpy: these are not the bytes of a window
                broken[content.content_id] = str(error)
        if broken:
            first, told = next(iter(broken.items()))
            raise DataError(f"{len(broken)} signals cannot be read, the first is {first}: {told}", tuple(broken))
        return vectors

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        return np.zeros((len(texts), 0), np.float32)

    def to_words(self, vectors: Vectors) -> Vectors:
        return np.zeros((len(vectors), 0), np.float32)


def describe(samples: Numbers, rate: float) -> Vectors:
    """Return the features (DIM,) of samples (leads, n) at unit length; NaN is filled from its neighbors in time."""
    filled = _filled(samples)
    centered: Numbers = filled - _np.median(filled, axis=1, keepdims=True)
    low, high = _quantiles(centered, (0.01, 0.99)).T
    spread = high - low
    scale = _np.where(spread > 0, spread, np.maximum(_np.abs(centered).max(axis=1), 1e-30))[:, None]
    scaled = _np.clip(centered / scale, -10, 10)
    groups = (_spectrum(scaled, rate), _amplitudes(scaled, scale[:, 0], rate), _rhythm(scaled, np.isnan(samples), rate))
    leads = np.concatenate([weight * group for weight, group in zip(WEIGHTS, groups)], axis=1)
    pooled = np.concatenate([leads.mean(axis=0), leads.std(axis=0)])
    return (pooled / max(float(np.linalg.norm(pooled)), 1e-12)).astype(np.float32)


def _filled(samples: Numbers) -> Numbers:
    """Samples without gaps: a straight line over each, zeros where a lead has no number at all."""
    filled = samples.copy()
    places = _np.arange(samples.shape[1])
    for lead in filled:
        missing = np.isnan(lead)
        if missing.all():
            lead[:] = 0
        elif missing.any():
            lead[missing] = _np.interp(places[missing], places[~missing], lead[~missing])
    return filled


def _spectrum(scaled: Numbers, rate: float) -> Numbers:
    """Log10 of the share of power in each band (leads, bands), centered at a hundredth; bands of any width."""
    n = scaled.shape[1]
    power = _np.abs(np.fft.rfft((scaled - scaled.mean(axis=1, keepdims=True)) * np.hanning(n), axis=1)) ** 2
    below = _sums(power)
    edges: Numbers = (
        (_np.arange(float(below.shape[1])) - 0.5) * rate / n
    )  # each bin's power lies evenly around its frequency
    parts: list[Numbers] = [_np.diff(_np.interp(EDGES, edges, row)) / max(float(row[-1]), 1e-30) for row in below]
    shares = np.stack(parts)
    return (np.log10(shares + FLOOR) + 2) / 2 / np.sqrt(len(EDGES) - 1)


def _amplitudes(scaled: Numbers, scale: Numbers, rate: float) -> Numbers:
    """Quantiles of values and steps, the share of the greatest steps, the range (leads, 14)."""
    values = _quantiles(scaled, QUANTILES)
    steps = _np.diff(scaled, axis=1) * rate if scaled.shape[1] > 1 else np.zeros_like(scaled)
    steepness = np.log10(_quantiles(_np.abs(steps), QUANTILES) + 1e-3) / 3
    peaks = _np.abs(scaled).max(axis=1, keepdims=True) / 10
    size = np.log10(np.maximum(scale, 1e-9))[:, None] / 10
    return np.concatenate([values, steepness, peaks, size], axis=1) / np.sqrt(2 * len(QUANTILES) + 2)


def _rhythm(scaled: Numbers, missing: NDArray[np.bool_], rate: float) -> Numbers:
    """Autocorrelation of steepness (leads, lags); zeros beyond half the window, where nothing recurs in it.

    Where samples are missing the signal moves neither more nor less than on the whole.
    """
    n = scaled.shape[1]
    steep = _np.abs(_np.diff(scaled, axis=1, prepend=scaled[:, :1]))
    width = max(1, round(SMOOTH * rate))
    sums = _sums(steep)
    times = _np.arange(0, n / rate, 1 / GRID) * rate
    lower, upper = _np.clip(times - width / 2, 0, n), _np.clip(times + width / 2, 0, n)
    grid = _np.arange(n + 1)
    moved: list[Numbers] = [_np.interp(upper, grid, row) - _np.interp(lower, grid, row) for row in sums]
    known = ~missing[:, np.minimum(times.astype(np.int64), n - 1)]
    envelope = np.stack(moved) * known
    envelope -= known * envelope.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    size = 2 * envelope.shape[1]
    transformed = np.fft.rfft(envelope, size, axis=1)
    full = np.fft.irfft(_np.abs(transformed) ** 2, size, axis=1)
    lags = LAGS[envelope.shape[1] / 2 + 1 > LAGS]
    found = np.zeros((len(envelope), len(LAGS)))
    overlap = envelope.shape[1] / (envelope.shape[1] - lags)  # fewer pairs lie further apart
    found[:, : len(lags)] = full[:, lags] * overlap / np.maximum(full[:, :1], 1e-30)
    return found / np.sqrt(len(LAGS)) * 3


def _quantiles(rows: Numbers, shares: Sequence[float]) -> Numbers:
    """Quantiles of each row, (rows, shares)."""
    found: Numbers = _np.quantile(rows, shares, axis=1)
    return found.T


def _sums(rows: Numbers) -> Numbers:
    """Running sums of each row, (rows, n + 1), from zero."""
    found: Numbers = _np.cumsum(rows, axis=1)
    return np.concatenate([np.zeros((len(rows), 1)), found], axis=1)
