import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from flywheel.cli.app import app
from flywheel.config import WheelConfig, parse_config
from flywheel.erasure import Plan, Proof, Wheel, erase, prepare_erasure
from flywheel.errors import DataError, VersionErased
from flywheel.identity import item_id
from flywheel.index import Points, Space, open_index
from flywheel.index.edge import EdgeIndex
from flywheel.objects import FolderStore, Source, open_files, open_sources, open_store, open_tables
from flywheel.raw import current_items, current_quarantine, plan_arrivals, register_arrival
from flywheel.raw.erased import is_erased
from flywheel.records import SCHEMAS
from flywheel.selection import approve_batch, is_approved
from flywheel.structure import build_neighbors
from flywheel.tables import Tables
from flywheel.turns import close_turn, open_turn, read_turn
from flywheel.vendors import open_vendor
from flywheel.vendors.collect import collect_answers
from flywheel.vendors.jobs import submit_job
from tests.labeling_world import CLASSES
from tests.raw_world import csv, image

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENCODER = "tiny-encoder"
COUNT = 12
SECRET = "ward/anna-17.png"
RAW: dict[str, Any] = {
    "sources": [{"id": "photos", "root": "photos", "manifest": "manifest*.csv"}],
    "label_spec": {"classes": list(CLASSES)},
    "vendor": {"kind": "file", "folder": "orders"},
}
TWIN = "ward/copy-of-17.png"


@dataclass
class World:
    """A wheel in which a few things happened to the items of two subjects."""

    wheel: Wheel
    sources: dict[str, Source]

    @property
    def tables(self) -> Tables:
        return self.wheel.tables

    def prepare(self, target: str, **options: Any) -> Plan:
        return prepare_erasure(self.wheel, target, author="ann", reason="asked for", now=NOW, **options)

    def erase(self, target: str, **options: Any) -> Proof:
        return erase(self.wheel, self.prepare(target, **options), now=NOW)

    def land(self) -> None:
        for arrival in plan_arrivals(self.tables, self.sources, now=NOW.replace(year=2100)):
            register_arrival(self.tables, self.sources, self.wheel.config.label_spec, arrival, evaluation_share=0.2)

    def content(self, key: str) -> str:
        return current_items(self.tables).filter(pl.col("key") == key)["content_id"].item()


def open_world(config: WheelConfig) -> World:
    tables = open_tables(config)
    store = open_store(tables.root, config.store.s3)
    return World(Wheel(config, tables, store, open_files(config), open_index(config)), open_sources(config))


def key_of(number: int) -> str:
    return SECRET if number == 0 else f"ward/{number:04d}.png"


def configure(folder: Path, root: str = "wheel", **raw: Any) -> WheelConfig:
    store = {"root": root, "cache": "cache", **raw.pop("store", {})}
    return parse_config({**RAW, "store": store, **raw}, base=folder)


def build(config: WheelConfig, folder: Path) -> World:
    """Twelve pictures of which one has a twin, a table, a refused file, vectors, a graph, an index, two turns."""
    photos = folder / "photos"
    (photos / "ward").mkdir(parents=True)
    for number in range(COUNT):
        (photos / key_of(number)).write_bytes(image(number))
    (photos / "notes.csv").write_bytes(csv("id,text,subject", "n1,a private word,anna", "n2,another word,bob"))
    (photos / "broken.png").write_bytes(b"no picture")
    rows = [f"{key_of(number)},{CLASSES[number % 3]},{'anna' if number < 2 else 'bob'}" for number in range(COUNT)]
    (photos / "manifest.csv").write_bytes(csv("key,label,subject", *rows))
    world = open_world(config)
    world.land()
    (photos / "ward" / "late.png").write_bytes(image(99))
    world.land()
    embed(world)
    open_turn(world.tables, 0, trigger="t", reason="r", budget=99.0)
    close_turn(world.tables, 0, snapshot={})
    open_turn(world.tables, 1, trigger="t", reason="r", budget=99.0)
    choose(world, range(4))
    approve_batch(world.tables, 1, author="ann")
    submit_job(world.tables, world.sources, config, open_vendor(config), 1)
    add_model(world)
    world.wheel.files.write("reports/report.html", f"<img alt='{SECRET}'>".encode())
    return world


def embed(world: World) -> None:
    """Vectors by arrival, neighbors, clusters of which one holds a single content, and an index."""
    items = world.tables.read("items")
    generator = np.random.default_rng(0)
    for arrival, part in items.group_by("arrival"):
        vectors = generator.standard_normal((part.height, 4)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = part.select("content_id", encoder_id=pl.lit(ENCODER), arrival=pl.lit(arrival[0]))
        rows = rows.with_columns(vector=pl.Series(vectors.tolist(), dtype=pl.List(pl.Float32)))
        world.tables.replace("embeddings", rows.unique("content_id"), arrival=str(arrival[0]))
    build_neighbors(world.tables, ENCODER, "image", k=3)
    secret = world.content(SECRET)
    contents = current_items(world.tables).filter(pl.col("modality") == "image")["content_id"].to_list()
    rows = [
        {"generation": "g", "modality": "image", "content_id": content, "level": 0, "distance": 0.1}
        | {"cluster_id": "alone" if content == secret else "many"}
        for content in contents
    ]
    world.tables.replace("clusters", pl.DataFrame(rows, schema=SCHEMAS["clusters"]), modality="image")
    named = [
        {"modality": "image", "level": 0, "cluster_id": cluster, "terms": [], "center": [1.0]}
        for cluster in ("alone", "many")
    ]
    world.tables.replace("cluster_names", frame("cluster_names", named), modality="image")
    current = current_items(world.tables)
    with world.wheel.index as index:
        index.ensure([Space(ENCODER, 4)], {"key": "keyword"})
        vectors = np.tile(np.array([[1, 0, 0, 0]], np.float32), (current.height, 1))
        index.upsert(Points(current["item_id"].to_list(), {ENCODER: vectors}, current.select("key").to_dicts()))


def choose(world: World, numbers: range) -> None:
    items = {row["key"]: row for row in current_items(world.tables).iter_rows(named=True)}
    rows = [
        {"turn": 1, "item_id": items[key_of(n)]["item_id"], "content_id": items[key_of(n)]["content_id"], "arm": "seed"}
        | {"position": n, "strategy": "s", "gap_id": "", "score": 0.0, "reason": "", "prelabel": ""}
        for n in numbers
    ]
    world.tables.replace("batches", frame("batches", rows), turn=1)
    gap = {"turn": 1, "gap_id": "g", "examples": [row["item_id"] for row in rows], "linked": []}
    world.tables.replace("gaps", frame("gaps", [gap]), turn=1)


def add_model(world: World) -> None:
    secret, item = world.content(SECRET), item_id("photos", SECRET)
    taught = {"turn": 0, "content_id": secret, "item_id": item, "label": "cat", "arm": "seed", "split": "train"}
    world.tables.replace("training_sets", frame("training_sets", [taught]), turn=0)
    world.tables.replace(
        "models", frame("models", [{"turn": 0, "arm": "deployed", "model_id": "m-1", "classes": []}]), turn=0
    )
    said = {"turn": 0, "content_id": secret, "field": "label", "spec_version": "1", "value": "cat"}
    world.tables.replace("labels", frame("labels", [said]), turn=0)


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    blank = dict.fromkeys(SCHEMAS[table])
    return pl.DataFrame([blank | row for row in rows], schema=SCHEMAS[table])


@pytest.fixture(params=[pytest.param("folder"), pytest.param("s3", marks=pytest.mark.integration)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "folder":
        return build(configure(tmp_path), tmp_path)
    server = request.getfixturevalue("seaweedfs")
    config = configure(tmp_path, server.new_root(), store={"s3": {"endpoint": server.endpoint}})
    return build(config, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> World:
    return build(configure(tmp_path), tmp_path)


def shown_by(world: World, *needles: str) -> list[str]:
    """Files under the wheel's root and cache with one of these texts, Parquet decoded: an independent look."""
    found: list[str] = []
    for store in (world.wheel.table_files, world.wheel.files):
        for info in store.list():
            content = store.read(info.key)
            text = content.decode("latin-1")
            if info.key.endswith(".parquet"):
                text += str(pl.read_parquet(content).to_dicts())
            found += [info.key for needle in needles if needle in text]
    for path in world.wheel.config.cache.rglob("*"):
        if path.is_file():
            found += [str(path) for needle in needles if needle.encode() in path.read_bytes()]
    return found


def test_nothing_of_an_erased_object_should_be_left(world: World) -> None:
    content, item = world.content(SECRET), item_id("photos", SECRET)
    others = current_items(world.tables).filter(pl.col("item_id") != item)
    assert len(shown_by(world, SECRET, content, item)) > 10
    proof = world.erase(SECRET)
    assert proof.verified
    assert shown_by(world, SECRET, content, item) == []
    assert current_items(world.tables).equals(others)
    assert proof.rows_removed == {
        "objects": 1, "items": 1, "embeddings": 1, "neighbors": 1, "clusters": 1, "cluster_names": 1, "batches": 1,
        "annotation_events": 1, "labels": 1, "training_sets": 1,
    }  # fmt: skip
    assert proof.lists_changed["gaps"] == 1
    edges = world.tables.read("neighbors")
    assert (
        edges.select(pl.col("ids").list.len().alias("a"), pl.col("similarities").list.len().alias("b"))
        .filter(pl.col("a") != pl.col("b"))
        .is_empty()
    )
    with world.wheel.index as index:
        assert sorted(index.scroll()) == sorted(others["item_id"])


def test_the_proof_should_tell_what_is_out_of_reach_and_hold_no_name(local: World) -> None:
    content, item = local.content(SECRET), item_id("photos", SECRET)
    proof = local.erase(SECRET)
    written = local.wheel.files.read(f"erasures/{proof.erasure_id}.json").decode()
    page = local.wheel.files.read(f"erasures/{proof.erasure_id}.md").decode()
    assert json.loads(written)["beyond"]["models"] == [{"turn": 0, "arm": "deployed", "model_id": "m-1", "path": None}]
    assert "asked for" in page and "ann" in page and "source" in page
    for text in (content, item, SECRET, "anna"):
        assert text not in written and text not in page
    assert proof.files_removed == ["reports/report.html"]
    assert proof.tasks_removed == 1


def test_an_erased_object_should_not_come_back(local: World) -> None:
    local.erase(SECRET)
    local.land()
    assert SECRET not in current_items(local.tables)["key"].to_list()
    assert shown_by(local, SECRET) == []
    photos = Path(local.sources["photos"].config.root)
    (photos / SECRET).write_bytes(image(500))
    (photos / "manifest.csv").write_bytes(csv("key,label,subject", f"{SECRET},emu,anna", f"{key_of(3)},emu,bob"))
    versions = local.tables.versions()
    local.land()
    assert local.tables.versions() != versions
    assert shown_by(local, SECRET) == []
    assert is_erased(local.tables, "photos", SECRET)
    assert not is_erased(local.tables, "photos", key_of(3))


def test_an_arrival_that_lost_everything_should_keep_its_number(local: World) -> None:
    local.erase("ward/late.png")
    photos = Path(local.sources["photos"].config.root)
    (photos / "ward" / "later.png").write_bytes(image(77))
    local.land()
    objects = local.tables.read("objects")
    assert sorted(objects["arrival"].unique()) == ["arrival-00001", "arrival-00002", "arrival-00003"]
    assert objects.filter(pl.col("key") == "ward/later.png")["arrival"].to_list() == ["arrival-00003"]
    [empty] = objects.filter(pl.col("arrival") == "arrival-00002").to_dicts()
    assert (empty["key"][:7], empty["state"], empty["size"]) == ("erased-", "deleted", 0)
    assert local.tables.read("items", arrival="arrival-00002").is_empty()


def test_everything_of_a_subject_should_go(local: World) -> None:
    proof = local.erase("anna", subject=True)
    assert proof.kind == "subject"
    assert proof.rows_removed["items"] == 3
    rows = current_items(local.tables)
    assert "anna" not in rows["subject_id"].to_list()
    assert rows.filter(pl.col("key") == "notes.csv")["part"].to_list() == ["n2"]
    photos = Path(local.sources["photos"].config.root)
    (photos / "notes.csv").write_bytes(
        csv("id,text,subject", "n1,a private word,anna", "n3,more,anna", "n2,another word,bob")
    )
    local.land()
    assert "anna" not in local.tables.read("items")["subject_id"].to_list()
    assert shown_by(local, "a private word") == []
    (photos / "hers.csv").write_bytes(csv("id,text,subject", "n9,all hers,anna"))
    local.land()
    refused = current_quarantine(local.tables).filter(pl.col("key") == "hers.csv")
    assert refused["reason"].to_list() == ["erased"]
    assert "anna" not in refused["message"].item()
    with pytest.raises(DataError, match="subject 'anna' was erased for good"):
        local.prepare("anna", subject=True)


def test_a_content_that_another_item_has_should_stay(local: World) -> None:
    photos = Path(local.sources["photos"].config.root)
    (photos / TWIN).write_bytes(image(0))
    local.land()
    content = local.content(SECRET)
    proof = local.erase(SECRET)
    assert proof.shared_contents_kept == 1
    assert "embeddings" not in proof.rows_removed
    assert local.content(TWIN) == content
    assert local.tables.read("labels")["content_id"].to_list() == [content]
    assert any("1 contents belong to other items too" in line for line in proof.out_of_reach)


def test_a_refused_object_should_be_erasable(local: World) -> None:
    proof = local.erase("broken.png")
    assert proof.rows_removed == {"objects": 1, "quarantine": 1}
    assert current_quarantine(local.tables).is_empty()
    assert shown_by(local, "broken.png") == []


def test_a_manifest_and_an_unknown_name_should_be_refused(local: World) -> None:
    with pytest.raises(DataError, match="is a manifest"):
        local.prepare("manifest.csv")
    with pytest.raises(DataError, match="did you mean"):
        local.prepare("ward/anna-18.png")
    with pytest.raises(DataError, match="no item of a subject 'carl'"):
        local.prepare("carl", subject=True)


def test_turns_should_go_on_after_an_erasure(local: World) -> None:
    before = read_turn(local.tables, 0).pinned
    local.erase(SECRET)
    assert is_approved(local.tables, 1)
    config, tables = local.wheel.config, local.tables
    assert not submit_job(tables, local.sources, config, open_vendor(config), 1).created
    orders = Path(config.vendor.folder) / tables.read("jobs")["job_id"].item()  # pyright: ignore
    lines = [json.loads(line) for line in (orders / "tasks.jsonl").read_text().splitlines()]
    answers = [json.dumps({"task_uid": line["task_uid"], "value": "cat", "author": "a"}) for line in lines]
    (orders / "answers.jsonl").write_text("\n".join(answers))
    assert collect_answers(tables, open_vendor(config), config, local.sources, 1).new_events == 3
    assert tables.read("items", read_turn(tables, 1).pinned["items"]).height == current_items(tables).height
    assert read_turn(tables, 0).pinned == before
    with pytest.raises(
        VersionErased, match=r"version \d+ of table 'items' no longer exists: erasure \w+ of 2026-11-22"
    ):
        tables.scan("items", before["items"])


class Killed(BaseException):
    """The process ends here."""


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], int]:
    """End at the n-th write of any kind; returns how many were made."""
    made = 0

    def wrap(owner: type, name: str) -> None:
        inner = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made == step:
                raise Killed
            return inner(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in (
        (Tables, "_write"), (Tables, "forget_versions"), (FolderStore, "delete"), (FolderStore, "write"),
        (EdgeIndex, "delete"), (EdgeIndex, "rebuild"),
    ):  # fmt: skip
        wrap(owner, name)
    return lambda: made


@pytest.mark.slow
def test_an_erasure_cut_off_anywhere_should_be_finished_by_the_same_words(tmp_path: Path) -> None:
    """Every seventh of its writes, each in its own copy of a wheel that was built once."""
    whole = tmp_path / "0"
    whole.mkdir()
    built = build(configure(whole), whole)
    content, item = built.content(SECRET), item_id("photos", SECRET)
    reference: dict[str, int] = {}
    step, total = 0, 1
    while step <= total:
        folder = tmp_path / f"copy-{step}"
        shutil.copytree(whole, folder)
        world = open_world(configure(folder))
        with pytest.MonkeyPatch.context() as patch:
            made = killed_at(patch, step)
            try:
                proof = world.erase(SECRET)
            except Killed:
                proof = None
            total = made() if step == 0 else total
        proof = proof or world.erase(SECRET)
        reference = reference or proof.rows_removed
        assert proof.verified, step
        assert proof.rows_removed == reference, step
        assert shown_by(world, SECRET, content, item) == [], step
        assert read_turn(world.tables, 1).pinned["items"] == world.tables.version("items")
        shutil.rmtree(folder)
        step += 1 if step == 0 else 7
    assert total > 40


def test_an_erasure_killed_for_real_should_be_finished(local: World) -> None:
    folder = local.wheel.config.cache.parent
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom flywheel.tables import Tables\n"
        "from tests.unit.test_erasure import SECRET, configure, open_world\n"
        "inner, left = Tables.forget_versions, [2]\n"
        "def dying(self, name):\n    left[0] -= 1\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n    return inner(self, name)\n"
        "Tables.forget_versions = dying\n"
        "open_world(configure(Path(sys.argv[1]))).erase(SECRET)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == -signal.SIGKILL
    content = local.wheel.files.list("erasures/")
    assert [info.key.endswith(".pending.json") for info in content] == [True]
    assert is_erased(local.tables, "photos", SECRET)
    with pytest.raises(DataError, match="was cut off; finish it first"):
        local.erase("broken.png")
    assert local.erase(SECRET).verified
    assert shown_by(local, SECRET) == []


def test_the_command_should_list_ask_and_tell_where_the_proof_lies(local: World, tmp_path: Path) -> None:
    path = tmp_path / "flywheel.yaml"
    path.write_text(json.dumps(RAW | {"store": {"root": "wheel", "cache": "cache"}}))
    arguments = ["items", "erase", SECRET, "--config", str(path), "--author", "ann"]
    asked = CliRunner().invoke(app, arguments)
    assert asked.exit_code == 2
    assert SECRET in asked.stdout and "annotation_events" in asked.stdout and "model m-1 of turn 0" in asked.stdout
    assert local.content(SECRET)
    done = CliRunner().invoke(app, [*arguments, "--yes", "--json"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verified"] and Path(told["proof"]).read_text().startswith(f"# Erasure {told['erasure_id']}")
    again = CliRunner().invoke(app, [*arguments, "--yes"])
    assert again.exit_code == 3
    assert "was erased for good" in again.stderr


def test_two_erasures_should_share_the_salt_and_leave_each_others_digests(local: World) -> None:
    first, second = local.erase(SECRET), local.erase("broken.png")
    rows = local.tables.read("erasures")
    assert rows["salt"].n_unique() == 1
    assert set(rows["digest"]) == {*first.digests, *second.digests}
    assert rows["state"].to_list() == ["done", "done"]
    assert is_erased(local.tables, "photos", "broken.png")
