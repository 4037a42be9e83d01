"""Bringing a real embedded index up to real tables."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flywheel import identity
from flywheel.config import parse_config
from flywheel.encoders import Content, Vectors
from flywheel.errors import ConfigError, IndexMismatch
from flywheel.index import Condition, EdgeIndex, IndexReport, Points, open_index, refresh_index
from flywheel.records import SCHEMAS
from flywheel.tables import Tables

DIMS = {"image": 6, "text": 4}


class TableEncoder:
    """An encoder whose vectors stand in the tables already; only its way into words is ever used."""

    def __init__(self, modality: str, own: str):
        self.id, self.modality, self.dim = own, modality, DIMS[modality]
        self.words_id, self.words_dim = "text-encoder", 4

    def encode(self, batch: Sequence[Content]) -> Vectors:
        raise AssertionError(f"a refresh encoded {len(batch)} contents")

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        raise AssertionError(f"a refresh encoded the words {texts}")

    def to_words(self, vectors: Vectors) -> Vectors:
        short = vectors[:, :4]
        return short / np.linalg.norm(short, axis=1, keepdims=True)


class CountingIndex(EdgeIndex):
    """The embedded index, counting what is written."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.upserted: list[str] = []
        self.deleted: list[str] = []

    def upsert(self, points: Points) -> None:
        self.upserted += points.item_ids
        super().upsert(points)

    def delete(self, item_ids: Sequence[str]) -> None:
        self.deleted += item_ids
        super().delete(item_ids)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    made = Tables(str(tmp_path / "tables"))
    write_arrival(made, 1, [row(n, "image", age=n) for n in range(5)] + [row(n, "text", age=n) for n in range(3)])
    return made


@pytest.fixture
def index(tmp_path: Path) -> Iterator[CountingIndex]:
    with CountingIndex(tmp_path / "index") as opened:
        yield opened


@pytest.fixture
def encoders() -> dict[str, TableEncoder]:
    return {"image": TableEncoder("image", "maker/image-encoder"), "text": TableEncoder("text", "text-encoder")}


def row(number: int, modality: str, content: str | None = None, status: str = "active", **attributes: Any) -> dict:
    key = f"{modality}/{number}"
    return {
        "item_id": identity.item_id("source", key),
        "source": "source",
        "key": key,
        "part": "",
        "subject_id": f"subject {number}",
        "modality": modality,
        "content_id": identity.digest(content or key),
        "size": 1,
        "attributes": json.dumps(attributes, sort_keys=True),
        "split": "pool",
        "license": "",
        "provenance": "",
        "status": status,
        "version": "1",
    }


def vector(content_id: str, dim: int) -> np.ndarray:
    made = np.random.default_rng(int(content_id[:8], 16)).normal(size=dim).astype(np.float32)
    return made / np.linalg.norm(made)


def write_arrival(tables: Tables, number: int, rows: list[dict], without: Sequence[str] = ()) -> None:
    arrival = f"arrival-{number:05d}"
    items = pl.DataFrame([item | {"arrival": arrival} for item in rows], schema=SCHEMAS["items"])
    tables.replace("items", items, arrival=arrival)
    encoded = [
        {
            "content_id": item["content_id"],
            "encoder_id": "maker/image-encoder" if item["modality"] == "image" else "text-encoder",
            "vector": vector(item["content_id"], DIMS[item["modality"]]).tolist(),
            "arrival": arrival,
        }
        for item in {item["content_id"]: item for item in rows}.values()
        if item["content_id"] not in without
    ]
    tables.replace("embeddings", pl.DataFrame(encoded, schema=SCHEMAS["embeddings"]), arrival=arrival)


def test_a_first_refresh_should_store_every_item_with_its_payload(tables, index, encoders) -> None:
    assert refresh_index(tables, index, encoders) == IndexReport(upserted=8, deleted=0, total=8, unchanged=0)
    item = row(2, "image")
    payload = dict(index.scroll()[item["item_id"]])
    assert len(str(payload.pop("digest"))) == 32
    assert payload == {
        **{field: item[field] for field in ("item_id", "content_id", "source", "key", "part", "subject_id")},
        "modality": "image",
        "split": "pool",
        "attr.age": 2,
    }
    assert index.facet("modality") == {"image": 5, "text": 3}
    assert index.count([Condition("attr.age", at_least=2)]) == 4


def test_vectors_should_stand_in_their_own_space_and_in_that_of_words(tables, index, encoders) -> None:
    refresh_index(tables, index, encoders)
    image, text = row(2, "image"), row(1, "text")
    own = vector(image["content_id"], 6)
    [hit] = index.query("maker/image-encoder", own.tolist(), limit=1)
    assert (hit.item_id, hit.score) == (image["item_id"], pytest.approx(1, abs=1e-5))
    [hit] = index.query("text-encoder", own[:4].tolist(), limit=1)
    assert (hit.item_id, hit.score) == (image["item_id"], pytest.approx(1, abs=1e-5))
    [hit] = index.query("text-encoder", vector(text["content_id"], 4).tolist(), limit=1)
    assert (hit.item_id, hit.score) == (text["item_id"], pytest.approx(1, abs=1e-5))
    assert len(index.query("maker/image-encoder", own.tolist(), limit=50)) == 5
    assert len(index.query("text-encoder", own[:4].tolist(), limit=50)) == 8


def test_nothing_new_should_write_nothing(tables, index, encoders) -> None:
    refresh_index(tables, index, encoders)
    index.upserted.clear()
    assert refresh_index(tables, index, encoders) == IndexReport(upserted=0, deleted=0, total=8, unchanged=8)
    assert (index.upserted, index.deleted) == ([], [])


def test_only_what_arrived_changed_or_left_should_be_written(tables, index, encoders) -> None:
    refresh_index(tables, index, encoders)
    index.upserted.clear()
    rows = [row(0, "image", age=70), row(1, "image", content="new bytes", age=1), row(9, "text", site="north")]
    write_arrival(tables, 2, [*rows, row(2, "text", status="retired")])
    assert refresh_index(tables, index, encoders) == IndexReport(upserted=3, deleted=1, total=8, unchanged=5)
    assert sorted(index.upserted) == sorted(item["item_id"] for item in rows)
    assert index.deleted == [row(2, "text")["item_id"]]
    assert index.count([Condition("attr.age", equals=70)]) == 1
    assert index.facet("attr.site") == {"north": 1}
    fresh = vector(identity.digest("new bytes"), 6)
    [hit] = index.query("maker/image-encoder", fresh.tolist(), limit=1)
    assert hit.item_id == rows[1]["item_id"]


def test_an_item_without_a_vector_should_wait(tables, index, encoders) -> None:
    late = row(7, "image")
    write_arrival(tables, 2, [late], without=[late["content_id"]])
    assert refresh_index(tables, index, encoders).total == 8
    write_arrival(tables, 2, [late])
    assert refresh_index(tables, index, encoders) == IndexReport(upserted=1, deleted=0, total=9, unchanged=8)


def test_a_killed_refresh_should_go_on_where_it_stopped(tables, index, encoders) -> None:
    refresh_index(tables, index, encoders)
    index.delete([row(n, "image")["item_id"] for n in range(2)])  # as if the write had ended before them
    index.upserted.clear()
    assert refresh_index(tables, index, encoders).upserted == 2
    assert sorted(index.upserted) == sorted(row(n, "image")["item_id"] for n in range(2))


def test_items_with_one_content_should_share_its_vector(tables, index, encoders) -> None:
    write_arrival(tables, 2, [row(number, "image", content="twin") for number in (20, 21, 22)])
    refresh_index(tables, index, encoders)
    hits = index.query("maker/image-encoder", vector(identity.digest("twin"), 6).tolist(), limit=3)
    assert {hit.item_id for hit in hits} == {row(number, "image")["item_id"] for number in (20, 21, 22)}


def test_clusters_should_appear_with_the_name_of_the_finest(tables, index, encoders) -> None:
    refresh_index(tables, index, encoders)
    index.upserted.clear()
    contents = [row(number, "image")["content_id"] for number in range(3)]
    places = [("g", "image", content, level, f"c{level}", 0.1) for content in contents for level in (0, 1)]
    schema = SCHEMAS["clusters"]
    tables.replace("clusters", pl.DataFrame(places, schema=schema, orient="row"), modality="image")
    names = [("g", "image", level, f"c{level}", f"name {level}", [], 3, [1.0], "birth") for level in (0, 1)]
    named = pl.DataFrame(names, schema=SCHEMAS["cluster_names"], orient="row")
    tables.replace("cluster_names", named, modality="image")
    assert refresh_index(tables, index, encoders).upserted == 3
    payloads = index.scroll()
    assert {payloads[row(n, "image")["item_id"]].get("cluster") for n in range(3)} == {"c1"}
    assert {payloads[row(n, "image")["item_id"]].get("cluster_name") for n in range(3)} == {"name 1"}
    assert "cluster" not in payloads[row(4, "image")["item_id"]]
    assert index.facet("cluster_name") == {"name 1": 3}
    assert refresh_index(tables, index, encoders).unchanged == 8


def test_strange_attribute_values_should_be_kept_or_left_out_but_never_stop_a_refresh(tables, index, encoders) -> None:
    strange = {"big": 2**70, "huge": 10**400, "nan": float("nan"), "none": None, 'odd "n".x': "é\x00", "mixed": "x"}
    write_arrival(tables, 2, [row(30, "image", **strange), row(31, "image", mixed=3, flag=True)])
    refresh_index(tables, index, encoders)
    payload = index.scroll()[row(30, "image")["item_id"]]
    kept = {field: value for field, value in payload.items() if field.startswith("attr.")}
    assert kept == {"attr.big": pytest.approx(2**70, rel=1e-15), 'attr.odd "n".x': "é\x00", "attr.mixed": "x"}
    assert index.count([Condition('attr.odd "n".x', equals="é\x00")]) == 1
    assert index.count([Condition("attr.mixed", equals=3)]) == 1
    assert index.count([Condition("attr.mixed", equals="x")]) == 1
    assert index.count([Condition("attr.flag", equals=True)]) == 1
    assert refresh_index(tables, index, encoders).upserted == 0


def test_another_encoder_should_move_its_items_to_its_space(tables, index, encoders) -> None:
    refresh_index(tables, index, encoders)
    images = tables.read("embeddings").filter(pl.col("encoder_id") == "maker/image-encoder")
    tables.append("embeddings", images.with_columns(encoder_id=pl.lit("newer"), vector=pl.col("vector").list.head(5)))
    encoders["image"] = TableEncoder("image", "newer")
    with pytest.raises(IndexMismatch, match="length 6"):
        refresh_index(tables, index, encoders)
    encoders["image"].dim = 5
    with CountingIndex(Path(index._home).parent / "second") as second:
        refresh_index(tables, second, {"text": encoders["text"]})
        assert refresh_index(tables, second, encoders).upserted == 5
        assert len(second.query("newer", [1.0] * 5, limit=50)) == 5


def test_a_refresh_without_encoders_should_be_refused(tables, index) -> None:
    with pytest.raises(ConfigError, match="encoder"):
        refresh_index(tables, index, {})


def test_the_configured_index_should_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {
        "store": {"root": "wheel"},
        "sources": [{"id": "photos", "root": "photos"}],
        "label_spec": {"classes": ["a", "b"]},
        "vendor": {"kind": "file", "folder": "jobs"},
    }
    config = parse_config(raw, tmp_path)
    with open_index(config) as index:
        assert isinstance(index, EdgeIndex)
        assert (tmp_path / "wheel" / "cache" / "index" / "lock").exists()
    monkeypatch.delenv("QDRANT_URL", raising=False)
    with pytest.raises(ConfigError, match="QDRANT_URL"):
        open_index(parse_config(raw | {"index": {"kind": "server"}}, tmp_path))
