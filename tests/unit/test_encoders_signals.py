"""Windows of recordings as vectors, as pictures, and without words."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from flywheel.encoders import show
from flywheel.encoders.protocol import Content
from flywheel.encoders.signals import DIM, SignalEncoder
from flywheel.errors import ConfigError, DataError
from flywheel.index.edge import EdgeIndex
from flywheel.index.protocol import Points, Space
from flywheel.raw.decoders.signals import Signal, canonical_signal
from flywheel.search import search_items
from flywheel.vendors.file import _written_task
from tests.unit.signal_files import RATE, beats


def content(name: str, bpm: float = 72, seed: int = 0, rate: float = RATE, leads: int = 2) -> Content:
    samples = beats(10, rate, leads, bpm, seed).astype(np.float32)
    names = tuple(f"lead {number}" for number in range(leads))
    return Content(name, "signal", canonical_signal(Signal(rate, names, samples)))


def test_vectors_have_unit_length_and_do_not_depend_on_the_batch() -> None:
    encoder = SignalEncoder()
    batch = [content("a"), content("b", bpm=120), content("c", rate=500.0, leads=12)]
    vectors = encoder.encode(batch)
    assert vectors.shape == (3, DIM) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(encoder.encode(batch[1:2])[0], vectors[1])


def test_the_same_rhythm_is_nearer_than_another_whatever_the_rate_and_the_leads() -> None:
    slow, again, other_rate, fast = SignalEncoder().encode(
        [content("a", 60), content("b", 60, seed=5), content("c", 60, seed=6, rate=500.0, leads=1), content("d", 140)]
    )
    assert slow @ again > slow @ other_rate > slow @ fast
    assert slow @ again > 0.98 and slow @ fast < 0.9


def test_gaps_flat_leads_and_a_single_sample_give_finite_vectors() -> None:
    gaps = beats(10).astype(np.float32)
    gaps[0, 100:400], gaps[1] = np.nan, np.nan
    odd = [gaps, np.zeros((1, 2500), np.float32), np.ones((1, 1), np.float32), np.full((1, 50), 3e38, np.float32)]
    signals = [Signal(RATE, tuple("ab")[: len(samples)], samples) for samples in odd]
    vectors = SignalEncoder().encode([Content(str(n), "signal", canonical_signal(s)) for n, s in enumerate(signals)])
    assert np.isfinite(vectors).all()
    whole = SignalEncoder().encode([content("a", leads=1)])[0]
    without = Signal(RATE, ("a",), gaps[:1])
    assert SignalEncoder().encode([Content("x", "signal", canonical_signal(without))])[0] @ whole > 0.9


def test_what_is_no_window_is_named() -> None:
    with pytest.raises(DataError) as caught:
        SignalEncoder().encode([content("good"), Content("bad", "signal", b"{}")])
    assert caught.value.ids == ("bad",)


def test_signals_are_found_by_examples_and_not_by_words(tmp_path: Path) -> None:
    encoder = SignalEncoder()
    a, b, c = (name * 32 for name in "abc")
    contents = [content(a, 60), content(b, 61, seed=2), content(c, 150)]
    with EdgeIndex(tmp_path / "index") as index:
        index.ensure([Space(encoder.id, encoder.dim)], {"modality": "keyword", "item_id": "keyword"})
        payloads = [{"item_id": c.content_id, "content_id": c.content_id, "modality": "signal"} for c in contents]
        index.upsert(Points([c.content_id for c in contents], {encoder.id: encoder.encode(contents)}, payloads))
        found = search_items(index, {"signal": encoder}, like=[a], limit=2)
        assert found[0].item_id == b
        with pytest.raises(ConfigError, match="by words; give examples"):
            search_items(index, {"signal": encoder}, words="fast heart")


def test_a_window_is_shown_as_a_plot_with_the_same_bytes_every_time(tmp_path: Path) -> None:
    one = content("a", leads=3)
    seen = show("signal", one.data)
    assert seen.kind == "image" and seen == show("signal", one.data)
    picture = Image.open(io.BytesIO(seen.data)).convert("L")
    assert picture.format is None and picture.width == 720 and (np.asarray(picture) < 128).sum() > 500
    many = Signal(
        5000.0, tuple(f"${n}" for n in range(40)), np.random.default_rng(0).normal(size=(40, 50_000)).astype("f4")
    )
    large = Image.open(io.BytesIO(show("signal", canonical_signal(many)).data))
    assert large.height < 1300


def test_a_vendor_gets_the_plot(tmp_path: Path) -> None:
    from flywheel.vendors.protocol import Task

    (tmp_path / "media").mkdir()
    task = Task(uid="u1", item_id="i", content_id="c", name="a.npz", data=content("a").data)
    line = _written_task(task, "signal", tmp_path)
    assert line["image"] == "media/u1.png"
    assert (tmp_path / line["image"]).read_bytes().startswith(b"\x89PNG")


def test_clusters_of_signals_are_named_by_what_is_said_about_them(tmp_path: Path) -> None:
    from assets.structure import said_of
    from flywheel.structure import build_clusters
    from tests.raw_world import folder_world
    from tests.unit.signal_files import npz

    world = folder_world(tmp_path, modality="signal")
    manifest = ["key,rhythm"]
    for number in range(12):
        key, fast = f"r{number:02}.npz", number % 2
        world.put(key, npz(beats(10, bpm=150 if fast else 55, seed=number)))
        manifest.append(f"{key},{'tachycardia' if fast else 'bradycardia'}")
    world.put("manifest.csv", "\n".join(manifest).encode())
    world.land()
    encoder = SignalEncoder()
    from flywheel.encoders import embed_arrival

    embed_arrival(world.tables, world.sources, {"signal": encoder}, "arrival-00001")
    build_clusters(world.tables, encoder, sizes=(6,), seed=0, texts=said_of(world.tables, "signal"))
    names = world.tables.read("cluster_names").select("name", pl.col("size")).sort("name").rows()
    assert names == [("bradycardia", 6), ("tachycardia", 6)]
