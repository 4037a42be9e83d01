"""The demo's folder: a bucket that fills in two portions, the truth beside it, and a `flywheel.yaml`."""

import csv
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl
import yaml
from PIL import Image as Pictures

from flywheel.demo.datasets import SEEN_UNTIL, Dataset, Health, load_dataset
from flywheel.demo.planting import DEFAULT_GAPS, LOOKS, Gap, Pixels, parse_gap, plan
from flywheel.demo.videos import CLIP_SECONDS, CLIPS, PIECE, encode_piece, films, parse_scene, plan_videos
from flywheel.errors import ConfigError

DEFAULT_ITEMS = 5000
SMALLEST = 500
LABELS_PER_ITEM = 0.012  # labels a turn buys, per item: 60 for 5,000
MARKER = "demo.json"
RECORDS: dict[str, Any] = {  # how the tables of a portion belong together
    "subject": "id",
    "subjects": "people-{portion}.csv",
    "as_of": SEEN_UNTIL,
    "tables": [
        {"match": "measurements-{portion}.parquet", "time": "days", "name": "test", "value": "value"},
        {"match": "events-{portion}.csv", "time": "days", "name": "event"},
    ],
    "apart": ["clinic"],
}


@dataclass(frozen=True)
class DemoFolder:
    """A prepared demo."""

    root: Path
    config: Path
    dataset: Dataset
    gap: str
    seed: int
    plan: pl.DataFrame  # see `planting.plan`, with the item's `key` and `part`

    def land(self, portion: int) -> int:
        """Let a portion arrive in the bucket; return how many items it has. Landing twice changes nothing."""
        rows = self.plan.filter(pl.col("portion") == portion)
        if isinstance(self.dataset.contents, Health):
            _land_records(self, self.dataset.contents, rows, portion)
        elif self.dataset.modality == "image":
            _land_images(self, rows, portion)
        elif self.dataset.modality == "video":
            _land_videos(self, rows, portion)
        else:
            _land_posts(self, rows)
        return rows.height


def prepare_demo(kind: str, *, gap: str | None, seed: int, items: int | None, out: Path) -> DemoFolder:
    """Prepare a demo in `out`; a folder that holds exactly this demo is gone on with, another demo's is emptied.

    Raises:
        ConfigError: `out` holds something that is no demo, or the gap or number of items does not fit.
    """
    dataset, parsed, planned = _planned(kind, gap or DEFAULT_GAPS[kind], seed, items)
    _claim(out, {"kind": kind, "gap": parsed.text, "seed": seed, "items": planned.height, "layout": 1})
    folder = DemoFolder(out, out / "flywheel.yaml", dataset, parsed.text, seed, planned)
    _write_truth(folder)
    _write_text(folder.config, _config_text(folder))
    return folder


def _planned(kind: str, gap: str, seed: int, items: int | None) -> tuple[Dataset, Gap, pl.DataFrame]:
    if kind == "video":
        if items is not None:
            raise ConfigError("the films are what they are: the demo 'video' takes no --items")
        parsed = parse_scene(gap)
        return films(), parsed, plan_videos(parsed, seed)
    items = DEFAULT_ITEMS if items is None else items
    if items < SMALLEST:
        raise ConfigError(f"--items must be at least {SMALLEST}, found {items}: fewer leave nothing to compare")
    dataset = load_dataset(kind)
    parsed = parse_gap(gap, dataset)
    return dataset, parsed, _with_keys(plan(dataset, parsed, seed, items), dataset)


def _with_keys(planned: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    if dataset.modality == "image":
        return planned.with_columns(key="photos/" + pl.col("name") + ".png", part=pl.lit(""))
    portion = pl.col("portion").cast(pl.String)
    if isinstance(dataset.contents, Health):
        ids = dataset.contents.people["id"].cast(pl.String)
        return planned.with_columns(key="people-" + portion + ".csv", part=ids[planned["row"]])
    return planned.with_columns(key="posts-" + portion + ".jsonl", part=pl.col("name"))


def _claim(out: Path, wanted: Mapping[str, object]) -> None:
    """Make `out` this demo's folder."""
    marker = out / MARKER
    if out.exists() and any(out.iterdir()):
        if not marker.exists():
            raise ConfigError(f"{out} is not empty and holds no demo; choose another folder with --out")
        if json.loads(marker.read_text("utf-8")) == wanted:
            return
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    _write_text(marker, json.dumps(wanted))


def _land_images(folder: DemoFolder, rows: pl.DataFrame, portion: int) -> None:
    bucket, contents = folder.root / "bucket", cast(Pixels, folder.dataset.contents)
    lines: list[dict[str, str]] = []
    for row in rows.iter_rows(named=True):
        image = contents[row["row"]]
        if row["look"]:
            image = LOOKS[row["look"]](image)
        encoded = io.BytesIO()
        Pictures.fromarray(image).save(encoded, "PNG")
        _write_once(bucket / row["key"], encoded.getvalue())
        label = row["label"] if row["labeled"] else ""
        lines.append({"key": row["key"], "label": label, "split": row["split"], "camera": row["camera"]})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["key", "label", "split", "camera"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    _write_once(bucket / f"manifest-{portion}.csv", text.getvalue().encode())


def _land_videos(folder: DemoFolder, rows: pl.DataFrame, portion: int) -> None:
    lines: list[dict[str, str | None]] = []
    for row in rows.unique("key", keep="first", maintain_order=True).iter_rows(named=True):
        path = folder.root / "bucket" / row["key"]
        if not path.exists():
            _write_once(path, encode_piece(row["row"]))
        label = row["label"] if row["labeled"] else None
        lines.append({"key": row["key"], "label": label, "split": row["split"]})
    text = pl.DataFrame(lines, schema={"key": pl.String, "label": pl.String, "split": pl.String}).write_csv()
    _write_once(folder.root / "bucket" / f"manifest-{portion}.csv", text.encode())


def _land_posts(folder: DemoFolder, rows: pl.DataFrame) -> None:
    texts = cast(list[str], folder.dataset.contents)
    lines: list[dict[str, Any]] = [
        {
            "id": row["part"],
            "text": texts[row["row"]],
            "label": row["label"] if row["labeled"] else None,
            "split": row["split"],
            "channel": row["camera"],
        }
        for row in rows.iter_rows(named=True)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    _write_once(folder.root / "bucket" / rows["key"][0], text.encode())


def _land_records(folder: DemoFolder, tables: Health, rows: pl.DataFrame, portion: int) -> None:
    """Write the tables of a portion's people, as they are: also what lies after the time the records are made for."""
    bucket, people = folder.root / "bucket", tables.people[rows["row"]]
    told = rows.select(clinic="camera", label=pl.when("labeled").then("label"), split="split")
    measured = tables.measurements.join(people, on="id", how="semi", maintain_order="left")
    happened = tables.events.join(people, on="id", how="semi", maintain_order="left")
    file = io.BytesIO()
    measured.write_parquet(file)
    _write_once(bucket / f"measurements-{portion}.parquet", file.getvalue())
    _write_once(bucket / f"events-{portion}.csv", happened.write_csv().encode())
    _write_once(bucket / f"people-{portion}.csv", pl.concat([people, told], how="horizontal").write_csv().encode())


def _write_truth(folder: DemoFolder) -> None:
    """The labels the simulated annotators know. They lie outside the bucket: the wheel never reads them."""
    name = pl.when(pl.col("part") == "").then(pl.col("key")).otherwise(pl.col("key") + "#" + pl.col("part"))
    text = folder.plan.select(key=name, label="label").write_csv()
    _write_text(folder.root / "truth.csv", text)


def _config_text(folder: DemoFolder) -> str:
    dataset, items = folder.dataset, folder.plan.height
    per_turn = max(10, round(LABELS_PER_ITEM * items))
    evaluated = folder.plan.filter(pl.col("labeled"), pl.col("split") == "eval").height
    source: dict[str, Any] = {
        "id": "bucket",
        "root": "./bucket",
        "license": dataset.license,
        "provenance": dataset.provenance,
    }
    source |= {"records": RECORDS} if dataset.modality == "record" else {"manifest": "manifest-*.csv"}
    config: dict[str, Any] = {
        "name": folder.root.name if folder.root.name.replace("-", "").isalnum() else "demo",
        "store": {"root": "./wheel"},
        "sources": [source],
        # 28-pixel pictures gain nothing from the encoder's full size
        "encoders": {"image": {"kind": "efficientnet-conse", "image_size": 160}, "text": {"kind": "minilm"}},
        "structure": {"cluster_sizes": [200, 30]},
        "label_spec": {"modality": dataset.modality, "classes": list(dataset.classes)},
        "vendor": {"kind": "simulated", "truth": "./truth.csv", "annotators": 5, "error_rate": 0.05},
        "budget": {
            "labels_per_turn": per_turn,
            "control_share": 1.0,
            "evaluation_labels": evaluated,
            "auto_approve": True,
        },
        "model": {"seed": folder.seed},
    }
    if dataset.modality == "video":
        config["sources"][0]["video"] = {"clip_seconds": CLIP_SECONDS, "frames_per_clip": PIECE // CLIPS}
    head = f"# Written by `flywheel demo`: planted gap {folder.gap}, seed {folder.seed}. Annotators are simulated.\n"
    return head + yaml.safe_dump(config, sort_keys=False)


def _write_once(path: Path, content: bytes) -> None:
    """Write a file of the bucket unless it stands there: a rewritten object would be a new version."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    partial.replace(path)


def _write_text(path: Path, text: str) -> None:
    _write_once(path, text.encode())
