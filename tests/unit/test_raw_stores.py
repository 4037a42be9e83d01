"""The same history in a folder and on S3 must leave the same tables, etags and times aside."""

from pathlib import Path

import polars as pl
import pytest

from flywheel.objects import open_store, storage_options
from flywheel.raw import check_arrival, current_items, read_contents
from flywheel.records import SCHEMAS
from flywheel.tables import Tables
from tests.raw_world import SPEC, World, csv, folder_world, image, jsonl, parquet
from tests.servers import SeaweedFS

ASIDE = {"version", "modified_at", "at"}


def turn_history(world: World) -> None:
    """Three arrivals with everything that may happen to an object."""
    for number in range(12):
        world.put(f"images/{number}.png", image(number))
    world.put("images/é ü+%20.jpg", image(1, "JPEG"))
    world.put("a-b.txt", b"one")
    world.put("a/b.txt", b"two")
    world.put("a.txt", b"\xff")
    world.put("broken.png", b"broken")
    world.put("empty.png", b"")
    world.put("what.bin", b"?")
    world.put("large.txt", b"x" * 100_001)
    world.put(
        "rows.jsonl", jsonl({"id": "x", "text": "one", "label": "cat"}, {"text": ""}, {"id": "x", "text": "again"})
    )
    world.put("rows.parquet", parquet([{"text": "three", "n": 1.5}, {"text": "four", "n": None}]))
    world.put("manifest.csv", csv("key,label,n", "images/0.png,cat,1", "images/1.png,zebra,2", "nowhere.png,cat,3"))
    world.land()
    world.put("images/0.png", image(100))
    world.delete("images/2.png")
    world.put("broken.png", image(7))
    world.put("manifest.csv", csv("key,label,n", "images/1.png,dog,2", "images/3.png,dog,4"))
    world.land()
    world.delete("manifest.csv")
    world.put("images/2.png", image(2))
    world.land()


@pytest.mark.integration
def test_a_folder_and_s3_should_leave_the_same_tables(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    local = folder_world(tmp_path, max_bytes=100_000)
    root = seaweedfs.new_root()
    remote = World(
        Tables(f"{root}/tables", storage_options(seaweedfs.s3)),
        open_store(f"{root}/source", seaweedfs.s3),
        max_bytes=100_000,
    )
    for world in (local, remote):
        turn_history(world)
    for table in ("objects", "items", "quarantine", "annotation_events"):
        columns = [column for column in SCHEMAS[table] if column not in ASIDE]
        here, there = (w.tables.read(table).select(columns).sort(columns).rows() for w in (local, remote))
        assert here == there, table
        assert here
    for world in (local, remote):
        contents = {c.content_id: c.data for c in read_contents(world.sources, current_items(world.tables))}
        assert set(contents) == set(current_items(world.tables)["content_id"])
        objects = world.tables.read("objects", arrival="arrival-00001").filter(pl.col("key") != "manifest.csv")
        first = [world.tables.read(table, arrival="arrival-00001") for table in ("items", "quarantine")]
        assert check_arrival(*first, SPEC, objects=objects).passed
    assert local.refused() == remote.refused()


@pytest.mark.integration
def test_hostile_keys_on_s3_should_be_quarantined(seaweedfs: SeaweedFS, tables: Tables) -> None:
    root = seaweedfs.new_root()
    world = World(tables, open_store(root, seaweedfs.s3))
    prefix = root.removeprefix("s3://flywheel/")
    hostile = ["new\nline.png", "tab\t.txt", "esc\x1b[2J.png"]
    for key in [*hostile, "good.png"]:
        seaweedfs.client().put_object(Bucket="flywheel", Key=f"{prefix}/{key}", Body=image(1))
    world.land()
    assert set(world.items()) == {"good.png"}
    assert world.refused() == {(key, "bad_key") for key in hostile}
