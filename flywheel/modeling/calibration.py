"""Choosing the penalty and the temperature by cross-validation within the training set; evaluation rows never enter."""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flywheel.identity import digest
from flywheel.modeling.solver import Design, Stopping, one_hot, solve, start_at_zero

log = logging.getLogger("flywheel.modeling")

# Measured on 100, 300 and 1000 labels of Fashion-MNIST (1280-d) and 20 newsgroups (384-d), with and without 10 %
# wrong labels: the best value moved from 3e-3 to 3e-5. The stronger ones are for noisier data, and quick to try.
GRID = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
DEFAULT_DECAY = 1e-3  # where there is too little to cross-validate
FOLDS = 5
COARSE = 1e-5  # gradient at which a fold is good enough to judge a penalty by


@dataclass(frozen=True)
class Tuning:
    """What cross-validation chose: penalty, temperature, and the rows it could judge by (0: defaults stand)."""

    decay: float
    temperature: float
    judged: int
    log_loss: float | None


def assign_folds(groups: Sequence[str], codes: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Deal rows into folds (n,), 0..folds-1: a group whole, each class evenly, the same in any order of rows."""
    votes: dict[str, Counter[int]] = defaultdict(Counter)
    for group, code in zip(groups, codes.tolist()):
        votes[group][code] += 1
    first = {group: min(counted, key=lambda code: (-counted[code], code)) for group, counted in votes.items()}
    ranked = sorted(first, key=lambda group: (first[group], digest("fold", str(seed), group)))
    dealt = {group: place % folds for place, group in enumerate(ranked)}
    return np.array([dealt[group] for group in groups], np.int64)


def tune(
    design: Design, codes: Tensor, weights: Tensor, folds: Tensor, grid: Sequence[float], classes: int, iterations: int
) -> Tuning:
    """Choose penalty and temperature by the log loss of held-out rows, after temperature scaling.

    A held-out row whose class the other folds lack is not judged: the final model will have seen that class.
    The grid runs from strong to weak and ends once the loss rises.

    Args:
        codes, weights, folds: (n,) class codes, row weights above 0, fold numbers from 0.
        grid: penalties to try.
    """
    masks = torch.stack([folds != fold for fold in range(int(folds.max()) + 1)], 1).double()
    shares = masks * weights[:, None]
    onehot = one_hot(codes, classes)
    judged = (shares.T @ onehot)[folds].gather(1, codes[:, None])[:, 0] > 0
    filled = shares.sum(0)
    if not bool(judged.any()) or not bool((filled > 0).all()):
        return Tuning(grid[0] if len(grid) == 1 else DEFAULT_DECAY, 1.0, 0, None)
    shares = shares / filled
    guess = start_at_zero(design, masks.shape[1] * classes)
    best: Tuning | None = None
    for decay in sorted(grid, reverse=True):
        guess = solve(design, onehot, shares, decay, guess, Stopping(iterations, COARSE))
        logits = (design.rows @ guess).view(len(codes), -1, classes)[torch.arange(len(codes)), folds][judged]
        temperature, loss = fit_temperature(logits, codes[judged], weights[judged])
        if best is not None and best.log_loss is not None and loss > best.log_loss:
            break
        best = Tuning(decay, temperature, int(judged.sum()), loss)
    assert best is not None
    log.debug("cross-validation chose penalty %g and temperature %.3f", best.decay, best.temperature)
    return best


def fit_temperature(logits: Tensor, codes: Tensor, weights: Tensor) -> tuple[float, float]:
    """Return the temperature that makes softmax(logits / T) fit the held-out labels, and the log loss it reaches.

    Guo et al. 2017, section 4.2, with a standard normal prior on log T worth one row, so that a handful of rows
    which all happen to be right cannot claim certainty. Search over log T in [-3, 3] by repeated refinement.

    Args:
        logits: (n, C) float64. codes: (n,). weights: (n,) above 0.
    """
    total = weights.sum()

    def losses(logs: Tensor) -> Tensor:
        scaled = torch.log_softmax(logits[None] / logs.exp()[:, None, None], 2)
        picked = scaled.gather(2, codes[None, :, None].expand(len(logs), -1, 1))[..., 0]
        return -(picked * weights).sum(1) / total

    center, step = 0.0, 0.5
    for _ in range(7):
        logs = (center + step * torch.arange(-6, 7, dtype=torch.float64)).clamp(-3.0, 3.0)
        center = float(logs[int((losses(logs) + 0.5 * logs.square() / total).argmin())])
        step /= 6
    found = torch.tensor([center], dtype=torch.float64)
    return float(found.exp()), float(losses(found))
