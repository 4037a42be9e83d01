"""A linear head on frozen vectors: what a model is to the wheel, and the one that is built in."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from flywheel.encoders import Vectors
from flywheel.errors import DataError
from flywheel.modeling.calibration import FOLDS, GRID, assign_folds, tune
from flywheel.modeling.solver import Stopping, one_hot, one_thread, prepare, solve, start_at_zero, tensor, unfold

log = logging.getLogger("flywheel.modeling")

ALGORITHM = "linear-head/1"  # goes into every model's id: change it whenever the same rows would give another model
BLOCK = 8192  # rows answered at a time: float64 copies of all vectors would not fit
TUNING_ROWS = 1500  # penalty and temperature are chosen on at most so many rows


class Model(Protocol):
    """What the wheel asks of a model on vectors."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        ...

    @property
    def temperature(self) -> float:
        """What the logits are divided by to be calibrated; 1 for a model that needs none."""
        ...

    def fit(self, vectors: Vectors, labels: Sequence[str], weights: Sequence[float], groups: Sequence[str]) -> Self:
        """Return a trained model.

        Args:
            vectors: (n, d) float32, unit length.
            labels: class of each row; n of them, at least two different ones.
            weights: how far each label is trusted, above 0.
            groups: rows of one group (a subject) are held out together when the model tunes itself.
        """
        ...

    def predict_proba(self, vectors: Vectors) -> Vectors:
        """Return calibrated probabilities (n, C) float32, rows sum to 1, columns in the order of `classes`."""
        ...

    def save(self) -> bytes:
        """Return the model as bytes; the same model gives the same bytes. Never a pickle."""
        ...

    @classmethod
    def load(cls, content: bytes) -> Self:
        """Return the model that `save` wrote."""
        ...


@dataclass(frozen=True)
class HeadOptions:
    """How a head is trained.

    Attributes:
        weight_decay: L2 penalty on features of mean squared length 1; None chooses it by cross-validation.
        iterations: most L-BFGS steps per fit.
        seed: deals the folds.
    """

    weight_decay: float | None = None
    iterations: int = 200
    seed: int = 0


class LinearHead:
    """Softmax regression with a temperature (Guo et al. 2017).

    All classes of the label spec have a logit. A class without examples has one too, learned from others' examples
    alone: such classes are named in `unseen`, and their probabilities say nothing about the class.

    Args:
        classes: class names; their order is the order of the probabilities.
        options: how `fit` trains.
    """

    def __init__(self, classes: Sequence[str], options: HeadOptions | None = None):
        self._classes = tuple(classes)
        self._options = options or HeadOptions()
        self._weight = torch.zeros(0, len(self._classes))
        self._bias = torch.zeros(len(self._classes))
        self._facts: dict[str, Any] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self._classes

    @property
    def temperature(self) -> float:
        """What the logits are divided by."""
        return float(self._facts.get("temperature", 1.0))

    @property
    def unseen(self) -> tuple[str, ...]:
        """Classes that no training row showed."""
        return tuple(self._facts.get("unseen", self._classes))

    @property
    def facts(self) -> dict[str, Any]:
        """How it came about: examples, penalty, temperature, rows it was calibrated on and their log loss."""
        return dict(self._facts)

    def fit(
        self, vectors: Vectors, labels: Sequence[str], weights: Sequence[float], groups: Sequence[str]
    ) -> "LinearHead":
        """Return a trained head; see `Model.fit`.

        Bit-equal on repeat and for any number of threads. Cost: O(n d C) per step, about 30 to 80 steps for the fit
        and for each penalty tried; penalty and temperature are chosen on at most 1500 rows.

        Raises:
            DataError: fewer than two classes, a label that is no class, a weight that is not above 0, or lengths
                that differ.
        """
        codes = self._codes(vectors, labels, weights, groups)
        trust = torch.tensor(list(weights), dtype=torch.float64)
        with one_thread():
            chosen = self._tune(vectors, codes, trust, groups)
            design = prepare(tensor(vectors).double())
            onehot = one_hot(tensor(codes), len(self._classes))
            start = start_at_zero(design, len(self._classes))
            share = (trust / trust.sum())[:, None]
            weight, bias = unfold(
                design, solve(design, onehot, share, chosen["decay"], start, Stopping(self._options.iterations))
            )
        counts = np.bincount(codes, minlength=len(self._classes))
        unseen = [name for name, count in zip(self._classes, counts) if not count]
        facts = chosen | {"examples": len(codes), "unseen": unseen}
        return self._built(weight.float().contiguous(), bias.float().contiguous(), facts)

    def predict_proba(self, vectors: Vectors) -> Vectors:
        """Return calibrated probabilities (n, C) float32, rows sum to 1. Higher is more certain.

        Raises:
            DataError: the vectors' length is not the one it was trained with.
        """
        if vectors.shape[1:] != (len(self._weight),):
            raise DataError(f"the head was trained on vectors of length {len(self._weight)}, found {vectors.shape[1:]}")
        with one_thread():
            blocks = [self._answer(vectors[start : start + BLOCK]) for start in range(0, len(vectors), BLOCK)]
        return np.concatenate(blocks) if blocks else np.zeros((0, len(self._classes)), np.float32)

    def save(self) -> bytes:
        """Return the head as safetensors bytes, with everything else as JSON in the header."""
        # one header entry only: the order of several would differ from call to call
        header = {
            "algorithm": ALGORITHM,
            "classes": self._classes,
            "options": asdict(self._options),
            "facts": self._facts,
        }
        tensors = {"weight": self._weight, "bias": self._bias}
        return save_tensors(tensors, metadata={"flywheel": json.dumps(header, sort_keys=True)})

    @classmethod
    def load(cls, content: bytes) -> "LinearHead":
        """Return the head that `save` wrote.

        Raises:
            DataError: the bytes are no such head.
        """
        try:
            tensors = load_tensors(content)
            header = json.loads(_header(content)["flywheel"])
            head = cls(header["classes"], HeadOptions(**header["options"]))
            return head._built(tensors["weight"], tensors["bias"], header["facts"])
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"this is no saved head: {error}; delete the file and train the turn again") from error

    def _answer(self, vectors: Vectors) -> Vectors:
        logits = tensor(vectors).double() @ self._weight.double() + self._bias.double()
        return torch.softmax(logits / self.temperature, 1).float().numpy()

    def _built(self, weight: Tensor, bias: Tensor, facts: dict[str, Any]) -> "LinearHead":
        head = LinearHead(self._classes, self._options)
        head._weight, head._bias, head._facts = weight, bias, facts
        return head

    def _tune(self, vectors: Vectors, codes: NDArray[np.int64], trust: Tensor, groups: Sequence[str]) -> dict[str, Any]:
        folds = assign_folds(groups, codes, FOLDS, self._options.seed)
        rows = _spread(folds, TUNING_ROWS)
        # fewer groups than folds leave some folds empty: number the ones there are
        dense = np.unique(folds[rows], return_inverse=True)[1].astype(np.int64)
        given = self._options.weight_decay
        result = tune(
            prepare(tensor(vectors[rows]).double()),
            tensor(codes[rows]),
            trust[tensor(rows)],
            tensor(dense),
            GRID if given is None else (given,),
            len(self._classes),
            self._options.iterations,
        )
        return asdict(result)

    def _codes(
        self, vectors: Vectors, labels: Sequence[str], weights: Sequence[float], groups: Sequence[str]
    ) -> NDArray[np.int64]:
        if not len(vectors) == len(labels) == len(weights) == len(groups):
            found = f"{len(vectors)} vectors, {len(labels)} labels, {len(weights)} weights, {len(groups)} groups"
            raise DataError(f"a head needs one of each per row, found {found}")
        strangers = sorted(set(labels) - set(self._classes))
        if strangers:
            raise DataError(f"these labels are no class of the label spec: {strangers}; expected {self._classes}")
        if len(set(labels)) < 2:
            raise DataError(f"a head needs examples of at least two classes, found {sorted(set(labels))}")
        if min(weights) <= 0:
            raise DataError(f"a training weight must be above 0, found {min(weights)}")
        code = {name: number for number, name in enumerate(self._classes)}
        return np.array([code[label] for label in labels], np.int64)


def _spread(folds: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Row numbers, ascending: all, or about `most`, the same number from each fold, evenly spaced."""
    if len(folds) <= most:
        return np.arange(len(folds))
    picked = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    each = most // len(picked)
    thin = [rows[np.linspace(0, len(rows) - 1, min(each, len(rows))).astype(np.int64)] for rows in picked]
    return np.sort(np.concatenate(thin))


def _header(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]
