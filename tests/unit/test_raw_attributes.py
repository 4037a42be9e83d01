"""What keys and files say about an item by themselves."""

from typing import Any

import pytest
from PIL import ExifTags, Image

from flywheel.objects import FolderStore
from flywheel.raw.patterns import matches, said_by_key
from flywheel.raw.places import nearest_town
from flywheel.tables import Tables
from tests.raw_world import World, image
from tests.unit.signal_files import beats, npz
from tests.unit.test_raw_decode import noise, saved


@pytest.fixture
def make_world(tmp_path: Any) -> Any:
    return lambda **config: World(Tables(str(tmp_path / "tables")), FolderStore(tmp_path / "source"), **config)


@pytest.mark.parametrize(
    ("pattern", "key", "attributes"),
    [
        ("site={site}/day={day}/**", "site=berlin/day=2026-11-22/a/b.png", {"site": "berlin", "day": "2026-11-22"}),
        ("{camera}/*.png", "front/1.png", {"camera": "front"}),
        ("{camera}/*.png", "front/deep/1.png", None),
        ("**/{name}.wav", "x/y/z.wav", {"name": "z"}),
        (None, "a.png", None),
    ],
)
def test_a_key_should_tell_what_its_pattern_names(pattern: str | None, key: str, attributes: Any) -> None:
    said = said_by_key(pattern, key)
    assert (said.attributes if said else None) == attributes


def test_subject_label_and_split_of_a_key_should_be_what_they_say() -> None:
    said = said_by_key("{split}/{label}/{subject}_*.png", "train/cat/tom_1.png")
    assert said is not None and (said.subject, said.label, said.split) == ("tom", "cat", "train")
    strange = said_by_key("{split}/**", "testing/a.png")
    assert strange is not None and strange.split is None


@pytest.mark.parametrize(("pattern", "key"), [("a**", "ab/c"), ("[{]x}", "{x}"), ("a{b", "a{b")])
def test_what_is_no_name_in_braces_should_stay_a_plain_pattern(pattern: str, key: str) -> None:
    assert matches(pattern, key)


def test_items_should_carry_what_key_and_manifest_say_the_manifest_first(make_world: Any) -> None:
    world = make_world(attributes="{site}/{subject}/**")
    world.put("berlin/ann/1.png", image(1))
    world.put("paris/bob/1.png", image(2))
    world.put("manifest.csv", b"key,site,age\nparis/bob/1.png,lyon,7\n")
    world.land()
    assert world.attributes("berlin/ann/1.png") == {"site": "berlin"}
    assert world.attributes("paris/bob/1.png") == {"site": "lyon", "age": 7}
    assert [item["subject_id"] for item in world.items().values()] == ["ann", "bob"]


def photograph(
    latitude: tuple[float, float, float], north: str, longitude: tuple[float, float, float], east: str
) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Canon", "Canon EOS 5D"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:06 07:08:09"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {
            ExifTags.GPS.GPSLatitudeRef: north,
            ExifTags.GPS.GPSLatitude: latitude,
            ExifTags.GPS.GPSLongitudeRef: east,
            ExifTags.GPS.GPSLongitude: longitude,
        }
    )
    return saved(noise(), "JPEG", exif=exif)


def test_a_photograph_should_tell_when_where_and_with_what_it_was_taken(make_world: Any) -> None:
    world = make_world()
    world.put("a.jpg", photograph((52.0, 31.0, 12.0), "N", (13.0, 24.0, 18.0), "E"))
    world.put("b.jpg", photograph((33.0, 52.0, 0.0), "S", (151.0, 12.0, 0.0), "E"))
    world.land()
    told = world.all_attributes("a.jpg")
    assert told["file.taken_at"] == "2024-05-06T07:08:09"
    assert told["file.camera"] == "Canon EOS 5D"
    assert (told["file.latitude"], told["file.longitude"]) == (52.52, 13.405)
    assert told["file.country"] == "DE" and (told["file.width"], told["file.height"]) == (12, 9)
    assert world.all_attributes("b.jpg")["file.country"] == "AU"


def test_what_the_file_tells_should_stay_when_a_manifest_comes_later(make_world: Any) -> None:
    world = make_world()
    world.put("a.jpg", photograph((52.0, 31.0, 12.0), "N", (13.0, 24.0, 18.0), "E"))
    world.land()
    before = world.all_attributes("a.jpg")
    world.put("manifest.csv", b"key,age\na.jpg,7\n")
    world.land()
    assert world.all_attributes("a.jpg") == {**before, "age": 7}


@pytest.mark.parametrize("latitude", [(91.0, 0.0, 0.0), (89.0, 59.0, 90.0)])
def test_coordinates_that_are_none_should_be_left_out(make_world: Any, latitude: tuple[float, float, float]) -> None:
    world = make_world()
    world.put("a.jpg", photograph(latitude, "N", (13.0, 0.0, 0.0), "E"))
    world.land()
    assert not any(name in world.all_attributes("a.jpg") for name in ("file.latitude", "file.place"))


def test_the_nearest_town_should_be_found_across_the_date_line() -> None:
    assert nearest_town(40.7128, -74.006).name == "New York City"
    assert nearest_town(-16.8, 179.99).country == nearest_town(-16.8, -179.99).country == "FJ"


def test_record_picture_and_recording_of_one_patient_should_be_one_subject_on_one_side(make_world: Any) -> None:
    world = make_world(attributes="{subject}/*", records={"subjects": "people.csv"})
    people = [f"p{number}" for number in range(12)]
    world.put("people.csv", ("id,age\n" + "".join(f"{name},{40 + row}\n" for row, name in enumerate(people))).encode())
    for row, name in enumerate(people):
        world.put(f"{name}/chest.png", image(row))
        world.put(f"{name}/ecg.npz", npz(beats(21, seed=row)))
    world.land()
    items = list(world.items().values())
    assert {item["modality"] for item in items} == {"record", "image", "signal"}
    for name in people:
        mine = [item for item in items if item["subject_id"] == name]
        assert sorted(item["modality"] for item in mine) == ["image", "record", "signal", "signal"]
        assert len({item["split"] for item in mine}) == 1
    assert {item["split"] for item in items} == {"pool", "eval"}
