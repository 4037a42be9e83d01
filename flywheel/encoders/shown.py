"""What a person sees of a content: words to read, or a picture to look at. For annotators and reports."""

import json
import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from flywheel.raw.decoders.signals import parse_signal
from flywheel.raw.decoders.video import parse_clip

# Of what is summarized, beside its last value or that it happened.
FIGURES = ("mean", "min", "max", "count", "ago")
LEFT_OUT = ("mean", "min", "max", "ago")
STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)  # ends of ranges, times powers of ten


@dataclass(frozen=True)
class Shown:
    """One content for people: UTF-8 text, or an encoded image."""

    kind: Literal["text", "image"]
    data: bytes


def shown_as(modality: str) -> Literal["text", "image"]:
    """Return what a person sees of contents of a modality."""
    return "text" if modality in ("text", "record") else "image"


def show(modality: str, data: bytes) -> Shown:
    """Return what a person sees of a content; `data` is what an encoder gets of it."""
    if modality == "signal":
        from flywheel.encoders.plots import plot_signal

        return Shown("image", plot_signal(parse_signal(data)))
    if modality == "video":
        from flywheel.encoders.plots import contact_sheet  # matplotlib: half a second that few processes need

        return Shown("image", contact_sheet(parse_clip(data)))
    if modality == "record":
        return Shown("text", in_words(data).replace("; ", "\n").encode("utf-8"))
    return Shown(shown_as(modality), data)


def in_words(data: bytes) -> str:
    """Return a record's canonical JSON as words: "age: 61; sex: female"."""
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in json.loads(data).items())


def in_brief(data: bytes) -> str:
    """Return a record's canonical JSON as the words that are encoded: "diabetes; diabetes count: 2; bmi: 31.2".

    Numbers have three digits, and of a summary only the last value and the count stay: with all of it neighbors are
    no more alike, and encoding takes twice as long.
    """
    values = json.loads(data)
    return "; ".join(_phrase(name, value) for name, value in values.items() if not _is_figure(name, values, LEFT_OUT))


def record_terms(data: bytes) -> Iterator[str]:
    """Yield what sets a record apart from others, in few words: "diabetes", "sex female", "age 60 to 80".

    Numbers stand in ranges with round ends, which depend on nothing else.
    """
    values = json.loads(data)
    for name, value in values.items():
        if value is False or _is_figure(name, values, FIGURES):
            continue
        plain = name.removesuffix("_last").replace("_", " ")
        if value is True:
            yield plain
        else:
            yield f"{plain} {_range(value) if isinstance(value, (int, float)) else value}"


def _phrase(name: str, value: object) -> str:
    plain = name.replace("_", " ")
    if value is True:
        return plain
    return f"{plain}: {value:.3g}" if isinstance(value, float) else f"{plain}: {value}"


def _is_figure(name: str, values: Mapping[str, object], figures: Container[str]) -> bool:
    """Whether a value belongs to the summary of a measurement or event, rather than being a column of that name."""
    of, _, what = name.rpartition("_")
    return what in figures and (f"{of}_last" in values or values.get(of) is True)


def _range(value: float) -> str:
    """Return the range a number lies in, like "60 to 80"."""
    if value == 0:
        return "0"
    power = 10.0 ** math.floor(math.log10(abs(value)))
    place = max(1, sum(abs(value) >= step * power for step in STEPS))
    low, high = (STEPS[place - 1] * power, STEPS[min(place, len(STEPS) - 1)] * power)
    return f"{low:g} to {high:g}" if value > 0 else f"{-high:g} to {-low:g}"
