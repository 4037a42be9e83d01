"""What a person sees of a content: words to read, or a picture to look at. For annotators and reports."""

import json
from dataclasses import dataclass
from typing import Literal

from flywheel.encoders.plots import contact_sheet, plot_signal
from flywheel.raw.decoders.signals import parse_signal
from flywheel.raw.decoders.video import parse_clip


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
        return Shown("image", plot_signal(parse_signal(data)))
    if modality == "video":
        return Shown("image", contact_sheet(parse_clip(data)))
    if modality == "record":
        return Shown("text", in_words(data).replace("; ", "\n").encode("utf-8"))
    return Shown(shown_as(modality), data)


def in_words(data: bytes) -> str:
    """Return a record's canonical JSON as words: "age: 61; sex: female"."""
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in json.loads(data).items())
