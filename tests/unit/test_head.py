import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from flywheel.errors import DataError
from flywheel.modeling import HeadOptions, LinearHead
from tests.unit.modeling_world import CLASSES, blobs


def fit(count: int = 90, options: HeadOptions | None = None, seed: int = 0, spread: float = 1.5) -> LinearHead:
    vectors, labels = blobs(count, seed, spread)
    return LinearHead(CLASSES, options).fit(vectors, labels, [1.0] * count, [str(row) for row in range(count)])


def accuracy(head: LinearHead, vectors: np.ndarray, labels: list[str]) -> float:
    return float((np.array(CLASSES)[head.predict_proba(vectors).argmax(1)] == labels).mean())


def test_a_head_is_as_good_as_the_best_logistic_regression() -> None:
    vectors, labels = blobs(90, spread=1.5)
    unseen, truth = blobs(3000, seed=1, spread=1.5)
    rivals = [LogisticRegression(C=c, max_iter=500).fit(vectors, labels).score(unseen, truth) for c in (1, 10, 100)]
    assert accuracy(fit(), unseen, truth) > max(rivals) - 0.01


def test_a_fixed_penalty_gives_the_optimum_of_its_objective() -> None:
    vectors, labels = blobs(60, spread=1.5)
    head = fit(60, HeadOptions(weight_decay=0.01))
    centered = vectors - vectors.mean(0)
    scaled = centered / np.sqrt((centered**2).sum(1).mean())
    rival = LogisticRegression(C=1 / (0.01 * 60), fit_intercept=False, tol=1e-8, max_iter=5000)
    expected = rival.fit(np.column_stack([scaled, np.ones(60)]), labels)
    logits = np.column_stack([scaled, np.ones(60)]) @ expected.coef_.T / head.temperature
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(head.predict_proba(vectors), shifted / shifted.sum(1, keepdims=True), atol=1e-4)


def test_rotating_wide_features_changes_nothing() -> None:
    vectors, labels = blobs(30, spread=1.5)
    wide = np.zeros((30, 40), np.float32)
    wide[:, :8] = vectors
    options = HeadOptions(weight_decay=0.01)
    groups = [str(row) for row in range(30)]
    narrow = LinearHead(CLASSES, options).fit(vectors, labels, [1.0] * 30, groups)
    turned = LinearHead(CLASSES, options).fit(wide, labels, [1.0] * 30, groups)
    np.testing.assert_allclose(turned.predict_proba(wide), narrow.predict_proba(vectors), atol=1e-4)


def test_training_again_gives_the_same_bytes_on_any_number_of_threads() -> None:
    first = fit().save()
    threads = torch.get_num_threads()
    torch.set_num_threads(threads % 4 + 1)
    try:
        assert fit().save() == first
        assert torch.get_num_threads() == threads % 4 + 1
    finally:
        torch.set_num_threads(threads)


def test_a_saved_head_predicts_the_same_and_is_no_pickle() -> None:
    head = fit()
    content = head.save()
    again = LinearHead.load(content)
    vectors = blobs(20, seed=3)[0]
    assert again.save() == content
    assert (again.predict_proba(vectors) == head.predict_proba(vectors)).all()
    assert again.classes == CLASSES and again.temperature == head.temperature
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert set(header) == {"__metadata__", "weight", "bias"}
    assert json.loads(header["__metadata__"]["flywheel"])["facts"]["examples"] == 90


@pytest.mark.parametrize("content", [b"", b"garbage" * 10, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_loading_what_is_no_head_says_so(content: bytes) -> None:
    with pytest.raises(DataError, match="no saved head"):
        LinearHead.load(content)


def test_probabilities_are_rows_that_sum_to_one() -> None:
    probabilities = fit().predict_proba(blobs(50, seed=5)[0])
    assert probabilities.dtype == np.float32 and probabilities.shape == (50, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_a_class_without_examples_has_finite_logits_and_is_named() -> None:
    vectors, labels = blobs(60)
    kept = [row for row, label in enumerate(labels) if label != "emu"]
    head = LinearHead(CLASSES).fit(vectors[kept], [labels[row] for row in kept], [1.0] * 40, [str(row) for row in kept])
    probabilities = head.predict_proba(vectors)
    assert head.unseen == ("emu",)
    assert np.isfinite(probabilities).all()
    assert probabilities[:, 2].max() < 0.2


def test_weights_count_like_repeated_rows() -> None:
    vectors, labels = blobs(30, spread=1.5)
    options = HeadOptions(weight_decay=0.01)
    groups = [str(row) for row in range(30)]
    heavy = LinearHead(CLASSES, options).fit(vectors, labels, [3.0] * 10 + [1.0] * 20, groups)
    order = [row for row in range(30) for _ in range(3 if row < 10 else 1)]
    # the scale of the features is of the rows as given, so compare directions of decision rather than values
    again = LinearHead(CLASSES, options).fit(
        vectors[order], [labels[row] for row in order], [1.0] * len(order), [groups[row] for row in order]
    )
    logits = [np.log(head.predict_proba(vectors)) * head.temperature for head in (heavy, again)]
    even = LinearHead(CLASSES, options).fit(vectors, labels, [1.0] * 30, groups)
    apart = np.log(even.predict_proba(vectors)) * even.temperature
    assert np.abs(logits[0] - logits[1]).mean() < 0.5 * np.abs(logits[0] - apart).mean()


def test_two_examples_are_enough_to_train_and_leave_the_temperature_alone() -> None:
    vectors, labels = blobs(2)
    head = LinearHead(CLASSES).fit(vectors, labels, [1.0, 1.0], ["a", "b"])
    assert head.temperature == 1.0
    assert accuracy(head, vectors, labels) == 1.0


@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        (["cat"] * 6, [1.0] * 6, "at least two classes"),
        (["cat", "cow"] * 3, [1.0] * 6, "no class of the label spec"),
        (["cat", "dog"] * 3, [1.0] * 5 + [0.0], "above 0"),
        (["cat", "dog"] * 2, [1.0] * 6, "one of each per row"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(labels: list[str], weights: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        LinearHead(CLASSES).fit(blobs(6)[0], labels, weights, [str(row) for row in range(6)])


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="length 8"):
        fit().predict_proba(np.ones((2, 9), np.float32))
