"""From several annotators' answers to one, with the probability that it is right.

Source: A. P. Dawid and A. M. Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm"
(1979). Few answers per annotator would leave most of a confusion matrix empty, so each row is drawn towards the
annotator's single accuracy, and that towards a common one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.quality.agreement import Votes

Floats = NDArray[np.float64]

ACCURACY = 0.8  # of an annotator nothing is known about
ACCURACY_WEIGHT = 4.0  # answers that this assumption is worth
ROW_WEIGHT = 5.0  # answers that an annotator's single accuracy is worth in each row of the confusion matrix
TOLERANCE, ROUNDS = 1e-6, 200


@dataclass(frozen=True)
class Consensus:
    """What the answers say together.

    Attributes:
        posterior: (n_items, n_classes), probability of each class; rows sum to 1.
        accuracy: (n_annotators,), probability that an annotator's answer is right, 0..1, higher is better; NaN where
            it is not estimated.
        method: dawid-skene | majority.
    """

    posterior: Floats
    accuracy: Floats
    method: str

    @property
    def values(self) -> NDArray[np.int64]:
        """The most probable class of each item, (n_items,); the first one where several are equally so."""
        return self.posterior.argmax(axis=1)

    @property
    def confidence(self) -> Floats:
        """Its probability, (n_items,), 0..1."""
        return self.posterior.max(axis=1)


def find_consensus(votes: Votes) -> Consensus:
    """Return the consensus by Dawid and Skene where the answers overlap enough to tell annotators apart, by majority
    otherwise: that takes three annotators, and two items answered twice per class."""
    several = int((votes.counts.sum(axis=1) > 1).sum())
    if votes.n_annotators >= 3 and several >= 2 * votes.n_classes:
        return dawid_skene(votes)
    return majority(votes)


def majority(votes: Votes) -> Consensus:
    """Return the consensus of annotators that are all right with probability `ACCURACY`, all classes alike."""
    confusion = np.broadcast_to(
        _one_coin(np.full(votes.n_annotators, ACCURACY), votes.n_classes),
        (votes.n_annotators, votes.n_classes, votes.n_classes),
    )
    posterior = _expect(votes, np.full(votes.n_classes, 1 / votes.n_classes), confusion)
    return Consensus(posterior, np.full(votes.n_annotators, np.nan), "majority")


def dawid_skene(votes: Votes) -> Consensus:
    """Return the consensus that weighs each annotator by its own errors, estimated from the answers alone.

    Deterministic: it starts from the shares of the votes. Cost: rounds x votes x classes.
    """
    shares = votes.counts.astype(np.float64)
    posterior = shares / shares.sum(axis=1, keepdims=True)
    for _ in range(ROUNDS):
        prior, _, confusion = _maximize(votes, posterior)
        updated = _expect(votes, prior, confusion)
        moved = np.abs(updated - posterior).max(initial=0.0)
        posterior = updated
        if moved < TOLERANCE:
            break
    return Consensus(posterior, _maximize(votes, posterior)[1], "dawid-skene")


def _maximize(votes: Votes, posterior: Floats) -> tuple[Floats, Floats, Floats]:
    """Return prior (k,), accuracy (a,) and confusion (a, k, k) that fit the posterior best, smoothed."""
    k = votes.n_classes
    prior = (posterior.sum(axis=0) + 1) / (votes.n_items + k)
    cells = np.empty((votes.n_annotators, k, k))
    place = votes.annotators * k + votes.values
    for truth in range(k):
        weights = posterior[votes.items, truth]
        cells[:, truth, :] = np.bincount(place, weights, minlength=votes.n_annotators * k).reshape(-1, k)
    right = np.trace(cells, axis1=1, axis2=2)
    accuracy = (right + ACCURACY_WEIGHT * ACCURACY) / (cells.sum(axis=(1, 2)) + ACCURACY_WEIGHT)
    rows = cells.sum(axis=2, keepdims=True)
    return prior, accuracy, (cells + ROW_WEIGHT * _one_coin(accuracy, k)) / (rows + ROW_WEIGHT)


def _expect(votes: Votes, prior: Floats, confusion: Floats) -> Floats:
    """Return the probability of each item's classes, (n_items, k), given how annotators err."""
    said = np.log(confusion)[votes.annotators, :, votes.values]  # (v, k): what each answer says about each class
    logs = np.tile(np.log(prior), (votes.n_items, 1))
    for truth in range(votes.n_classes):
        logs[:, truth] += np.bincount(votes.items, said[:, truth], minlength=votes.n_items)
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _one_coin(accuracy: Floats, k: int) -> Floats:
    """Return confusion matrices (a, k, k) of annotators that err uniformly."""
    wrong = ((1 - accuracy) / (k - 1))[:, None, None]
    return np.where(np.eye(k, dtype=bool), accuracy[:, None, None], wrong)
