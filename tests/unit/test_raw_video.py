"""Videos become frames or clips: at the right times, upright, alike on repetition; what is wrong is refused."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flywheel.errors import ConfigError
from flywheel.raw import current_items, read_contents
from flywheel.raw.datum import Datum
from flywheel.raw.decoders.video import parse_clip
from flywheel.raw.reasons import Refusal
from tests.raw_world import decode, folder_world, image
from tests.unit.video_files import COLORS, picture, rotated, video

FRAMES = {"items": "frames"}


def data(content: bytes, key: str = "a.mp4", **settings: Any) -> list[Datum]:
    found = decode(content, key, contents=True, video=settings)
    assert all(isinstance(one, Datum) for one in found), found
    return [one for one in found if isinstance(one, Datum)]


def reasons(content: bytes, key: str = "a.mp4", **config: Any) -> list[str]:
    return [one.reason for one in decode(content, key, **config) if isinstance(one, Refusal)]


def pixels(datum: Datum) -> Any:
    return np.asarray(Image.open(io.BytesIO(datum.data or b"")))


@pytest.mark.parametrize(
    ("form", "ending", "codec"),
    [
        ("mp4", "mp4", "libx264"),
        ("mov", "mov", "mpeg4"),
        ("matroska", "mkv", "libx264"),
        ("webm", "webm", "libvpx"),
        ("avi", "avi", "mpeg4"),
    ],
)
def test_frames_come_at_their_times_from_every_container(form: str, ending: str, codec: str) -> None:
    found = data(video(3, form=form, codec=codec), f"a.{ending}", items="frames", every_seconds=1)
    assert [one.part for one in found] == ["t=000000.000", "t=000001.000", "t=000002.000"]
    assert all(one.modality == "image" and one.piece for one in found)
    for second, one in enumerate(found):
        assert np.abs(pixels(one)[40, 20].astype(int) - COLORS[second]).max() < 30
        assert (one.told["width"], one.told["height"], one.told["fps"], one.told["start"]) == (96, 64, 10.0, second)


def test_a_frame_is_the_same_content_as_its_picture_in_a_file() -> None:
    [frame] = data(video(0.5), items="frames")
    [same] = decode(frame.data or b"", "a.png")
    assert isinstance(same, Datum) and same.content_id == frame.content_id


def test_clips_say_when_they_start_and_end_and_hold_evenly_spaced_frames() -> None:
    first, last = data(video(5), clip_seconds=3, frames_per_clip=3)
    assert [one.part for one in (first, last)] == ["t=000000.000-000003.000", "t=000003.000-000005.000"]
    assert (last.told["start"], last.told["end"], last.told["seconds"], last.told["codec"]) == (3, 5, 2, "h264")
    frames = parse_clip(first.data or b"").frames
    assert frames.shape == (3, 224, 336, 3)
    assert [int(np.argmax(frame[150, 100])) for frame in frames] == [0, 1, 2]  # red, green, blue
    assert parse_clip(last.data or b"").frames.shape[0] == 2


def test_repeated_decoding_gives_the_same_times_and_pixels() -> None:
    content = video(4)
    for settings in (FRAMES, {"clip_seconds": 2}, {"scenes": True}):
        assert data(content, **settings) == data(content, **settings)


def test_scenes_are_found_where_the_picture_changes() -> None:
    content = video(3, hold=15)
    assert [one.part for one in data(content, items="frames", scenes=True)] == ["t=000000.000", "t=000001.500"]
    clips = [one.part for one in data(content, scenes=True)]
    assert clips == ["t=000000.000-000001.500", "t=000001.500-000003.000"]
    assert len(data(content, items="frames", scenes=True, scene_threshold=0.9)) == 1


@pytest.mark.parametrize(("degrees", "white"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_rotation_in_the_header_is_respected(degrees: int, white: tuple[int, int]) -> None:
    content = rotated(video(0.5), degrees)
    [frame] = data(content, items="frames")
    shown = pixels(frame)
    assert shown.shape[:2] == ((64, 96) if degrees == 180 else (96, 64))
    turned = np.rot90(picture(0), -degrees // 90)
    assert np.abs(shown.astype(int) - turned).mean() < 12
    assert shown[white].min() > 200
    assert (frame.told["width"], frame.told["height"]) == shown.shape[1::-1]
    [clip] = data(content)
    assert parse_clip(clip.data or b"").frames.shape[1:3] == ((224, 336) if degrees == 180 else (336, 224))


def test_a_variable_rate_follows_the_times_not_the_count() -> None:
    content = video(times=[0, 1, 2, 10, 11, 35, 36])
    found = data(content, items="frames", every_seconds=1)
    assert [one.part for one in found] == ["t=000000.000", "t=000001.000", "t=000003.500"]


def test_what_has_no_frames_is_refused() -> None:
    assert reasons(video(sound=True, pictures=False)) == ["no_frames"]
    assert reasons(b"") == ["empty"]
    assert reasons(b"\0\0\0\x20ftypisom" + b"nothing of it" * 50) == ["undecodable"]
    assert reasons(image(), "a.mp4") == ["undecodable"]


def test_truncated_videos_keep_what_came_before() -> None:
    whole = video(6, options={"movflags": "+faststart"})
    found = decode(whole[: len(whole) * 6 // 10], "a.mp4", video=FRAMES)
    assert isinstance(found[-1], Refusal) and found[-1].reason in ("truncated", "undecodable")
    assert 0 < len(found) - 1 < 6
    tail = video(6)
    assert reasons(tail[: len(tail) // 2]) == ["undecodable"]  # its index stood at the end


def test_limits_hold() -> None:
    content = video(3)
    assert reasons(content, max_pixels=96 * 63) == ["too_many_pixels"]
    assert reasons(content, video={"max_seconds": 2}) == ["too_long"]
    assert reasons(content, max_file_bytes=100) == ["too_large"]
    found = decode(content, "a.mp4", video={"items": "frames", "max_frames": 15})
    assert [one.part for one in found if isinstance(one, Datum)] == ["t=000000.000", "t=000001.000"]
    assert isinstance(found[-1], Refusal) and found[-1].reason == "too_long"


def test_playlists_do_not_lead_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(video(1))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile {tmp_path}/secret.mp4\n"
    for trap in (playlist, concat):
        assert reasons(trap.encode(), "a.mp4") == ["undecodable"]


def test_the_source_decides_between_frames_and_clips() -> None:
    content = video(1)
    assert {one.modality for one in decode(content, "a.mp4", modality="image") if isinstance(one, Datum)} == {"image"}
    assert {one.modality for one in decode(content, "a.mp4", modality="video") if isinstance(one, Datum)} == {"video"}
    assert reasons(content, modality="text") == ["unknown_type"]


def test_contradictory_settings_are_named(tmp_path: Path) -> None:
    from flywheel.config import parse_config

    source = {"id": "a", "root": ".", "modality": "video", "video": {"items": "frames"}}
    raw = {
        "sources": [source],
        "label_spec": {"modality": "video", "classes": ["a", "b"]},
        "vendor": {"kind": "file", "folder": "x"},
    }
    with pytest.raises(ConfigError, match=r"video\.items"):
        parse_config(raw, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["mp4", "webm", "avi"])
def test_mutants_are_items_or_refusals_and_nothing_else(form: str) -> None:
    content = video(1, form=form, codec={"mp4": "libx264", "webm": "libvpx", "avi": "mpeg4"}[form])
    random = np.random.default_rng(3)
    for _ in range(15):
        mutant = bytearray(content)
        for place in random.integers(0, len(content), 8):
            mutant[place] = random.integers(256)
        found = decode(bytes(mutant[: random.integers(len(mutant) // 2, len(mutant) + 1)]), f"a.{form}")
        assert found and all(isinstance(one, Datum | Refusal) for one in found)


@pytest.mark.parametrize("settings", [FRAMES, {"clip_seconds": 1}])
def test_a_video_never_stands_on_both_sides_and_is_read_back(tmp_path: Path, settings: dict[str, Any]) -> None:
    world = folder_world(tmp_path, video=settings)
    for number in range(6):
        world.put(f"v{number}.mp4", video(3, size=(32 + 16 * number, 32)))
    assert world.land().items == 18
    sides: dict[str, set[str]] = {}
    for item in world.items().values():
        sides.setdefault(item["subject_id"], set()).add(item["split"])
    assert len(sides) == 6 and all(len(split) == 1 for split in sides.values())
    found = {content.content_id for content in read_contents(world.sources, current_items(world.tables))}
    assert found == {item["content_id"] for item in world.items().values()}
