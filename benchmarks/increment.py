"""What a second run costs: with nothing new, and with one percent of new data (raw_data and embeddings together).

The data are Fashion-MNIST as PNG files (mirrored too, where more are wanted than there are) and opening lines of
newsgroup posts in JSONL files, from the demo's data sets. Every run is a process of its own: imports count in all of
them, and each loads the models that it needs. The contents that reach an encoder are counted on the way.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.child import report, run_step
from benchmarks.registry import Benchmark, Rows

NOW = datetime(2100, 1, 1, tzinfo=UTC)
POSTS_PER_FILE = 100


def run(images: int, posts: int, repeats: int) -> Rows:
    """Take everything in, run again `repeats` times, then once more with one percent of new data."""
    rows: Rows = []
    with tempfile.TemporaryDirectory(prefix="increment-") as scratch:
        root = Path(scratch)
        _land(root, range(images), range(posts))
        rows.append({"run": "full", **run_step("benchmarks.increment", root)})
        rows += [{"run": "unchanged", **run_step("benchmarks.increment", root)} for _ in range(repeats)]
        _land(root, range(images, images + images // 100), range(posts, posts + posts // 100))
        rows.append({"run": "one percent", **run_step("benchmarks.increment", root)})
        for row in rows:
            if row["missing"]:
                raise RuntimeError(f"the {row['run']} run left {row['missing']} contents without a vector")
    return rows


def figures(rows: Rows) -> dict[str, Any]:
    """CPU seconds of the full run to those of an unchanged one; share of it that one percent costs; encoded twice."""
    by_run: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_run.setdefault(row["run"], []).append(row)
    [full], [more], unchanged = by_run["full"], by_run["one percent"], by_run["unchanged"]
    idle = sorted(row["cpu_seconds"] for row in unchanged)[len(unchanged) // 2]
    passes = sum(row["forward_passes"] for row in rows)
    return {
        "unchanged_ratio": round(full["cpu_seconds"] / idle, 1),
        "one_percent_cost": round(more["cpu_seconds"] / full["cpu_seconds"], 4),
        "forward_passes_extra": passes - more["contents"],
        "full_seconds": full["cpu_seconds"],
        "unchanged_seconds": idle,
        "one_percent_seconds": more["cpu_seconds"],
    }


def _land(root: Path, images: range, posts: range) -> None:
    """Write examples of the data sets into the bucket."""
    from PIL import Image

    from flywheel.demo.datasets import load_dataset

    bucket = root / "bucket"
    (bucket / "photos").mkdir(parents=True, exist_ok=True)
    pictures, texts = load_dataset("images").contents, load_dataset("text").contents
    if images.stop > 2 * len(pictures) or posts.stop > len(texts):
        raise ValueError(f"there are {2 * len(pictures)} images and {len(texts)} posts, one percent of them for later")
    for number in images:
        picture = pictures[number % len(pictures)]
        mirrored = picture[:, ::-1] if number >= len(pictures) else picture
        Image.fromarray(mirrored).save(bucket / "photos" / f"{number:06d}.png")
    for start in range(posts.start, posts.stop, POSTS_PER_FILE):
        chosen = range(start, min(posts.stop, start + POSTS_PER_FILE))
        lines = [json.dumps({"id": f"p{number}", "text": texts[number]}) for number in chosen]
        (bucket / f"posts-{start:06d}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def take_in(root: Path) -> dict[str, int]:
    """Plan, register and embed whatever is new; return what was encoded and what there is."""
    from flywheel.config import EncoderConfig, LabelSpecConfig, SourceConfig
    from flywheel.encoders import Content, Encoder, Vectors, embed_arrival, missing_contents
    from flywheel.encoders.open import open_encoder
    from flywheel.objects import FolderStore, Source
    from flywheel.raw import plan_arrivals, register_arrival
    from flywheel.tables import Tables

    class Counting:
        """An encoder that counts what reaches it."""

        def __init__(self, encoder: Encoder):
            self._encoder = encoder
            self.passes = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._encoder, name)

        def encode(self, batch: Sequence[Content]) -> Vectors:
            self.passes += len(batch)
            return self._encoder.encode(batch)

    config = SourceConfig.model_validate({"id": "bucket", "root": str(root / "bucket")})
    tables, sources = Tables(str(root / "tables")), {"bucket": Source(config, FolderStore(root / "bucket"))}
    kinds = {"image": "efficientnet-conse", "text": "minilm"}
    encoders: dict[str, Any] = {
        name: Counting(open_encoder(name, EncoderConfig.model_validate({"kind": kind}))) for name, kind in kinds.items()
    }
    spec = LabelSpecConfig(classes=("one", "two"))
    for arrival in plan_arrivals(tables, sources, now=NOW):
        register_arrival(tables, sources, spec, arrival, evaluation_share=0.2)
        embed_arrival(tables, sources, encoders, arrival)
    return {
        "forward_passes": sum(encoder.passes for encoder in encoders.values()),
        "contents": tables.scan("items").select("content_id").unique().collect().height,
        "missing": sum(len(missing_contents(tables, encoder)) for encoder in encoders.values()),
    }


BENCHMARK = Benchmark(
    name="increment",
    summary="what a second run costs, with nothing new and with one percent of new data",
    run=run,
    sizes={"images": 23_000, "posts": 11_000, "repeats": 3},
    figures=figures,
    quick={"images": 1_500, "posts": 1_500, "repeats": 1},
    quick_gates=False,
)

if __name__ == "__main__":
    logging.disable(logging.WARNING)
    report(**take_in(Path(sys.argv[1])))
