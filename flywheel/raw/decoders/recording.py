"""What every kind of recording is once it is open, whatever file it came from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flywheel.raw.rows import Scalar

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """An open recording: `read(start, stop)` gives its samples of all leads, (leads, stop - start) float32."""

    rate: float  # Hz
    leads: tuple[str, ...]
    units: tuple[str, ...]
    length: int  # samples of a lead
    read: Callable[[int, int], Samples]
    told: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])


def lead_names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Return names of the leads for people: printable, short, numbers where there are none."""
    given = [*(names or ()), *("" for _ in range(count))][:count]
    plain = ("".join(sign for sign in str(name) if sign.isprintable()).strip()[:64] for name in given)
    return tuple(name or str(number) for number, name in enumerate(plain, start=1))


def unit_names(units: Sequence[str | None] | None) -> tuple[str, ...]:
    """Return the units that are told, printable and short."""
    plain = ("".join(sign for sign in str(unit or "") if sign.isprintable()).strip()[:32] for unit in units or ())
    return tuple(unit for unit in plain if unit)
