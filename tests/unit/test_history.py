from pathlib import Path

import pytest

from flywheel.errors import DataError
from flywheel.history import read_history
from flywheel.turns import open_turn
from tests.labeling_world import make_world
from tests.raw_world import World, csv, folder_world, image


@pytest.fixture
def world(tmp_path: Path) -> World:
    return folder_world(tmp_path)


def test_every_version_and_what_became_of_it_is_told(world: World) -> None:
    world.put("a/cat.png", image(1))
    world.put("manifest.csv", csv("key,label,camera", "a/cat.png,cat,old"))
    world.land()
    world.put("a/cat.png", image(2))
    world.land()
    world.put("manifest.csv", csv("key,label,camera", "a/cat.png,dog,new"))
    world.land()
    world.delete("a/cat.png")
    world.land()
    found = read_history(world.tables, "a/cat.png")
    assert [row["state"] for row in found.objects] == ["active", "active", "deleted"]
    assert [row["arrival"][-1] for row in found.objects] == ["1", "2", "4"]
    [item] = found.items
    assert [row["status"] for row in item.versions] == ["active", "active", "active", "retired"]
    assert [sorted(row["changed"]) for row in item.versions] == [[], ["content_id"], ["attr.camera"], ["status"]]
    assert item.versions[2]["changed"]["attr.camera"] == ("old", "new")
    values = [(row["origin"][-1], row["value"]) for row in item.events]
    assert values[0] == ("1", "cat")
    assert values[-1] == ("3", "dog")
    assert {row["content_id"] for row in item.events} <= {row["content_id"] for row in item.versions}


def test_refusals_are_part_of_the_history(world: World) -> None:
    world.put("broken.png", b"no picture")
    world.land()
    world.put("broken.png", image(3))
    world.land()
    found = read_history(world.tables, "broken.png")
    assert [row["reason"] for row in found.refusals] == ["undecodable"]
    assert [row["arrival"][-1] for row in found.items[0].versions] == ["2"]


def test_an_item_is_found_by_its_id_and_by_its_row(world: World) -> None:
    world.put("texts.csv", csv("id,text", "1,one fine day", "2,another day"))
    world.land()
    whole = read_history(world.tables, "texts.csv")
    assert [item.part for item in whole.items] == ["1", "2"]
    row = read_history(world.tables, "texts.csv#2")
    assert [item.part for item in row.items] == ["2"]
    assert read_history(world.tables, row.items[0].item_id) == row


def test_an_unknown_key_names_what_is_like_it(world: World) -> None:
    for name in ("a/cat-1.png", "a/cat-2.png", "b/horse.png"):
        world.put(name, image(len(name)))
    world.land()
    with pytest.raises(DataError, match=r"'cat-1.png' was never seen in any source; did you mean a/cat-1.png\?"):
        read_history(world.tables, "cat-1.png")
    with pytest.raises(DataError, match=r"did you mean .*b/horse.png"):
        read_history(world.tables, "b/house.png")
    with pytest.raises(DataError, match="never seen in source 'other'"):
        read_history(world.tables, "b/horse.png", "other")


def test_turns_that_used_an_item_are_told(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    open_turn(world.tables, 0, trigger="t", reason="r", budget=1.0)
    world.choose([3, 4])
    [item] = read_history(world.tables, "0003.png").items
    assert [(row["turn"], row["use"], row["arm"]) for row in item.turns] == [(0, "chosen", "seed")]
    assert read_history(world.tables, "0005.png").items[0].turns == ()
