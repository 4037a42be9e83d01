import numpy as np
import torch

from flywheel.modeling import HeadOptions, LinearHead, fit_temperature
from flywheel.modeling.calibration import assign_folds
from tests.unit.modeling_world import CLASSES, blobs


def logits_of(temperature: float, count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `temperature` times too large for the labels drawn from them."""
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((count, 3)) * 1.5
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    codes = (generator.random((count, 1)) > shares.cumsum(1)).sum(1)
    return torch.tensor(logits * temperature), torch.tensor(codes)


def test_the_temperature_undoes_overconfidence_and_underconfidence() -> None:
    for truth in (0.3, 1.0, 4.0):
        logits, codes = logits_of(truth)
        found, _ = fit_temperature(logits, codes, torch.ones(len(codes), dtype=torch.float64))
        assert abs(found / truth - 1) < 0.08


def test_a_few_right_answers_are_no_certainty() -> None:
    logits = torch.eye(3, dtype=torch.float64) * 2
    found, _ = fit_temperature(logits, torch.arange(3), torch.ones(3, dtype=torch.float64))
    assert 0.2 < found < 1.0


def test_a_group_is_held_out_whole_and_classes_are_dealt_evenly() -> None:
    groups = [f"g{row // 2}" for row in range(200)]
    codes = np.array([(row // 2) % 4 for row in range(200)], np.int64)
    folds = assign_folds(groups, codes, 5, seed=0)
    assert all(folds[row] == folds[row + 1] for row in range(0, 200, 2))
    counts = np.array([[((folds == fold) & (codes == code)).sum() for code in range(4)] for fold in range(5)])
    assert counts.min() == counts.max() == 10


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    groups = [f"g{row}" for row in range(50)]
    codes = np.arange(50) % 3
    order = np.random.default_rng(1).permutation(50)
    folds = assign_folds(groups, codes, 5, seed=0)
    shuffled = assign_folds([groups[row] for row in order], codes[order], 5, seed=0)
    assert (folds[order] == shuffled).all()
    assert (assign_folds(groups, codes, 5, seed=1) != folds).any()


def test_a_fitted_head_is_calibrated_on_rows_it_never_saw() -> None:
    vectors, labels = blobs(300, spread=2.0)
    unseen, truth = blobs(6000, seed=1, spread=2.0)
    head = LinearHead(CLASSES).fit(vectors, labels, [1.0] * 300, [str(row) for row in range(300)])
    probabilities = head.predict_proba(unseen)
    right = np.array(CLASSES)[probabilities.argmax(1)] == truth
    assert abs(probabilities.max(1).mean() - right.mean()) < 0.03


def test_noisy_labels_get_a_stronger_penalty() -> None:
    vectors, labels = blobs(150, spread=0.5)
    generator = np.random.default_rng(0)
    noisy = [CLASSES[generator.integers(3)] if generator.random() < 0.5 else label for label in labels]
    groups = [str(row) for row in range(150)]
    clean = LinearHead(CLASSES, HeadOptions()).fit(vectors, labels, [1.0] * 150, groups)
    doubted = LinearHead(CLASSES, HeadOptions()).fit(vectors, noisy, [1.0] * 150, groups)
    assert doubted.facts["decay"] > clean.facts["decay"]


def test_near_copies_of_one_subject_do_not_make_a_head_overconfident() -> None:
    vectors, _ = blobs(40, spread=3.0)
    generator = np.random.default_rng(0)
    labels = [CLASSES[generator.integers(3)] for _ in range(40)]  # nothing to learn
    copies, named = np.repeat(vectors, 3, axis=0), [label for label in labels for _ in range(3)]
    known = [f"s{row // 3}" for row in range(120)]
    strangers = [str(row) for row in range(120)]
    careful = LinearHead(CLASSES).fit(copies, named, [1.0] * 120, known)
    fooled = LinearHead(CLASSES).fit(copies, named, [1.0] * 120, strangers)
    fresh = blobs(500, seed=2, spread=3.0)[0]
    assert careful.predict_proba(fresh).max(1).mean() < 0.55 < fooled.predict_proba(fresh).max(1).mean()
