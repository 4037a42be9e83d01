"""Recordings become windows: every form gives the same samples, and what is wrong is refused with a code."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flywheel.objects import FolderStore
from flywheel.raw.datum import Datum
from flywheel.raw.decoders.signals import parse_signal
from flywheel.raw.reasons import Refusal
from tests.raw_world import decode, folder_world
from tests.unit.signal_files import RATE, beats, csv_of, edf, npz, wfdb_record

NAMES = ("II", "V5")


def windows(content: bytes, key: str, **config: Any) -> list[Datum]:
    found = decode(content, key, contents=True, **config)
    assert all(isinstance(one, Datum) for one in found), found
    return [one for one in found if isinstance(one, Datum)]


def reasons(content: bytes, key: str = "a.npz", **config: Any) -> list[str]:
    return [one.reason for one in decode(content, key, **config) if isinstance(one, Refusal)]


def whole(found: list[Datum]) -> Any:
    return np.concatenate([parse_signal(one.data or b"").samples for one in found], axis=1)


def beside(folder: Path, files: dict[str, bytes], key: str, **config: Any) -> list[Datum | Refusal]:
    """Decode an object that has others beside it."""
    from flywheel.config import SourceConfig
    from flywheel.objects import Source
    from flywheel.raw.decoders import decode as decode_object
    from flywheel.raw.opened import Opened

    store = FolderStore(folder)
    for name, content in files.items():
        store.write(name, content)
    source = Source(SourceConfig.model_validate({"id": "held", "root": "-", **config}), store)
    return list(decode_object(Opened(source, key), contents=True))


def test_a_recording_is_cut_into_windows_that_keep_its_rate_and_leads() -> None:
    samples = beats(25)
    first, second, third = windows(npz(samples, leads=np.array(NAMES), units=np.array(["mV"])), "a.npz")
    assert [one.part for one in (first, second, third)] == ["t=000000.000", "t=000010.000", "t=000020.000"]
    assert all(one.piece and one.modality == "signal" for one in (first, second, third))
    assert first.told == {
        "rate": 250.0,
        "leads": "II, V5",
        "start": 0.0,
        "seconds": 10.0,
        "units": "mV",
        "missing_share": 0.0,
        "flat_share": 0.0,
    }
    assert (third.told["start"], third.told["seconds"]) == (20.0, 5.0)
    signal = parse_signal(second.data or b"")
    assert (signal.rate, signal.leads) == (250.0, NAMES)
    assert np.array_equal(signal.samples, samples[:, 2500:5000].astype(np.float32))
    assert (second.data or b"").startswith(b'{"leads": ["II", "V5"], "rate": 250.0}\n')


def test_steps_overlap_windows_and_a_short_rest_is_left_out() -> None:
    content = npz(beats(24))
    parts = [one.part for one in windows(content, "a.npz", signals={"window_seconds": 10, "step_seconds": 5})]
    assert parts == ["t=000000.000", "t=000005.000", "t=000010.000", "t=000015.000"]
    assert len(windows(content, "a.npz")) == 2  # the last 4 s are less than half a window
    assert len(windows(content, "a.npz", signals={"shortest_seconds": 4})) == 3


def test_the_same_samples_are_the_same_content_in_whatever_form(tmp_path: Path) -> None:
    samples = np.round(beats(10), 3)
    either = windows(npz(samples, leads=np.array(NAMES)), "a.npz")[0]
    turned = windows(npz(samples.T, leads=np.array(NAMES)), "b.npz")[0]
    table = windows(csv_of(samples, NAMES), "c.csv", modality="signal", signals={"rate": 250})[0]
    timed = windows(csv_of(samples, NAMES, RATE), "d.csv", modality="signal")[0]
    assert {one.content_id for one in (either, turned, table, timed)} == {either.content_id}
    faster = windows(npz(samples, rate=500.0, leads=np.array(NAMES)), "e.npz")[0]
    assert faster.content_id != either.content_id


def test_a_table_is_a_recording_only_where_the_source_says_so() -> None:
    content = csv_of(beats(10), NAMES)
    assert {one.modality for one in windows(content, "a.csv")} == {"record"}
    assert {one.modality for one in windows(content, "a.csv", modality="signal", signals={"rate": 250})} == {"signal"}
    assert reasons(npz(beats(10)), "a.npz", modality="text") == ["unknown_type"]


@pytest.mark.parametrize("form", ["16", "24", "32", "80", "212"])
def test_wfdb_is_read_through_its_header_with_the_data_beside_it(tmp_path: Path, form: str) -> None:
    samples = beats(20) * (0.5 if form == "80" else 1)
    header, data = wfdb_record(tmp_path, samples, 250, NAMES, form)
    found = beside(tmp_path / "source", {"p1/r.hea": header, "p1/r.dat": data}, "p1/r.hea")
    first, second = (one for one in found if isinstance(one, Datum))
    assert (first.told["rate"], first.told["leads"], first.told["units"]) == (250.0, "II, V5", "mV")
    assert np.abs(whole([first, second]) - samples).max() < (0.02 if form == "80" else 1e-3)


def test_a_wfdb_header_without_its_data_or_with_less_of_it_is_refused(tmp_path: Path) -> None:
    header, data = wfdb_record(tmp_path, beats(20), 250, NAMES)
    [alone] = beside(tmp_path / "one", {"r.hea": header}, "r.hea")
    [short] = beside(tmp_path / "two", {"r.hea": header, "r.dat": data[:5000]}, "r.hea")
    assert isinstance(alone, Refusal) and alone.reason == "missing_companion" and "r.dat" in alone.message
    assert isinstance(short, Refusal) and short.reason == "truncated" and "1,250" in short.message


@pytest.mark.parametrize("name", ["../secret.dat", "/etc/passwd", "a/b.dat", "~", "recording.hea"])
def test_a_wfdb_header_cannot_name_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    header, data = wfdb_record(tmp_path, beats(20), 250, NAMES)
    (tmp_path / "secret.dat").write_bytes(data)
    [refused] = beside(tmp_path / "source", {"r.hea": header.replace(b"r.dat", name.encode())}, "r.hea")
    assert isinstance(refused, Refusal) and refused.reason in ("unsupported", "undecodable")


def test_edf_keeps_the_leads_of_one_rate_and_says_how_many_were_left_out(tmp_path: Path) -> None:
    samples = 100 * beats(30, leads=3)
    content = edf(tmp_path, samples, (250, 250, 50), ("ECG II", "ECG V5", "Resp"))
    found = windows(content, "night.edf")
    assert [one.part for one in found] == ["t=000000.000", "t=000010.000", "t=000020.000"]
    assert (found[0].told["leads"], found[0].told["units"]) == ("ECG II, ECG V5", "uV")
    assert found[0].told["leads_left_out"] == 1
    assert np.abs(whole(found) - samples[:2]).max() < 0.01
    slow = windows(content, "night.edf", signals={"rate": 50})
    assert (slow[0].told["leads"], slow[0].told["rate"]) == ("Resp", 50.0)


def test_an_edf_header_that_lies_is_refused(tmp_path: Path) -> None:
    content = edf(tmp_path, 100 * beats(30), (250, 250), NAMES)
    more = content[:236] + b"99999999" + content[244:]
    assert reasons(more, "a.edf") == reasons(content[:-1000], "a.edf") == ["truncated"]
    assert reasons(content + b"  ", "a.edf") == ["undecodable"]
    assert reasons(content[:252] + b"9999" + content[256:], "a.edf") == ["undecodable"]
    assert reasons(content[:300], "a.edf") == ["undecodable"]
    assert reasons(b"JPEG" + content[4:], "a.edf") == ["undecodable"]


def test_a_wrong_or_missing_rate_is_refused() -> None:
    assert reasons(npz(beats(10)), signals={"rate": 360}) == ["wrong_rate"]
    assert reasons(npz(beats(10), rate=None)) == ["wrong_rate"]
    assert reasons(npz(beats(10), rate=0.0)) == reasons(npz(beats(10), rate=np.nan)) == ["wrong_rate"]
    assert reasons(csv_of(beats(10), NAMES), "a.csv", modality="signal") == ["wrong_rate"]
    uneven = b"time,II\n0,1\n1,2\n2,1\n4,2\n5,1\n"
    assert reasons(uneven, "a.csv", modality="signal") == ["wrong_rate"]
    assert windows(npz(beats(10), rate=None), "a.npz", signals={"rate": 250})[0].told["rate"] == 250.0


def test_gaps_and_flat_leads_are_told_and_an_empty_window_is_refused() -> None:
    samples = beats(20)
    samples[0, :500] = np.nan
    samples[0, 500] = np.inf
    samples[1, :2500] = 0.7
    samples[:, 2500:] = np.nan
    first, second = decode(npz(samples), "a.npz", contents=True)
    assert isinstance(first, Datum) and isinstance(second, Refusal)
    assert (first.told["missing_share"], first.told["flat_share"]) == (round(501 / 5000, 4), 0.5)
    assert not np.isinf(parse_signal(first.data or b"").samples).any()
    assert (second.reason, second.part) == ("not_finite", "t=000010.000")


def test_what_is_too_short_long_or_wide_is_refused() -> None:
    assert reasons(npz(beats(4))) == ["too_short"]
    assert reasons(npz(beats(20)), signals={"max_seconds": 19}) == ["too_long"]
    assert reasons(npz(beats(10, leads=3)), signals={"max_leads": 2}) == ["too_large"]
    assert reasons(npz(np.zeros((2, 0)))) == reasons(npz(np.array(["a", "b"]))) == ["no_signal"]
    assert reasons(b"II,V5\n", "a.csv", modality="signal", signals={"rate": 9}) == ["no_signal"]
    assert reasons(b"II\n1\nhello\n", "a.csv", modality="signal", signals={"rate": 9}) == ["bad_value"]
    assert reasons(b"", "a.npz") == ["empty"]


def test_archives_are_judged_before_they_are_unpacked() -> None:
    assert reasons(npz(np.zeros((2, 3_000_000))), max_bytes=1_000_000) == ["decompression_bomb"]
    assert reasons(npz(np.array([{"a": 1}], dtype=object))) == ["unsupported"]
    assert reasons(b"PK\x03\x04 no archive") == ["undecodable"]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2, 10**12)})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("signal.npy", header.getvalue() + b"\0" * 80)
    assert reasons(file.getvalue()) == ["truncated"]


@pytest.mark.parametrize("ending", ["npz", "edf", "csv", "hea"])
def test_mutants_are_items_or_refusals_and_nothing_else(tmp_path: Path, ending: str) -> None:
    header, data = wfdb_record(tmp_path, beats(11), 250, NAMES)
    whole = {
        "npz": npz(beats(11), leads=np.array(NAMES)),
        "edf": edf(tmp_path, 100 * beats(11), (250, 250), NAMES),
        "csv": csv_of(beats(11), NAMES, RATE),
        "hea": header,
    }[ending]
    random = np.random.default_rng(7)
    for _ in range(60):
        mutant = bytearray(whole)
        for place in random.integers(0, min(len(whole), 2000), 3):
            mutant[place] = random.integers(256)
        files = {f"m.{ending}": bytes(mutant[: random.integers(len(mutant) // 2, len(mutant) + 1)]), "r.dat": data}
        found = beside(tmp_path / "source", files, f"m.{ending}", modality="signal")
        assert all(isinstance(one, Datum | Refusal) for one in found)


def test_all_windows_of_a_recording_stand_on_one_side(tmp_path: Path) -> None:
    world = folder_world(tmp_path, modality="signal")
    for number in range(20):
        world.put(f"r{number:02}.npz", npz(beats(30, seed=number)))
    world.put("manifest.csv", b"key,subject\nr00.npz,anna\nr01.npz,anna\n")
    assert world.land().items == 60
    sides: dict[str, set[str]] = {}
    for item in world.items().values():
        sides.setdefault(item["subject_id"], set()).add(item["split"])
    assert len(sides) == 19 and all(len(split) == 1 for split in sides.values())
    assert set.union(*sides.values()) == {"eval", "pool"}
    assert {item["key"] for item in world.items().values() if item["subject_id"] == "anna"} == {"r00.npz", "r01.npz"}
    assert world.all_attributes("r00.npz#t=000010.000")["file.rate"] == 250.0


def test_contents_are_read_back_window_by_window(tmp_path: Path) -> None:
    from flywheel.raw import current_items, read_contents

    world = folder_world(tmp_path, modality="signal")
    header, data = wfdb_record(tmp_path, beats(20), 250, NAMES)
    for key, content in {"a.csv": csv_of(beats(30), NAMES, RATE), "p/r.hea": header, "p/r.dat": data}.items():
        world.put(key, content)
    world.land()
    found = list(read_contents(world.sources, current_items(world.tables)))
    assert len(found) == 5 and all(parse_signal(one.data).samples.shape == (2, 2500) for one in found)


def test_a_header_is_read_again_when_its_samples_come_later(tmp_path: Path) -> None:
    header, data = wfdb_record(tmp_path, beats(20), 250, NAMES)
    world = folder_world(tmp_path / "world", modality="signal")
    world.put("p/r.hea", header)
    world.land()
    assert world.refused() == {("p/r.hea", "missing_companion")}
    world.put("p/r.dat", data)
    world.land()
    assert world.refused() == set()
    assert sorted(world.items()) == ["p/r.hea#t=000000.000", "p/r.hea#t=000010.000"]
    assert world.plan() == ["arrival-00001", "arrival-00002"]
