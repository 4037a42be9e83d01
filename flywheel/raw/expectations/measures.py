"""What is measured on a few of an arrival's contents: the shape of pictures, how texts are written."""

import io
import unicodedata
from collections.abc import Mapping

import polars as pl
from PIL import Image

from flywheel.objects import Source
from flywheel.raw.current import read_contents

MOST_CONTENTS = 64  # read for one arrival and modality
MEASURED = ("image", "text")

Measures = dict[str, float]


def measure_items(sources: Mapping[str, Source], items: pl.DataFrame, *, most: int = MOST_CONTENTS) -> pl.DataFrame:
    """Return the measures of up to `most` of the items' contents, by `item_id`; always of the same ones.

    Pictures have `width`, `height`, `shorter_side` (pixels), `aspect_ratio` (longer by shorter side, from 1) and
    `bytes_per_pixel`; texts have `characters`, `letters_share` (of the characters that are no space, 0..1) and
    `broken_share` (of replacement characters, 0..1). Cost: `most` contents are read.
    """
    some = items.filter(pl.col("modality").is_in(MEASURED)).unique("content_id", keep="first", maintain_order=True)
    some = some.bottom_k(most, by="content_id")
    found = {content.content_id: _measure(content.modality, content.data) for content in read_contents(sources, some)}
    rows = [
        {"item_id": item, **found[content]}
        for item, content in items.select("item_id", "content_id").iter_rows()
        if content in found
    ]
    return pl.DataFrame(rows, schema_overrides={"item_id": pl.String}, infer_schema_length=None) if rows else _nothing()


def measure_text(text: str) -> Measures:
    """Return the measures of a text."""
    signs = [sign for sign in text if not sign.isspace()]
    letters = sum(unicodedata.category(sign)[0] in "LM" for sign in signs)
    return {
        "characters": float(len(text)),
        "letters_share": letters / max(1, len(signs)),
        "broken_share": text.count("\N{REPLACEMENT CHARACTER}") / max(1, len(text)),
    }


def measure_image(data: bytes) -> Measures:
    """Return the measures of an encoded image, read off its header: no pixel is decoded."""
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
    shorter, longer = sorted((width, height))
    return {
        "width": float(width),
        "height": float(height),
        "shorter_side": float(shorter),
        "aspect_ratio": longer / max(1, shorter),
        "bytes_per_pixel": len(data) / max(1, width * height),
    }


def _measure(modality: str, data: bytes) -> Measures:
    return measure_image(data) if modality == "image" else measure_text(data.decode("utf-8", "replace"))


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema={"item_id": pl.String})
