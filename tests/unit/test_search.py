"""Search over a real embedded index with small encoders whose vectors are known."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from flywheel.encoders import Content, Vectors
from flywheel.errors import ConfigError, IndexMismatch
from flywheel.identity import digest
from flywheel.index import EdgeIndex, Points, Space, VectorIndex
from flywheel.search import search_items

TOPICS = ["cat", "dog", "car", "tree"]


class TopicEncoder:
    """Words are axes: `cat` is the first. Counts how often it is asked."""

    def __init__(self, modality: str, own: str, dim: int, words: str = "topics"):
        self.id, self.modality, self.dim, self.words_id, self.words_dim = own, modality, dim, words, len(TOPICS)
        self.asked: list[str] = []

    def encode(self, batch: Sequence[Content]) -> Vectors:
        raise AssertionError(f"a search encoded {len(batch)} contents")

    def encode_words(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        return np.stack([np.eye(len(TOPICS), dtype=np.float32)[TOPICS.index(text)] for text in texts])

    def to_words(self, vectors: Vectors) -> Vectors:
        return vectors[:, : len(TOPICS)]


def item(name: str) -> str:
    return digest(name)


def near(axis: int, others: float, dim: int) -> np.ndarray:
    vector = np.full(dim, others, np.float32)
    vector[axis] = 1
    return vector / np.linalg.norm(vector)


def add(index: VectorIndex, name: str, modality: str, vectors: dict[str, np.ndarray], **more: object) -> None:
    payload = {"item_id": item(name), "content_id": name, "modality": modality, "split": "pool"} | more
    index.upsert(Points([item(name)], {space: vector[None] for space, vector in vectors.items()}, [payload]))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[VectorIndex]:
    with EdgeIndex(tmp_path / "index") as opened:
        opened.ensure([Space("pixels", 6), Space("topics", 4), Space("other", 4)], {"item_id": "keyword"})
        for number, topic in enumerate(TOPICS):
            for copy, noise in enumerate((0.1, 0.2)):
                vectors = {"pixels": near(number, noise, 6), "topics": near(number, noise, 4)}
                add(opened, f"{topic} picture {copy}", "image", vectors, **{"attr.size": copy, "cluster_name": topic})
            add(opened, f"{topic} text", "text", {"topics": near(number, 0.15, 4)}, **{"attr.size": 9})
        yield opened


@pytest.fixture
def encoders() -> dict[str, TopicEncoder]:
    return {"image": TopicEncoder("image", "pixels", 6), "text": TopicEncoder("text", "topics", 4)}


def names(hits: list) -> list[str]:
    return [hit.payload["content_id"] for hit in hits]


def test_words_should_find_items_of_all_modalities_in_a_shared_space(index, encoders) -> None:
    hits = search_items(index, encoders, words="dog", limit=3)
    assert names(hits) == ["dog picture 0", "dog text", "dog picture 1"]
    assert hits[0].score == pytest.approx(float(near(1, 0.1, 4)[1]), abs=1e-5)
    assert sum(len(encoder.asked) for encoder in encoders.values()) == 1  # one space, one query


def test_several_spaces_of_words_should_be_merged_by_score(index, encoders) -> None:
    encoders["audio"] = TopicEncoder("audio", "waves", 4, words="other")
    add(index, "dog barking", "audio", {"other": near(1, 0.12, 4)})
    hits = search_items(index, encoders, words="dog", limit=3)
    assert names(hits) == ["dog picture 0", "dog barking", "dog text"]


def test_encoders_of_absent_modalities_should_not_be_asked(index, encoders) -> None:
    encoders["audio"] = TopicEncoder("audio", "waves", 4, words="nowhere")
    search_items(index, encoders, words="dog")
    assert encoders["audio"].asked == []


def test_conditions_should_narrow_the_search(index, encoders) -> None:
    hits = search_items(index, encoders, words="dog", where="size > 0 and modality = 'image'", limit=2)
    assert names(hits)[0] == "dog picture 1"
    assert all(hit.payload["attr.size"] == 1 for hit in hits)
    assert names(search_items(index, encoders, words="dog", where="cluster_name in ('car')")) == [
        "car picture 1",
        "car picture 0",
    ]
    assert search_items(index, encoders, words="dog", where="size > 100") == []


def test_copies_of_a_content_should_count_once_and_leave_room_for_others(index, encoders) -> None:
    for number in range(30):
        vectors = {"pixels": near(2, 0.0, 6), "topics": near(2, 0.0, 4)}
        index.upsert(
            Points(
                [item(f"copy {number}")],
                {space: vector[None] for space, vector in vectors.items()},
                [{"item_id": item(f"copy {number}"), "content_id": "the same", "modality": "image"}],
            )
        )
    hits = search_items(index, encoders, words="car", limit=4)
    assert names(hits) == ["the same", "car picture 0", "car text", "car picture 1"]
    assert hits[0].item_id == min(item(f"copy {number}") for number in range(30))


def test_a_limit_beyond_the_index_should_return_all_there_is(index, encoders) -> None:
    assert len(search_items(index, encoders, words="cat", limit=500)) == 12


def test_examples_should_be_looked_up_in_their_own_space(index, encoders) -> None:
    like = search_items(index, encoders, like=[item("tree picture 0")], limit=3)
    assert names(like)[0] == "tree picture 1"
    assert all(hit.payload["modality"] == "image" for hit in like)
    unlike = search_items(index, encoders, unlike=[item("tree picture 0")], limit=6)
    assert not [name for name in names(unlike) if name.startswith("tree")]
    assert encoders["image"].asked == encoders["text"].asked == []


def test_examples_of_two_modalities_should_meet_in_the_space_of_words(index, encoders) -> None:
    like = [item("tree picture 0"), item("tree text")]
    assert names(search_items(index, encoders, like=like, limit=1)) == ["tree picture 1"]
    encoders["audio"] = TopicEncoder("audio", "waves", 4, words="other")
    add(index, "dog barking", "audio", {"other": near(1, 0.12, 4)})
    with pytest.raises(ConfigError, match="audio and text have no space in common"):
        search_items(index, encoders, like=[item("tree text"), item("dog barking")])


def test_words_and_examples_together_should_favor_what_fits_both(index, encoders) -> None:
    for name, pixel, noise in (("dog near tree", 3, 0.11), ("dog near car", 2, 0.105)):
        add(index, name, "image", {"pixels": near(pixel, 0.3, 6), "topics": near(1, noise, 4)})
    assert names(search_items(index, encoders, words="dog", limit=3))[1:] == ["dog near car", "dog near tree"]
    assert names(search_items(index, encoders, like=[item("tree picture 0")], limit=2))[1] == "dog near tree"
    add(index, "dog near trees", "image", {"pixels": near(3, 0.25, 6), "topics": near(1, 0.05, 4)})
    hits = search_items(index, encoders, words="dog", like=[item("tree picture 0")], limit=3)
    assert names(hits)[0] == "dog near trees"  # first in words, second among the neighbors of the example
    assert hits[0].score == pytest.approx(1 / 61 + 1 / 62)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "nothing to search for"),
        ({"words": ""}, "nothing to search for"),
        ({"words": "dog", "limit": 0}, "limit"),
        ({"like": [item("cat text")], "unlike": [item("cat text")]}, "both"),
        ({"words": "dog", "where": "size >"}, "character 7"),
    ],
)
def test_a_request_that_makes_no_sense_should_be_explained(index, encoders, request_: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search_items(index, encoders, **request_)


def test_unknown_examples_should_be_named(index, encoders) -> None:
    with pytest.raises(IndexMismatch, match=item("stranger")):
        search_items(index, encoders, like=[item("stranger")])
    with pytest.raises(IndexMismatch, match=item("stranger")):
        search_items(index, encoders, like=[item("cat text"), item("stranger")])


def test_an_empty_index_should_find_nothing(tmp_path: Path, encoders) -> None:
    with EdgeIndex(tmp_path / "empty") as empty:
        empty.ensure([Space("topics", 4)], {})
        assert search_items(empty, encoders, words="dog") == []
