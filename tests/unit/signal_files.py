"""Recordings in each form that is read, made on the spot."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 250.0


def beats(seconds: float, rate: float = RATE, leads: int = 2, bpm: float = 72, seed: int = 0) -> NDArray[np.float64]:
    """Simulated heart beats (leads, n) in mV: a bump for each beat, some noise."""
    random = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    phase = (times * bpm / 60) % 1
    spike = np.exp(-(((phase - 0.3) / 0.02) ** 2)) + 0.2 * np.exp(-(((phase - 0.6) / 0.06) ** 2))
    return np.stack([(1 + 0.3 * lead) * spike + 0.02 * random.normal(size=len(times)) for lead in range(leads)])


def npz(samples: NDArray[Any], rate: float | None = RATE, **more: Any) -> bytes:
    file = io.BytesIO()
    arrays: dict[str, Any] = {"signal": samples, **more}
    if rate is not None:
        arrays["fs"] = rate
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def csv_of(samples: NDArray[Any], names: Sequence[str], rate: float | None = None) -> bytes:
    times = [] if rate is None else [np.arange(samples.shape[1]) / rate]
    header = ",".join([*(["time"] if times else []), *names])
    rows = "\n".join(",".join(f"{value:.6g}" for value in row) for row in np.stack([*times, *samples], axis=1))
    return f"{header}\n{rows}\n".encode()


def edf(folder: Path, samples: NDArray[Any], rates: Sequence[float], names: Sequence[str]) -> bytes:
    import edfio

    seconds = samples.shape[1] / rates[0]
    signals = [
        edfio.EdfSignal(lead[: round(seconds * rate)], rate, label=name, physical_dimension="uV")
        for lead, rate, name in zip(samples, rates, names)
    ]
    path = folder / "made.edf"
    edfio.Edf(signals).write(path)
    return path.read_bytes()


def wfdb_record(
    folder: Path, samples: NDArray[Any], rate: float, names: Sequence[str], form: str = "16"
) -> tuple[bytes, bytes]:
    """Header and data of a record named `r`."""
    import wfdb

    count = len(names)
    wfdb.wrsamp(
        "r",
        fs=rate,
        units=["mV"] * count,
        sig_name=list(names),
        p_signal=samples.T,
        fmt=[form] * count,
        write_dir=str(folder),
    )
    return (folder / "r.hea").read_bytes(), (folder / "r.dat").read_bytes()
