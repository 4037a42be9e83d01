from pathlib import Path

import numpy as np

from flywheel.structure import build_clusters
from flywheel.structure.vocabulary import encode_vocabulary
from flywheel.tables import Tables
from tests.unit.structure_data import WORDS, WordEncoder, add_arrival, blobs, names


def test_words_are_encoded_once_for_each_encoder_and_list(tmp_path: Path) -> None:
    first, again, other = WordEncoder(), WordEncoder(), WordEncoder("words-2")
    fresh = encode_vocabulary(first, WORDS, tmp_path)
    assert np.array_equal(encode_vocabulary(again, WORDS, tmp_path), fresh)
    assert again.asked == 0
    assert encode_vocabulary(again, WORDS[::-1], tmp_path).argmax(axis=1).tolist() == [3, 2, 1, 0]
    encode_vocabulary(other, WORDS, tmp_path)
    assert (first.asked, again.asked, other.asked) == (1, 1, 1)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    fresh = encode_vocabulary(WordEncoder(), WORDS, tmp_path)
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    encoder = WordEncoder()
    assert np.array_equal(encode_vocabulary(encoder, WORDS, tmp_path), fresh)
    assert encoder.asked == 1
    assert np.array_equal(encode_vocabulary(WordEncoder(), WORDS, tmp_path), fresh)


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    encoder = WordEncoder()
    for _ in range(2):
        encode_vocabulary(encoder, WORDS)
    assert encoder.asked == 2


def test_clusters_are_named_alike_with_words_that_were_kept(tmp_path: Path) -> None:
    named: list[list[str]] = []
    asked: list[int] = []
    for wheel in ("first", "second"):
        tables, encoder = Tables(str(tmp_path / wheel)), WordEncoder()
        vectors, _ = blobs([30, 20, 20, 10])
        add_arrival(tables, "arrival-00001", names(80), vectors)
        build_clusters(tables, encoder, sizes=(40, 20), seed=0, vocabulary=WORDS, words_in=tmp_path / "words")
        named.append(tables.read("cluster_names").sort("level", "cluster_id")["name"].to_list())
        asked.append(encoder.asked)
    assert named[0] == named[1]
    assert asked == [3, 2]  # the words once, and each of two levels mapped into their space
