"""One body over every implementation of `VectorIndex`: embedded, server client in local mode, and a real server.

The real server takes part where QDRANT_URL is set.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient

from flywheel.erasure.places import forget_vectors
from flywheel.errors import DataError, FlywheelError, IndexMismatch
from flywheel.identity import digest
from flywheel.index import Condition, EdgeIndex, Points, Space, VectorIndex
from flywheel.index.server import ServerIndex, connect
from flywheel.index.snapshots import ServerAddress

KINDS = ["edge", "local", *(["server"] if os.environ.get("QDRANT_URL") else [])]
IMAGE, WORDS = Space("maker/image encoder@1:fp32", 8), Space("words", 5)
FIELDS = {
    "modality": "keyword",
    "split": "keyword",
    "attr.age": "float",
    "attr.smokes": "bool",
    'attr.odd "name"/[0] ü%22': "keyword",
}
N = 60


@contextlib.contextmanager
def opened(kind: str, folder: Path) -> Iterator[VectorIndex]:
    if kind == "edge":
        with EdgeIndex(folder / "index") as index:
            yield index
        return
    if kind == "local":
        client, address, collection = QdrantClient(":memory:"), None, "wheel"
    else:
        address = ServerAddress(os.environ["QDRANT_URL"], os.environ.get("QDRANT_API_KEY"))
        client, collection = connect(address), f"test-{uuid.uuid4().hex}"
    with ServerIndex(client, collection, address=address) as index:
        yield index
    client.delete_collection(collection)
    client.close()


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    """A new, empty index."""
    with opened(request.param, tmp_path) as fresh:
        yield fresh


@pytest.fixture
def filled(index: VectorIndex) -> VectorIndex:
    """An index of its own with 60 images and 60 texts."""
    return fill(index)


@pytest.fixture(params=KINDS, scope="module")
def readable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorIndex]:
    """The same, shared by the tests that only read."""
    with opened(request.param, tmp_path_factory.mktemp("readable")) as fresh:
        yield fill(fresh)


def fill(index: VectorIndex) -> VectorIndex:
    index.ensure([IMAGE, WORDS], FIELDS)
    index.upsert(images())
    index.upsert(texts())
    return index


def ids(kind: str, n: int = N) -> list[str]:
    return [digest(kind, str(number)) for number in range(n)]


def unit(seed: int, n: int, dim: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def payload(number: int, modality: str) -> dict[str, object]:
    return {
        "modality": modality,
        "split": "eval" if number % 3 == 0 else "pool",
        "attr.age": float(number) if number % 2 else number,
        "attr.smokes": number % 4 == 0,
        'attr.odd "name"/[0] ü%22': f"value {number % 5}",
        "attr.unindexed": number if number % 2 else f"\x00{number}",
        "attr.flag": number % 2 == 1,
    }


def images() -> Points:
    return Points(
        ids("image"),
        {IMAGE.name: unit(1, N, IMAGE.dim), WORDS.name: unit(2, N, WORDS.dim)},
        [payload(number, "image") for number in range(N)],
    )


def texts() -> Points:
    return Points(ids("text"), {WORDS.name: unit(3, N, WORDS.dim)}, [payload(number, "text") for number in range(N)])


def expected(query: np.ndarray, vectors: np.ndarray, names: list[str], limit: int) -> list[tuple[str, float]]:
    scores = vectors @ (query / np.linalg.norm(query))
    return [(names[row], float(scores[row])) for row in np.argsort(-scores)[:limit]]


def assert_hits(hits: list, wanted: list[tuple[str, float]]) -> None:
    assert [hit.item_id for hit in hits] == [item for item, _ in wanted]
    np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in wanted], atol=1e-5)


def test_query_should_return_the_nearest_with_their_cosine(readable: VectorIndex) -> None:
    query = unit(9, 1, IMAGE.dim)[0] * 3  # length must not matter
    hits = readable.query(IMAGE.name, query.tolist(), limit=7)
    assert_hits(hits, expected(query, unit(1, N, IMAGE.dim), ids("image"), 7))
    number = ids("image").index(hits[0].item_id)
    assert hits[0].payload == payload(number, "image")


def test_a_shared_space_should_find_both_modalities_and_another_only_its_own(readable: VectorIndex) -> None:
    query = unit(10, 1, WORDS.dim)[0]
    both = np.concatenate([unit(2, N, WORDS.dim), unit(3, N, WORDS.dim)])
    hits = readable.query(WORDS.name, query.tolist(), limit=20)
    assert_hits(hits, expected(query, both, ids("image") + ids("text"), 20))
    assert {hit.payload["modality"] for hit in hits} == {"image", "text"}
    assert len(readable.query(IMAGE.name, unit(9, 1, IMAGE.dim)[0].tolist(), limit=500)) == N


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Condition("modality", equals="text"), lambda p: p["modality"] == "text"),
        (Condition("split", any_of=("eval", "nowhere")), lambda p: p["split"] == "eval"),
        (Condition("split", equals="nowhere"), lambda p: False),
        (Condition("attr.age", equals=7), lambda p: p["attr.age"] == 7),
        (Condition("attr.age", equals=8.0), lambda p: p["attr.age"] == 8),
        (Condition("attr.age", any_of=(1, 2.0, 900)), lambda p: p["attr.age"] in (1, 2)),
        (Condition("attr.age", at_least=50), lambda p: p["attr.age"] >= 50),
        (Condition("attr.age", below=3), lambda p: p["attr.age"] < 3),
        (Condition("attr.age", at_least=10, below=12), lambda p: 10 <= p["attr.age"] < 12),
        (Condition("attr.smokes", equals=True), lambda p: p["attr.smokes"]),
        (Condition("attr.smokes", equals=False), lambda p: not p["attr.smokes"]),
        (Condition("attr.smokes", equals=1), lambda p: False),
        (Condition("attr.smokes", equals="true"), lambda p: False),
        (Condition("attr.flag", equals=True), lambda p: p["attr.flag"]),
        (Condition("attr.unindexed", any_of=(5, "\x004")), lambda p: p["attr.unindexed"] in (5, "\x004")),
        (Condition('attr.odd "name"/[0] ü%22', equals="value 2"), lambda p: p['attr.odd "name"/[0] ü%22'] == "value 2"),
        (Condition("attr.never seen", equals="x"), lambda p: False),
    ],
)
def test_conditions_should_select_exactly_what_they_say(readable: VectorIndex, condition: Condition, holds) -> None:
    wanted = {
        item for kind in ("image", "text") for number, item in enumerate(ids(kind)) if holds(payload(number, kind))
    }
    assert readable.count([condition]) == len(wanted)
    found = readable.query(WORDS.name, unit(10, 1, WORDS.dim)[0].tolist(), limit=500, where=[condition])
    assert {hit.item_id for hit in found} == wanted


def test_numbers_of_many_digits_should_be_found_by_their_value(filled: VectorIndex) -> None:
    numbers = [float(x) for x in np.random.default_rng(4).normal(size=200) * 10.0 ** np.arange(-100, 100)]
    payloads = [{"attr.age": number, "attr.other": number} for number in numbers]
    filled.upsert(Points(ids("digits", 200), {WORDS.name: unit(6, 200, WORDS.dim)}, payloads))
    for field in ("attr.age", "attr.other"):
        assert [filled.count([Condition(field, equals=number)]) for number in numbers] == [1] * 200


def test_all_conditions_should_hold_together(readable: VectorIndex) -> None:
    where = [Condition("modality", equals="image"), Condition("split", equals="eval"), Condition("attr.age", below=30)]
    assert readable.count(where) == 10
    assert readable.count() == 2 * N


@pytest.mark.parametrize(
    "condition", [Condition("split"), Condition("split", equals="a", any_of=("b",)), Condition("x", equals=1, below=2)]
)
def test_a_condition_that_says_nothing_or_two_things_should_be_refused(
    readable: VectorIndex, condition: Condition
) -> None:
    with pytest.raises(DataError, match="exactly one"):
        readable.count([condition])


def test_facet_should_count_values_most_frequent_first(readable: VectorIndex) -> None:
    assert list(readable.facet("split").items()) == [("pool", 80), ("eval", 40)]
    odd = readable.facet('attr.odd "name"/[0] ü%22', [Condition("modality", equals="image")])
    assert odd == {f"value {number}": 12 for number in range(5)}


def test_scroll_should_return_every_payload_as_it_was_stored(readable: VectorIndex) -> None:
    wanted = {item: payload(n, kind) for kind in ("image", "text") for n, item in enumerate(ids(kind))}
    found = readable.scroll()
    assert found == wanted
    assert isinstance(found[ids("image")[4]]["attr.smokes"], bool)


def test_upsert_should_replace_payload_and_vectors(filled: VectorIndex) -> None:
    item = ids("image")[0]
    vector = np.zeros((1, WORDS.dim), np.float32)
    vector[0, 0] = 1
    filled.upsert(Points([item], {WORDS.name: vector}, [{"split": "new"}]))
    assert filled.count() == 2 * N
    assert filled.scroll()[item] == {"split": "new"}
    [hit] = filled.query(WORDS.name, vector[0].tolist(), limit=1)
    assert hit.item_id == item
    assert hit.score == pytest.approx(1, abs=1e-6)
    assert item not in {hit.item_id for hit in filled.query(IMAGE.name, [1.0] * IMAGE.dim, limit=500)}


def test_delete_should_remove_only_what_is_named(filled: VectorIndex) -> None:
    gone = ids("image")[:5]
    filled.delete([*gone, digest("unknown")])
    filled.delete([])
    assert filled.count() == 2 * N - 5
    assert set(filled.scroll()) == set(ids("image")[5:] + ids("text"))


def test_an_index_should_tell_whether_anything_was_ever_stored(index: VectorIndex) -> None:
    assert not index.exists
    fill(index)
    assert index.exists


def test_erased_points_should_be_gone_and_the_others_searched_as_before(filled: VectorIndex) -> None:
    gone, query = ids("image")[:5], [1.0] * IMAGE.dim
    before = [hit for hit in filled.query(IMAGE.name, query, limit=500) if hit.item_id not in gone]

    class Entered:
        def __enter__(self) -> VectorIndex:
            return filled

        def __exit__(self, *exc: object) -> None:
            pass

    assert forget_vectors(Entered(), [*gone, digest("unknown")]) == 5  # pyright: ignore
    assert set(filled.scroll()) == set(ids("image")[5:] + ids("text"))
    after = filled.query(IMAGE.name, query, limit=500)
    assert {hit.item_id: hit.payload for hit in after} == {hit.item_id: hit.payload for hit in before}
    assert [hit.score for hit in after] == pytest.approx([hit.score for hit in before], abs=1e-6)
    assert sum(filled.facet("modality").values()) == 2 * N - 5


def test_more_points_than_a_batch_and_a_page_should_all_stand(index: VectorIndex) -> None:
    index.ensure([WORDS], {})
    index.upsert(Points(ids("many", 1300), {WORDS.name: unit(5, 1300, WORDS.dim)}))
    assert set(index.scroll()) == set(ids("many", 1300))
    index.delete(ids("many", 1300)[:1200])
    assert index.count() == 100


def test_examples_should_point_towards_the_positive_and_away_from_the_negative(readable: VectorIndex) -> None:
    vectors, names = unit(1, N, IMAGE.dim), ids("image")
    for positive, negative in (([0, 1], [2]), ([3], []), ([], [4, 5])):
        towards = vectors[positive].mean(axis=0) if positive else 0
        away = vectors[negative].mean(axis=0) if negative else towards
        rest = [row for row in range(N) if row not in positive + negative]
        hits = readable.query_by_examples(IMAGE.name, [names[p] for p in positive], [names[n] for n in negative], 6)
        wanted = expected(2 * towards - away, vectors[rest], [names[row] for row in rest], 6)
        assert_hits(hits, wanted)


def test_examples_should_obey_conditions(readable: VectorIndex) -> None:
    where = [Condition("split", equals="eval")]
    hits = readable.query_by_examples(WORDS.name, [ids("text")[0]], limit=500, where=where)
    assert len(hits) == 39
    assert {hit.payload["split"] for hit in hits} == {"eval"}


def test_an_example_without_a_vector_in_the_space_should_be_named(readable: VectorIndex) -> None:
    for stranger in (digest("unknown"), ids("text")[0]):
        with pytest.raises(IndexMismatch, match=stranger):
            readable.query_by_examples(IMAGE.name, [ids("image")[0], stranger])
    with pytest.raises(DataError, match="at least one"):
        readable.query_by_examples(IMAGE.name, [])


def test_ensure_should_be_repeatable_and_add_what_is_missing(filled: VectorIndex) -> None:
    more = Space("a third/space", 3)
    filled.ensure([IMAGE, WORDS, more], {**FIELDS, "attr.late": "keyword"})
    filled.ensure([IMAGE, WORDS, more], {**FIELDS, "attr.late": "keyword"})
    assert filled.count() == 2 * N
    point = Points([digest("late")], {more.name: np.eye(3, dtype=np.float32)[:1]}, [{"attr.late": "yes"}])
    filled.upsert(point)
    assert [hit.item_id for hit in filled.query(more.name, [1, 0, 0])] == [digest("late")]
    assert filled.facet("attr.late") == {"yes": 1}
    assert len(filled.query(IMAGE.name, [1.0] * IMAGE.dim, limit=500)) == N


def test_a_field_that_changes_its_kind_should_be_filtered_by_the_new_one(filled: VectorIndex) -> None:
    filled.ensure([IMAGE, WORDS], {**FIELDS, "attr.age": "keyword"})
    filled.upsert(Points([digest("old")], {WORDS.name: unit(8, 1, WORDS.dim)}, [{"attr.age": "old"}]))
    assert filled.count([Condition("attr.age", equals="old")]) == 1
    assert filled.count([Condition("attr.age", at_least=50)]) == 20


def test_what_does_not_fit_should_be_refused_before_anything_is_stored(readable: VectorIndex) -> None:
    item = [digest("new")]
    with pytest.raises(IndexMismatch, match="length 5"):
        readable.upsert(Points(item, {WORDS.name: unit(1, 1, 4)}))
    with pytest.raises(IndexMismatch, match="no space 'other'"):
        readable.upsert(Points(item, {WORDS.name: unit(1, 1, 5), "other": unit(1, 1, 4)}))
    with pytest.raises(IndexMismatch, match="no space 'other'"):
        readable.query("other", [1.0])
    with pytest.raises(IndexMismatch, match="length 5"):
        readable.query(WORDS.name, [1.0])
    with pytest.raises(IndexMismatch, match="length"):
        readable.ensure([Space(WORDS.name, 6)], {})
    with pytest.raises(DataError, match="not finite"):
        readable.upsert(Points(item, {WORDS.name: np.full((1, 5), np.nan, np.float32)}))
    with pytest.raises(DataError, match="twice"):
        readable.upsert(Points(item * 2, {WORDS.name: unit(1, 2, 5)}))
    with pytest.raises(DataError, match="shape"):
        readable.upsert(Points(item, {WORDS.name: unit(1, 2, 5)}))
    with pytest.raises(DataError, match="payloads"):
        readable.upsert(Points(item, {WORDS.name: unit(1, 1, 5)}, [{}, {}]))
    with pytest.raises(DataError, match="32 hex"):
        readable.upsert(Points(["7"], {WORDS.name: unit(1, 1, 5)}))
    with pytest.raises(DataError, match="keyword"):
        readable.ensure([WORDS], {"split": "text"})
    assert readable.count() == 2 * N


def test_an_index_nobody_made_should_say_so(index: VectorIndex) -> None:
    for ask in (index.count, index.scroll, lambda: index.query("words", [1.0]), lambda: index.facet("split")):
        with pytest.raises(IndexMismatch, match="first"):
            ask()


def test_an_index_that_is_not_entered_should_say_so(tmp_path: Path) -> None:
    client = QdrantClient(":memory:")
    for index in (EdgeIndex(tmp_path), ServerIndex(client, "wheel")):
        with pytest.raises(FlywheelError, match="context manager"):
            index.ensure([WORDS], {})
    client.close()


def test_save_and_restore_should_bring_back_a_generation(filled: VectorIndex, tmp_path: Path) -> None:
    if isinstance(filled, ServerIndex) and not os.environ.get("QDRANT_URL"):
        for refused in (filled.save, filled.restore):
            with pytest.raises(IndexMismatch, match="local mode"):
                refused(str(tmp_path / "saved"))
        return
    before = filled.scroll()
    filled.save(str(tmp_path / "saved"))
    filled.delete(ids("image"))
    filled.restore(str(tmp_path / "saved"))
    assert filled.scroll() == before
    assert len(filled.query(IMAGE.name, [1.0] * IMAGE.dim, limit=500)) == N
    with pytest.raises(IndexMismatch, match="complete"):
        filled.restore(str(tmp_path / "nothing"))
    assert filled.scroll() == before
