"""The embeddings station: each distinct content once, whatever happens on the way."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flywheel.config import LabelSpecConfig, SourceConfig
from flywheel.encoders import Encoder, embed_arrival, load_vectors, missing_contents, scan_vectors
from flywheel.encoders.conse import open_conse
from flywheel.encoders.embed import EmbedReport, to_matrix
from flywheel.encoders.text import TextEncoder, open_minilm
from flywheel.errors import DataError
from flywheel.objects import FolderStore, Source
from flywheel.raw import plan_arrivals, register_arrival
from flywheel.tables import Tables
from tests.unit.encoder_models import noisy_images

NOW = datetime(2100, 1, 1, tzinfo=UTC)
SPEC = LabelSpecConfig(modality="text", classes=("good", "bad"))


class Wheel:
    """A folder of data, and the tables it arrives in."""

    def __init__(self, folder: Path):
        self.data, self.tables = folder / "data", Tables(str(folder / "tables"))
        self.data.mkdir()
        self.sources = {"files": Source(SourceConfig(id="files", root=str(self.data)), FolderStore(str(self.data)))}

    def land(self, **texts: str) -> str:
        """Write one text file each; return the arrival they came in."""
        for name, text in texts.items():
            (self.data / f"{name}.txt").write_text(text)
        return self.arrive()

    def arrive(self) -> str:
        arrival = plan_arrivals(self.tables, self.sources, now=NOW)[-1]
        register_arrival(self.tables, self.sources, SPEC, arrival, evaluation_share=0.2)
        return arrival

    def embed(self, encoder: Encoder, arrival: str, **options: object) -> EmbedReport:
        return embed_arrival(self.tables, self.sources, {encoder.modality: encoder}, arrival, **options)  # type: ignore[arg-type]

    def rows(self) -> pl.DataFrame:
        return self.tables.read("embeddings").sort("encoder_id", "content_id")

    def ids(self) -> list[str]:
        return self.tables.read("items")["content_id"].unique().sort().to_list()


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    return Wheel(tmp_path)


@pytest.fixture(scope="module")
def model() -> TextEncoder:
    return open_minilm(max_tokens=16)


@pytest.fixture
def encoder(model: TextEncoder) -> TextEncoder:
    model.contents_encoded = 0
    return model


def numbered(count: int, start: int = 0) -> dict[str, str]:
    return {f"file-{number:03}": f"text number {number}" for number in range(start, start + count)}


def test_every_content_of_an_arrival_gets_the_vector_of_its_text(wheel: Wheel, encoder: TextEncoder):
    arrival = wheel.land(a="a red flower", b="interest rates")
    assert wheel.embed(encoder, arrival) == EmbedReport(encoded=2)
    rows = wheel.rows()
    assert rows["encoder_id"].unique().to_list() == [encoder.id]
    assert rows["arrival"].unique().to_list() == [arrival]
    expected = {row.tobytes() for row in encoder.encode_words(["a red flower", "interest rates"])}
    assert {row.tobytes() for row in to_matrix(rows["vector"])} == expected


def test_images_and_texts_go_to_their_own_encoders(wheel: Wheel, encoder: TextEncoder):
    for image in noisy_images(3):
        (wheel.data / f"{image.content_id}.png").write_bytes(image.data)
    arrival = wheel.land(a="a red flower")
    images = open_conse(image_size=32)
    report = embed_arrival(wheel.tables, wheel.sources, {"image": images, "text": encoder}, arrival)
    assert report == EmbedReport(encoded=4)
    lengths = wheel.rows().group_by("encoder_id").agg(pl.col("vector").list.len().unique(), pl.len().alias("rows"))
    assert {row[0]: (row[1], row[2]) for row in lengths.iter_rows()} == {images.id: ([1280], 3), encoder.id: ([384], 1)}


def test_a_repeat_encodes_nothing_and_writes_nothing(wheel: Wheel, encoder: TextEncoder):
    arrival = wheel.land(**numbered(5))
    wheel.embed(encoder, arrival)
    version, encoded = wheel.tables.version("embeddings"), encoder.contents_encoded
    assert wheel.embed(encoder, arrival) == EmbedReport(reused=5)
    assert encoder.contents_encoded == encoded == 5
    assert wheel.tables.version("embeddings") == version


def test_a_new_portion_encodes_only_what_was_never_seen(wheel: Wheel, encoder: TextEncoder):
    wheel.embed(encoder, wheel.land(a="one", b="two"))
    second = wheel.land(renamed="one", c="three", twin="three")
    encoder.contents_encoded = 0
    assert wheel.embed(encoder, second) == EmbedReport(encoded=1, reused=1)
    assert encoder.contents_encoded == 1
    assert wheel.rows()["content_id"].to_list() == wheel.ids()


def test_another_encoder_has_vectors_of_its_own(wheel: Wheel, encoder: TextEncoder):
    arrival = wheel.land(a="one", b="two")
    wheel.embed(encoder, arrival)
    other = open_minilm(max_tokens=8)
    assert missing_contents(wheel.tables, other) == tuple(wheel.ids())
    assert wheel.embed(other, arrival) == EmbedReport(encoded=2)
    assert missing_contents(wheel.tables, other) == ()
    assert wheel.rows().height == 4


def test_a_kill_loses_at_most_a_chunk_and_a_repeat_does_the_rest(wheel: Wheel, encoder: TextEncoder, tmp_path: Path):
    class KilledError(Exception):
        pass

    def kill(done: int, wanted: int) -> None:
        assert wanted == 10
        if done == 6:
            raise KilledError

    arrival = wheel.land(**numbered(10))
    with pytest.raises(KilledError):
        wheel.embed(encoder, arrival, chunk=3, progress=kill)
    assert wheel.rows().height == 6
    encoder.contents_encoded = 0
    assert wheel.embed(encoder, arrival, chunk=3) == EmbedReport(encoded=4, reused=6)
    assert encoder.contents_encoded == 4

    (tmp_path / "undisturbed").mkdir()
    undisturbed = Wheel(tmp_path / "undisturbed")
    undisturbed.embed(encoder, undisturbed.land(**numbered(10)))
    assert wheel.rows().equals(undisturbed.rows()), "not a bit of a vector depends on how the work was cut"


def test_the_size_of_a_chunk_bounds_what_is_encoded_at_once(wheel: Wheel, encoder: TextEncoder):
    sizes: list[int] = []

    class Watching(TextEncoder):
        def encode(self, batch: Sequence[object]):  # type: ignore[override]
            sizes.append(len(batch))
            return encoder.encode(batch)  # type: ignore[arg-type]

    watching = Watching(encoder._checkpoint, label="minilm-l6-v2", max_tokens=16)
    wheel.embed(watching, wheel.land(**numbered(7)), chunk=3)
    assert sizes == [3, 3, 1]
    assert wheel.tables.version("embeddings") == 3, "each chunk is one transaction, after that of the table itself"


def test_a_content_that_changed_since_it_arrived_is_refused_and_the_rest_goes_on(
    wheel: Wheel, encoder: TextEncoder, caplog: pytest.LogCaptureFixture
):
    arrival = wheel.land(a="one", b="two", c="three")
    (wheel.data / "b.txt").write_text("overwritten")
    with caplog.at_level(logging.WARNING, "flywheel"):
        assert wheel.embed(encoder, arrival) == EmbedReport(encoded=2, refused=1)
    assert "b.txt" in caplog.text
    items = wheel.tables.read("items").filter(pl.col("key") == "b.txt")
    assert missing_contents(wheel.tables, encoder, arrival) == (items["content_id"].item(),)


def test_another_object_with_the_same_content_serves_where_one_is_gone(wheel: Wheel, encoder: TextEncoder):
    arrival = wheel.land(a="one", b="one")
    (wheel.data / "a.txt").unlink()
    assert wheel.embed(encoder, arrival) == EmbedReport(encoded=1)


def test_an_image_the_encoder_cannot_decode_is_refused_and_the_rest_goes_on(
    wheel: Wheel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    images = noisy_images(20)
    for image in images:
        (wheel.data / f"{image.content_id}.png").write_bytes(image.data)
    arrival = wheel.arrive()
    damaged = wheel.tables.read("items").filter(pl.col("key") == "image-7.png")["content_id"].item()
    _damage(damaged, monkeypatch)
    encoder = open_conse(image_size=32)
    with caplog.at_level(logging.WARNING, "flywheel"):
        assert wheel.embed(encoder, arrival) == EmbedReport(encoded=19, refused=1)
    assert "image-7.png" in caplog.text
    assert encoder.contents_encoded == 19
    assert missing_contents(wheel.tables, encoder) == (damaged,)


def _damage(content_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one content's bytes break between reading and decoding."""
    from flywheel.encoders import Content, embed

    read = embed.read_contents

    def damaging(*arguments: object, **options: object):
        for content in read(*arguments, **options):  # type: ignore[arg-type]
            broken = content.content_id == content_id
            yield Content(content_id, content.modality, content.data[:50]) if broken else content

    monkeypatch.setattr(embed, "read_contents", damaging)


def test_items_that_went_away_are_not_encoded(wheel: Wheel, encoder: TextEncoder):
    wheel.embed(encoder, wheel.land(a="one"))
    (wheel.data / "a.txt").unlink()
    gone = wheel.land(b="two")
    assert wheel.embed(encoder, gone) == EmbedReport(encoded=1)
    assert missing_contents(wheel.tables, encoder) == ()


def test_vectors_come_in_the_order_asked(wheel: Wheel, encoder: TextEncoder):
    wheel.embed(encoder, wheel.land(**numbered(6)), chunk=2)
    by_id = dict(zip(wheel.rows()["content_id"], to_matrix(wheel.rows()["vector"])))
    asked = [*sorted(by_id, reverse=True), next(iter(by_id))]
    vectors = load_vectors(wheel.tables, encoder.id, asked)
    assert vectors.shape == (7, 384)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, np.stack([by_id[each] for each in asked]))
    assert load_vectors(wheel.tables, encoder.id, []).shape == (0, 0)


def test_asking_for_an_unknown_vector_names_it(wheel: Wheel, encoder: TextEncoder):
    wheel.embed(encoder, wheel.land(a="one"))
    with pytest.raises(DataError, match=r"2 of 3 contents have no vector .*nobody, nothing") as lost:
        load_vectors(wheel.tables, encoder.id, ["nobody", *wheel.ids(), "nothing"])
    assert lost.value.ids == ("nobody", "nothing")


def test_pinned_versions_show_the_vectors_of_then(wheel: Wheel, encoder: TextEncoder):
    wheel.embed(encoder, wheel.land(a="one"))
    pinned, before = wheel.tables.versions(), wheel.ids()
    wheel.embed(encoder, wheel.land(b="two"))
    assert scan_vectors(wheel.tables, encoder.id, pinned).collect()["content_id"].to_list() == before
    with pytest.raises(DataError):
        load_vectors(wheel.tables, encoder.id, wheel.ids(), pinned)
    assert len(load_vectors(wheel.tables, encoder.id, wheel.ids())) == 2


def test_of_two_rivals_vectors_readers_take_one_whatever_the_order_of_writing(tmp_path: Path):
    rivals = [
        {"content_id": "a", "encoder_id": "e", "vector": [0.6, 0.8], "arrival": "arrival-00002"},
        {"content_id": "a", "encoder_id": "e", "vector": [0.8, 0.6], "arrival": "arrival-00001"},
        {"content_id": "a", "encoder_id": "e", "vector": [0.8, -0.6], "arrival": "arrival-00001"},
        {"content_id": "b", "encoder_id": "e", "vector": [1.0, 0.0], "arrival": "arrival-00001"},
    ]
    found: list[list[list[float]]] = []
    for name, rows in (("forth", rivals), ("back", rivals[::-1])):
        tables = Tables(str(tmp_path / name))
        for row in rows:
            tables.append("embeddings", pl.DataFrame([row]))
        assert scan_vectors(tables, "e").collect()["content_id"].sort().to_list() == ["a", "b"]
        found.append(load_vectors(tables, "e", ["a", "b"]).tolist())
    assert found[0] == found[1]
    np.testing.assert_allclose(found[0], [[0.8, -0.6], [1.0, 0.0]], rtol=1e-6)
