"""What is measured on a few of an arrival's contents: how texts are written."""

import unicodedata
from collections.abc import Mapping

import polars as pl

from flywheel.objects import Source
from flywheel.raw.current import read_contents

MOST_CONTENTS = 64  # read for one arrival

Measures = dict[str, float]


def measure_items(sources: Mapping[str, Source], items: pl.DataFrame, *, most: int = MOST_CONTENTS) -> pl.DataFrame:
    """Return the measures of up to `most` of the texts among the items, by `item_id`; always of the same ones.

    `characters`, `letters_share` (of the characters that are no space, 0..1) and `broken_share` (of replacement
    characters, 0..1). Cost: `most` contents are read.
    """
    some = items.filter(pl.col("modality") == "text").unique("content_id", keep="first", maintain_order=True)
    some = some.bottom_k(most, by="content_id")
    texts = ((content.content_id, content.data.decode("utf-8")) for content in read_contents(sources, some))
    found = {content_id: measure_text(text) for content_id, text in texts}
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


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema={"item_id": pl.String})
