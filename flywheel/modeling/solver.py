"""Softmax regression on fixed vectors: the convex problem behind a linear head, solved to its optimum.

Everything runs in float64 on one thread, so that the same rows give the same bits whatever machine load or thread
count; n rows in d dimensions with n < d are first turned into an n-dimensional problem with the same solution.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Design:
    """Centered, scaled and, where that is smaller, rotated features with a last column of ones.

    `rows` is (n, p + 1) float64 with mean squared length 1 over the first p columns. `basis` is (d, p), or None when
    p = d and nothing was rotated.
    """

    rows: Tensor
    mean: Tensor
    scale: float
    basis: Tensor | None


@dataclass(frozen=True)
class Stopping:
    """When a fit ends: after so many steps, or once no entry of the gradient is larger than `gradient`."""

    iterations: int = 200
    gradient: float = 1e-6


@contextmanager
def one_thread() -> Generator[None]:
    """Run torch on one thread within the block: sums then add up in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def tensor(array: NDArray[np.generic]) -> Tensor:
    """Return a copy of an array as a tensor of the same type."""
    return cast(Any, torch).tensor(array)


def prepare(vectors: Tensor) -> Design:
    """Return the design of `vectors` (n, d) float64.

    The penalty of `solve` then means the same for every encoder, whatever part of its unit sphere it uses.
    The L2-penalised optimum lies in the span of the rows, so rotating into that span loses nothing.
    Cost: O(n d min(n, d)).
    """
    mean = vectors.mean(0)
    centered = vectors - mean
    scale = float(centered.square().sum(1).mean().sqrt()) or 1.0
    if vectors.shape[0] >= vectors.shape[1]:
        return Design(_with_ones(centered / scale), mean, scale, None)
    basis, triangle = cast("tuple[Tensor, Tensor]", cast(Any, torch).linalg.qr((centered / scale).T))
    return Design(_with_ones(triangle.T), mean, scale, basis)


def solve(design: Design, onehot: Tensor, weights: Tensor, decay: float, start: Tensor, options: Stopping) -> Tensor:
    """Return the parameters that minimise weighted mean cross-entropy + decay / 2 * squared length.

    K problems that differ only in their row weights are solved together: their matrix products are one product.
    The intercept is penalised like the rest, which keeps the logits of a class without examples finite.

    Args:
        design: n rows of p + 1 features.
        onehot: (n, C) float64 targets.
        weights: (n, K) float64, each column sums to 1; 0 leaves a row out.
        decay: strength of the L2 penalty.
        start: (p + 1, K * C) first guess.
        options: when L-BFGS ends (Liu & Nocedal 1989, strong Wolfe line search).

    Returns:
        (p + 1, K * C) float64. Cost: O(n p K C) per step.
    """
    rows, (n, classes), problems = design.rows, onehot.shape, weights.shape[1]
    targets, shares = onehot[:, None, :], weights[:, :, None]
    parameters = start.clone().requires_grad_(True)
    optimizer: Any = torch.optim.LBFGS(
        [parameters],
        max_iter=options.iterations,
        max_eval=4 * options.iterations,
        tolerance_grad=options.gradient,
        tolerance_change=1e-12,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    @torch.no_grad()
    def closure() -> Tensor:
        logs = torch.log_softmax((rows @ parameters).view(n, problems, classes), 2)
        slopes = (logs.exp() - targets) * shares
        parameters.grad = rows.T @ slopes.reshape(n, -1) + decay * parameters
        return -(shares * logs * targets).sum() + 0.5 * decay * parameters.square().sum()

    optimizer.step(closure)
    return parameters.detach()


def start_at_zero(design: Design, columns: int) -> Tensor:
    """Return the first guess of `solve` without a better one."""
    return torch.zeros(design.rows.shape[1], columns, dtype=torch.float64)


def unfold(design: Design, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight (d, C) and bias (C) for the vectors as they came, from parameters (p + 1, C) of the design."""
    inner = parameters[:-1] if design.basis is None else design.basis @ parameters[:-1]
    weight = inner / design.scale
    return weight, parameters[-1] - design.mean @ weight


def one_hot(codes: Tensor, classes: int) -> Tensor:
    """Return (n, classes) float64 with a 1 at each row's code."""
    return torch.nn.functional.one_hot(codes, classes).double()


def _with_ones(rows: Tensor) -> Tensor:
    return torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], 1)
