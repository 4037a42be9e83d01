"""What an item looks like at a glance: a small picture as a data URI, or the beginning of its text."""

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from flywheel.encoders import show
from flywheel.encoders.images import decode_image
from flywheel.objects import Source
from flywheel.raw import read_contents
from flywheel.raw.reasons import Refused

log = logging.getLogger("flywheel.report")

SIDE = 96  # pixels
SMALL = 64  # pictures up to this size are kept without loss
SNIPPET = 170  # characters


@dataclass(frozen=True)
class Preview:
    """One item: `image` is a data URI or "", `text` a snippet or "", both "" when it can no longer be shown."""

    name: str
    image: str = ""
    text: str = ""


def make_previews(sources: Mapping[str, Source], items: pl.DataFrame, item_ids: Sequence[str]) -> dict[str, Preview]:
    """Return a preview of each item id that is among `items` (`current_items` rows), keyed by item id."""
    wanted = items.filter(pl.col("item_id").is_in(list(item_ids))).sort("item_id")
    shown: dict[str, Preview] = {}
    for content in read_contents(sources, wanted.unique("content_id", keep="first", maintain_order=True)):
        seen = show(content.modality, content.data)
        if seen.kind == "text":
            shown[content.content_id] = Preview("", text=snippet(seen.data.decode("utf-8", "replace")))
        else:
            shown[content.content_id] = Preview("", image=_picture(content.content_id, seen.data))
    previews: dict[str, Preview] = {}
    for item, content, key, part in wanted.select("item_id", "content_id", "key", "part").iter_rows():
        seen = shown.get(content, Preview(""))
        previews[item] = Preview(f"{key}#{part}" if part else key, seen.image, seen.text)
    return previews


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """Return bytes as an address that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def snippet(text: str, most: int = SNIPPET) -> str:
    """Return the beginning of a text on one line, without control characters; at most `most` of its characters."""
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 20 * most]).split())
    return plain if len(plain) <= most else plain[:most].rstrip() + "…"


def _picture(content_id: str, data: bytes) -> str:
    try:
        image = decode_image(data)
    except Refused as refused:
        log.warning("content %s cannot be shown: %s", content_id, refused.refusal.message)
        return ""
    small = max(image.size) <= SMALL
    image.thumbnail((SIDE, SIDE))
    target = io.BytesIO()
    if small:
        image.save(target, "PNG", optimize=True)
        return data_uri(target.getvalue())
    image.save(target, "JPEG", quality=82)
    return data_uri(target.getvalue(), "image/jpeg")
