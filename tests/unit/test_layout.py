import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flywheel.errors import DataError
from flywheel.structure import build_clusters, draw_map, lay_out, lay_out_map
from flywheel.structure import layout as module
from flywheel.structure.plots import palette
from flywheel.tables import Tables
from tests.unit.structure_data import WORDS, WordEncoder, add_arrival, blobs, names


def _agreement(places: np.ndarray, truth: np.ndarray) -> float:
    """Share of rows whose nearest row on the map is of the same group."""
    away = np.square(places[:, None] - places[None]).sum(axis=2)
    np.fill_diagonal(away, np.inf)
    return float(np.mean(truth[away.argmin(axis=1)] == truth))


def test_groups_lie_apart() -> None:
    vectors, truth = blobs([40, 40, 40], spread=0.5)
    places = lay_out(vectors, 0)
    assert places.shape == (120, 2)
    assert places.dtype == np.float32
    assert _agreement(places, truth) == 1.0
    assert 0.5 < np.quantile(np.hypot(*places.T), 0.9) <= 1.0001


def test_rows_beside_the_landmarks_lie_with_their_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LANDMARKS", 60)
    vectors, truth = blobs([100, 100, 100], spread=0.5)
    places = lay_out(vectors, 0)
    assert _agreement(places, truth) >= 0.99
    assert len(np.unique(places, axis=0)) == 300  # none on top of another


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 6])
def test_few_rows_have_places_too(n: int) -> None:
    places = lay_out(blobs([n], spread=1.0)[0], 0)
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()


def test_identical_rows_have_places() -> None:
    assert np.isfinite(lay_out(np.repeat(np.eye(8, dtype=np.float32)[:1], 30, axis=0), 0)).all()


def test_same_rows_give_the_same_bits() -> None:
    vectors, _ = blobs([50, 50], spread=1.0)
    assert np.array_equal(lay_out(vectors, 1), lay_out(vectors, 1))


def test_placed_rows_stay_and_new_ones_come_to_their_group() -> None:
    vectors, truth = blobs([40, 40, 40], spread=0.5)
    old = np.random.default_rng(0).random(120) < 0.7
    former = np.full((120, 2), np.nan, np.float32)
    former[old] = lay_out(vectors[old], 0)
    places = lay_out(vectors, 0, former)
    assert np.array_equal(places[old], former[old])
    assert _agreement(places, truth) == 1.0


def test_map_is_drawn_anew_when_most_rows_are_new() -> None:
    vectors, _ = blobs([40, 40, 40], spread=0.5)
    former = np.full((120, 2), np.nan, np.float32)
    former[:50] = lay_out(vectors[:50], 0)
    assert np.array_equal(lay_out(vectors, 0, former), lay_out(vectors, 0))


def test_points_stay_from_one_arrival_to_the_next(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([30, 30], spread=0.5)
    add_arrival(tables, "arrival-00001", names(40), vectors[:40])
    assert lay_out_map(tables, "words-1", "image", seed=0).written
    before = tables.read("map_points").sort("content_id")
    assert not lay_out_map(tables, "words-1", "image", seed=0).written
    add_arrival(tables, "arrival-00002", names(20, 40), vectors[40:])
    report = lay_out_map(tables, "words-1", "image", seed=0)
    after = tables.read("map_points").sort("content_id")
    assert report.facts == {"stayed": 40}
    assert after["content_id"].to_list() == names(60)
    assert after.head(40).select("x", "y").equals(before.select("x", "y"))


def test_another_encoder_has_a_map_of_its_own(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    vectors, _ = blobs([20, 20], spread=0.5)
    add_arrival(tables, "arrival-00001", names(40), vectors)
    lay_out_map(tables, "words-1", "image", seed=0)
    add_arrival(tables, "arrival-00001", names(40), np.roll(vectors, 7, axis=0), encoder_id="words-2")
    assert lay_out_map(tables, "words-2", "image", seed=0).facts == {"stayed": 0}


def _mapped(root: Path) -> Tables:
    tables = Tables(str(root))
    vectors, _ = blobs([30, 30, 30], spread=0.5)
    add_arrival(tables, "arrival-00001", names(90), vectors)
    build_clusters(tables, WordEncoder(), sizes=(30, 15), seed=0, vocabulary=WORDS)
    lay_out_map(tables, "words-1", "image", seed=0)
    return tables


def test_picture_shows_each_cluster_in_its_color(tmp_path: Path) -> None:
    drawn = draw_map(_mapped(tmp_path), "image")
    picture = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"), np.int16).reshape(-1, 3)
    assert Image.open(io.BytesIO(drawn)).width > 1000
    for color in palette(3):
        shown = np.asarray(color) * 0.75 + 0.25  # points are a little transparent
        assert (np.abs(picture - shown * 255).max(axis=1) < 6).sum() > 200


def test_highlights_are_drawn_over_pale_points(tmp_path: Path) -> None:
    tables = _mapped(tmp_path)
    plain, chosen = draw_map(tables, "image"), draw_map(tables, "image", highlight={"labeled": names(9), "gap": ["?"]})

    def black(drawn: bytes) -> int:
        picture = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"), np.int16)
        return int((np.abs(picture - 0x11).max(axis=2) < 4).sum())

    assert black(chosen) > black(plain) + 200


def test_same_map_gives_the_same_picture(tmp_path: Path) -> None:
    tables = _mapped(tmp_path)
    assert draw_map(tables, "image") == draw_map(tables, "image")
    assert draw_map(tables, "image", color_by="finest") != draw_map(tables, "image", color_by="none")


def test_a_map_that_does_not_stand_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no map stands for modality 'image'"):
        draw_map(Tables(str(tmp_path)), "image")
    with pytest.raises(DataError, match="not by 'mood'"):
        draw_map(_mapped(tmp_path / "w"), "image", color_by="mood")
