"""Opens recordings: NPZ and CSV as arrays in memory, EDF and WFDB window by window from disk.

- NPZ: the samples under `signal`, `signals`, `data`, `ecg`, `eeg` or `x` (or the only array of numbers that is one),
  1-d or 2-d; the rate under `rate`, `fs`, `sampling_rate` or `frequency`; names under `leads`, `channels` or
  `sig_name`; `units`. Without names the longer axis is time. Nothing is unpickled.
- CSV: one column a lead; a column `time`, `t` or `seconds` tells the rate, without it `signals.rate` declares it.
- WFDB: the header, and beside it the data files that it names.
- EDF and EDF+ without gaps: the leads of the rate that most leads have (of `signals.rate` where that is declared).
"""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from flywheel.objects import StoreUnavailable
from flywheel.raw.decoders.array_recordings import from_csv, from_npz
from flywheel.raw.decoders.device_recordings import from_edf, from_wfdb
from flywheel.raw.decoders.recording import Recording
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import (
    UNDECODABLE,
    Refused,
    shown,
)

Result = TypeVar("Result")


@contextmanager
def open_recording(opened: Opened) -> Generator[Recording]:
    """Open the recording of an object by its ending.

    Raises:
        Refused: it is damaged, incomplete, or not of a form that is read.
    """
    ending = opened.key.lower().rpartition(".")[2]
    if ending in ("npz", "csv"):
        read = from_npz if ending == "npz" else from_csv
        yield _explained(opened.key, lambda: read(opened))
        return
    with ExitStack() as held:
        open_file = from_edf if ending == "edf" else from_wfdb
        recording = _explained(opened.key, lambda: open_file(opened, held))
        lazily = recording.read
        yield Recording(
            recording.rate,
            recording.leads,
            recording.units,
            recording.length,
            lambda start, stop: _explained(opened.key, lambda: lazily(start, stop)),
            recording.told,
        )


def _explained(key: str, work: Callable[[], Result]) -> Result:
    """Turn whatever a library stumbles over in a damaged file into a refusal of it."""
    try:
        return work()
    except (Refused, StoreUnavailable, MemoryError):
        raise
    except Exception as error:  # on damaged files parsers raise whatever they meet
        told = f"{type(error).__name__}: {shown(str(error), 120)}"
        raise Refused(
            UNDECODABLE, f"{key} is no readable recording ({told}); upload it again or export it anew"
        ) from None
