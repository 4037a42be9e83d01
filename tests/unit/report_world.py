"""A wheel with pictures or texts on disk, two judged turns, gaps, a map, annotators and refusals; names are hostile."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from flywheel.config import WheelConfig, parse_config
from flywheel.modeling import build_training_set, evaluate_models, train_models
from flywheel.objects import open_files, open_sources, open_tables
from flywheel.raw import current_items, plan_arrivals, register_arrival
from flywheel.turns import close_turn, open_turn
from tests.unit.modeling_world import DIM, ENCODER, frame, utc

EVIL = "<script>alert('x')</script>"
CLASSES = ("round & red", "square $x^", "<b>bold</b>")
COLORS = ((196, 60, 60), (60, 110, 190), (70, 150, 90))
COUNT = 150


class ReportWorld:
    """Number n is of class n % 3; turn 0 has seed labels without the third class, turn 1 chooses it."""

    def __init__(self, folder: Path, modality: str = "image", vendor_kind: str = "simulated"):
        self.folder, self.modality, self.kind = folder, modality, vendor_kind
        source = folder / "source"
        source.mkdir(parents=True)
        for number in range(COUNT):
            self._write(source, number)
        (source / "broken.png").write_bytes(b"\x89PNG no picture")
        raw: dict[str, Any] = {
            "store": {"root": str(folder / "wheel")},
            "sources": [{"id": "photos", "root": str(source)}],
            "label_spec": {"classes": list(CLASSES), "modality": modality},
            "vendor": {"kind": "file", "folder": str(folder / "vendor")},
        }
        self.config: WheelConfig = parse_config(raw, base=folder)
        self.tables, self.files = open_tables(self.config), open_files(self.config)
        self.sources = open_sources(self.config)
        for arrival in plan_arrivals(self.tables, self.sources, now=utc(2100)):
            register_arrival(self.tables, self.sources, self.config.label_spec, arrival, evaluation_share=0.3)
        items = current_items(self.tables)
        self.numbers = [int(key.split("-")[1].split(".")[0]) for key in items["key"].to_list()]
        self.items = items.with_columns(number=pl.Series(self.numbers)).sort("number")

    def _write(self, source: Path, number: int) -> None:
        if self.modality == "text":
            text = f"Note {number} {EVIL} about {CLASSES[number % 3]}: " + "words and more words " * 12
            (source / f"note-{number:03d}.txt").write_text(text)
            return
        generator = np.random.default_rng(number)
        image = Image.new("RGB", (120, 90), (235, 236, 238))
        left, top = (int(value) for value in generator.integers(10, 40, 2))
        drawn = ImageDraw.Draw(image)
        shape = drawn.ellipse if number % 3 == 0 else drawn.rectangle
        shape([left, top, left + 50, top + 40], fill=COLORS[number % 3])
        image.putpixel((0, 0), (number, 0, 0))  # no two alike
        file = io.BytesIO()
        image.save(file, "PNG")
        (source / f"<img src=x onerror=alert(1)>-{number:03d}.png").write_bytes(file.getvalue())

    def embed(self) -> None:
        """Write vectors, clusters with hostile names, and a map."""
        codes = self.items["number"].to_numpy() % 3
        generator = np.random.default_rng(1)
        vectors = np.eye(DIM)[codes] + 0.9 * generator.standard_normal((COUNT, DIM)) / np.sqrt(DIM)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        points = np.array([(0, 0), (4, 1), (2, 4)])[codes] + 0.6 * generator.standard_normal((COUNT, 2))
        contents = self.items["content_id"].to_list()
        place = {"modality": self.modality, "level": 0}
        embeddings, clusters, spots = [], [], []
        for content, vector, code, (x, y) in zip(contents, vectors, codes, points, strict=True):
            embeddings.append({"content_id": content, "encoder_id": ENCODER, "vector": vector.tolist()})
            clusters.append(place | {"content_id": content, "cluster_id": f"k{code}", "distance": 0.1})
            spots.append({"modality": self.modality, "content_id": content, "x": float(x), "y": float(y)})
        rows = [row | {"arrival": "arrival-00001"} for row in embeddings]
        self.tables.replace("embeddings", frame("embeddings", rows), arrival="arrival-00001")
        self.tables.replace("clusters", frame("clusters", clusters), modality=self.modality)
        self.tables.replace("map_points", frame("map_points", spots), modality=self.modality)
        names = [
            place | {"cluster_id": f"k{code}", "name": f"{name} {EVIL}", "terms": [], "size": COUNT // 3, "center": []}
            for code, name in enumerate(CLASSES)
        ]
        self.tables.replace("cluster_names", frame("cluster_names", names), modality=self.modality)

    def turn(self, turn: int, arms: dict[str, list[int]], gaps: bool = False) -> None:
        """Open a turn, ask for items, answer, train, judge and close it."""
        open_turn(self.tables, turn, trigger="new data", reason=f"reason {EVIL}", budget=100.0)
        if gaps:
            self._gaps(turn)
        self._batch(turn, arms)
        self._answer(turn, sorted({number for numbers in arms.values() for number in numbers}))
        build_training_set(self.tables, self.config, turn)
        train_models(self.tables, self.files, self.config, ENCODER, turn)
        evaluate_models(self.tables, self.config, turn)
        close_turn(self.tables, turn, snapshot={})

    def split(self, name: str) -> list[int]:
        return self.items.filter(pl.col("split") == name)["number"].to_list()

    def row(self, number: int) -> dict[str, Any]:
        return self.items.row(number, named=True)

    def _gaps(self, turn: int) -> None:
        common = {
            "turn": turn,
            "size": 50,
            "labeled": 0,
            "evidence": f"0 labels are here, 0.0% of all (0.0% to 8.8%), where 33% was expected {EVIL}",
            "linked": [],
            "advice": "label",
            "advice_text": "label about 20 of the 35 unlabeled items there",
            "cost": 3.0,
            "examples": [self.row(number)["item_id"] for number in self.split("pool") if number % 3 == 2][:9],
        }
        rows = [
            {
                "gap_id": "g1",
                "rank": 1,
                "kind": "data",
                "predicate": f"like {EVIL}",
                "expression": "\"cluster.0\" = 'k2'",
            },
            {
                "gap_id": "g2",
                "rank": 2,
                "kind": "hard",
                "predicate": "hard things",
                "expression": "\"cluster.0\" = 'k1'",
            },
        ]
        self.tables.replace("gaps", frame("gaps", [common | row for row in rows]), turn=turn)

    def _batch(self, turn: int, arms: dict[str, list[int]]) -> None:
        rows = [
            {
                "turn": turn,
                "item_id": self.row(number)["item_id"],
                "content_id": self.row(number)["content_id"],
                "position": position,
                "arm": arm,
                "reason": f"far from what is labeled {EVIL}",
                "prelabel": CLASSES[0],
                "prelabel_confidence": 0.61,
            }
            for arm, numbers in arms.items()
            for position, number in enumerate(numbers)
        ]
        self.tables.replace("batches", frame("batches", rows), turn=turn)

    def _answer(self, turn: int, numbers: list[int]) -> None:
        job = {"turn": turn, "job_id": f"job-{turn}", "state": "returned", "tasks": len(numbers), "cost": 12.5}
        self.tables.replace("jobs", frame("jobs", [job | {"votes": 2}]), turn=turn)
        spec = {"field": "label", "spec_version": "1"}
        labels, events = [], []
        for number in numbers:
            content, truth = self.row(number)["content_id"], CLASSES[number % 3]
            split = number % 10 == 0
            known = {"turn": turn, "content_id": content, "value": truth, "confidence": 0.8, "votes": 2}
            labels.append(known | spec | {"agreement": 0.5 if split else 1.0, "method": "majority, simulated"})
            for author in ("ann <i>", "bob"):
                value = CLASSES[(number + 1) % 3] if split and author == "bob" else truth
                event = {"event_id": f"{turn}-{number}-{author}", "content_id": content, "value": value}
                whose = {"author": author, "source": self.kind, "action": "create", "origin": f"job-{turn}"}
                events.append(event | spec | whose)
        self.tables.replace("labels", frame("labels", labels), turn=turn)
        self.tables.replace("annotation_events", frame("annotation_events", events), origin=f"job-{turn}")


def make_world(folder: Path, modality: str = "image", **options: Any) -> ReportWorld:
    """Two turns: the seed lacks the third class, turn 1 finds and fills it."""
    world = ReportWorld(folder, modality, **options)
    world.embed()
    pool = world.split("pool")
    seed = [number for number in pool if number % 3 != 2][:24]
    rare = [number for number in pool if number % 3 == 2]
    rest = [number for number in pool if number % 3 != 2 and number not in seed]
    world.turn(0, {"seed": seed, "evaluation": world.split("eval")})
    world.turn(1, {"chosen": rare[:14], "random": [*rare[14:16], *rest[:10]]}, gaps=True)
    return world
