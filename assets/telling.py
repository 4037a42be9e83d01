"""One line per asset for people who watch the wheel turn: what it found, in plain words, from its metadata."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

Metadata = Mapping[str, dg.MetadataValue]

# asset -> sentence; names in braces are keys of its metadata
SENTENCES = {
    "raw_data": "{dagster/row_count} items read, {labels} came with labels, {quarantined} were set aside",
    "embeddings": "{encoded} contents embedded, {reused} had a vector already",
    "vector_index": "{dagster/row_count} items can be searched",
    "neighbor_graph": "neighbors of {dagster/row_count} distinct contents",
    "duplicates": "{groups} groups of duplicates",
    "clusters": "{clusters} named clusters, {new clusters} of them new",
    "gap_report": "gaps in the data: {data gaps}, of the model: {model gaps}; hard though labeled: {hard slices}",
    "labeling_batch": "{dagster/row_count} items chosen to be labeled, for {cost}",
    "labeling_job": "{tasks} tasks ordered from '{vendor}'{simulated}",
    "annotations": "{dagster/row_count} answers on {items answered} items",
    "label_quality": "{dagster/row_count} labels became known, annotators agree {mean agreement}",
    "training_set": "{train} examples to train with, {eval} to evaluate with",
    "model": "{dagster/row_count} models trained",
}


def told(asset: str, partition: str | None, metadata: Metadata) -> Iterator[str]:
    """Yield the lines about one materialized asset."""
    values = {name: _plain(value) for name, value in metadata.items()}
    values["simulated"] = " (simulated annotators)" if values.get("answers are simulated") == "True" else ""
    if asset == "model_eval":
        yield from (f"  {name}: {value}" for name, value in values.items() if name.startswith("accuracy, "))
        return
    if asset == "labeling_job" and values["tasks"] == "0":
        return
    sentence = SENTENCES.get(asset)
    if sentence is not None:
        for name, value in values.items():
            sentence = sentence.replace(f"{{{name}}}", value)
        yield f"  {sentence}"
    if "first gap" in values:
        yield f"  the first gap: {values['first gap']}"


def _plain(value: Any) -> str:
    raw = getattr(value, "value", value)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return str(raw)
    return f"{raw:,}" if isinstance(raw, int) else f"{raw:.3g}"
