import json

import numpy as np

from flywheel.encoders import Content
from flywheel.structure.naming import (
    WordCounts,
    choose_names,
    default_vocabulary,
    rank_by_texts,
    rank_by_words,
    wording,
)
from tests.unit.structure_data import WORDS, WordEncoder, blobs


def _terms(ranked: list[list[tuple[str, float]]]) -> list[list[str]]:
    return [[term for term, _ in ranking] for ranking in ranked]


def test_words_near_to_one_cluster_alone_come_first() -> None:
    vectors, labels = blobs([10, 10, 10])
    centers = np.eye(16, dtype=np.float32)[:3]
    # a word as near to all clusters as to each tells nothing, however near it is
    encoder = WordEncoder()
    ranked = rank_by_words(encoder, vectors, labels, centers, ["nothing", *WORDS])
    assert [ranking[0][0] for ranking in ranked] == list(WORDS[:3])
    assert all(ranking[0][1] > 0.4 > 0.1 > ranking[1][1] for ranking in ranked)


def test_every_cluster_gets_a_word_even_where_none_fits_well() -> None:
    vectors, labels = blobs([10, 10, 0, 0, 0, 0, 10])
    labels = np.unique(labels, return_inverse=True)[1]
    ranked = rank_by_words(WordEncoder(), vectors, labels, vectors[[0, 10, 20]], WORDS[:2])
    assert [ranking[0][0] for ranking in ranked[:2]] == list(WORDS[:2])
    assert all(ranking[0][1] >= 0 for ranking in ranked)
    assert "unnamed" not in [name for name, _ in choose_names(ranked)]


def test_one_cluster_alone_is_named_by_what_is_nearest() -> None:
    vectors, labels = blobs([0, 10])
    ranked = rank_by_words(WordEncoder(), vectors, labels - 1, vectors[:1], WORDS)
    assert ranked[0][0][0] == "tree"


def test_without_words_nothing_is_ranked_and_clusters_are_numbered() -> None:
    vectors, labels = blobs([5, 5])
    ranked = rank_by_words(WordEncoder(), vectors, labels, vectors[[0, 5]], ["", " "])
    assert ranked == [[], []]
    assert [name for name, _ in choose_names(ranked)] == ["unnamed", "unnamed (2)"]


def test_words_of_texts_are_ranked_by_how_special_they_are() -> None:
    texts = {
        "a": "Dear all, the rocket and the moon",
        "b": "Dear all, another rocket: moons!",
        "c": "Dear all, a guitar solo",
        "d": "Dear all, guitars and a single rocket",
        "stranger": "kitten kitten",
    }
    counts = WordCounts.of(texts, {"a": 0, "b": 0, "c": 1, "d": 1}, 2)
    ranked = _terms(rank_by_texts(counts, [2, 2]))
    assert ranked[0][0] == "rocket" or ranked[0][0] in ("moon", "moons")
    assert set(ranked[0][:2]) <= {"rocket", "moon", "moons"}
    assert ranked[1][0] in ("guitar", "guitars")
    assert "kitten" not in ranked[0] + ranked[1]
    assert ranked[0].index("dear") > ranked[0].index("rocket")
    assert "the" not in ranked[0]
    assert ("moon" in ranked[0]) != ("moons" in ranked[0])  # a word and its plural are one


def test_a_word_of_one_text_does_not_name_a_larger_cluster() -> None:
    texts = {f"t{i}": "rocket fuel" for i in range(4)} | {"u": "rocket zyzzyva"}
    counts = WordCounts.of(texts, dict.fromkeys(texts, 0), 1)
    assert "zyzzyva" not in _terms(rank_by_texts(counts, [5]))[0]
    assert _terms(rank_by_texts(counts, [5]))[0][0] == "rocket"


def test_counts_merge_upwards() -> None:
    counts = WordCounts.of({"a": "boat", "b": "tree boat", "c": "cloud"}, {"a": 0, "b": 1, "c": 2}, 3)
    above = counts.merged(np.asarray([0, 0, 1]), 2)
    assert [dict(counter) for counter in above.texts] == [{"boat": 2, "tree": 1}, {"cloud": 1}]


def test_weak_terms_stay_out_of_names() -> None:
    ranked = [
        [("boot", 0.9), ("clog", 0.5), ("agama", 0.1)],
        [("bag", 1.0), ("purse", 0.9), ("sack", 0.8), ("box", 0.7)],
    ]
    assert choose_names(ranked) == [("boot, clog", ["boot", "clog"]), ("bag, purse, sack", ["bag", "purse", "sack"])]


def test_names_are_unique() -> None:
    same = [("boot", 0.9), ("clog", 0.1)]
    assert [name for name, _ in choose_names([same, same, same])] == ["boot", "boot, clog", "boot, clog (2)"]
    useless = [("boot", 0.9), ("hello", 0.0)]
    assert [name for name, _ in choose_names([useless, useless])] == ["boot", "boot (2)"]


def test_a_name_stays_while_its_terms_still_fit() -> None:
    ranking = [("clog", 1.0), ("boot", 0.9), ("shoe", 0.8), ("sandal", 0.7)]
    assert choose_names([ranking], [["boot", "sandal"]])[0][0] == "boot, sandal"
    assert choose_names([ranking], [["boot", "hat"]])[0][0] == "clog, boot, shoe"


def test_enough_given_words_stand_alone() -> None:
    given = ["boot", "bag", "coat", "dress", "shirt", "sandal", " boot ", ""]
    assert wording(given) == ("boot", "bag", "coat", "dress", "shirt", "sandal")
    assert wording(given[:2])[:3] == ("boot", "bag", "tench")
    assert wording(()) == default_vocabulary()


def test_default_vocabulary_holds_the_names_of_things() -> None:
    words = default_vocabulary()
    assert len(words) == len(set(words)) > 900
    assert {"goldfish", "sandal"} <= set(words)


def test_records_are_named_by_what_sets_them_apart() -> None:
    def content(number: int, **values: object) -> Content:
        return Content(str(number), "record", json.dumps(values).encode())

    old = [content(i, age=62 + i, sex="female", diabetes=True, diabetes_count=3, hdl_last=31.5) for i in range(6)]
    young = [content(10 + i, age=21 + i, sex="female", smokes=False, hdl_last=75, radius_mean=7) for i in range(6)]
    labels = {one.content_id: int(one in young) for one in (*old, *young)}
    ranked = rank_by_texts(WordCounts.of([*old, *young], labels, 2), [6, 6])
    assert [term for term, _ in ranked[0]][:3] == ["age 60 to 80", "diabetes", "hdl 30 to 40"]
    assert {term for term, _ in ranked[1][:3]} == {"age 20 to 30", "hdl 60 to 80", "radius mean 6 to 8"}
    assert dict(ranked[0])["sex female"] == 0
