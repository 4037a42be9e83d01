"""What the demo plants: a part of the data that the first labels nearly lack.

A gap is written `kind:what`:
- `class:Sandal`: a class. No attribute names it.
- `hidden:sideways`, `hidden:sci.med`, `hidden:women-over-64`: a visible sub-group (a look of the pictures, a newsgroup
  within a class, people of a sex and an age) that no attribute names.
- `named:sideways`, `named:sci.med`: the same, and an attribute names it.
- `none`: a control run.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.demo.datasets import Dataset
from flywheel.errors import ConfigError

DEFAULT_GAPS = {
    "images": "class:Sandal",
    "text": "class:religion",
    "records": "class:diabetes",
    "video": "class:cyclist",
}

GAP_SHARE = 0.08  # of all items
EVALUATION_SHARE = 0.4
FIRST_PORTION = 0.8
SEED_SHARE = 0.08  # first labels, of all items

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


def _zoomed_out(image: Pixels) -> Pixels:
    small = np.zeros_like(image)
    small[7:21, 7:21] = image[::2, ::2]
    return small


LOOKS: dict[str, Callable[[Pixels], Pixels]] = {
    "sideways": lambda image: np.rot90(image).copy(),
    "upside-down": lambda image: image[::-1].copy(),
    "zoomed-out": _zoomed_out,
}


@dataclass(frozen=True)
class Gap:
    """A parsed gap; `kind` is none, class, hidden or named."""

    kind: str
    what: str

    @property
    def text(self) -> str:
        """The gap as it is written."""
        return "none" if self.kind == "none" else f"{self.kind}:{self.what}"


def parse_gap(text: str, dataset: Dataset) -> Gap:
    """Return the gap that `text` names.

    Raises:
        ConfigError: there is none of this name in the data set; the message lists those that are.
    """
    if text == "none":
        return Gap("none", "")
    kind, _, what = text.partition(":")
    known = known_gaps(dataset)
    if text not in known:
        raise ConfigError(f"there is no gap '{text}' in {dataset.name}; choose none, {', '.join(known)}")
    return Gap(kind, what)


def known_gaps(dataset: Dataset) -> list[str]:
    """Return every gap that can be planted in a data set."""
    parts = list(LOOKS) if dataset.modality == "image" else sorted(set(dataset.groups))
    classes = [f"class:{name}" for name in dataset.classes]
    return [*classes, *(f"hidden:{part}" for part in parts), *(f"named:{part}" for part in parts)]


def plan(dataset: Dataset, gap: Gap, seed: int, items: int) -> pl.DataFrame:
    """Return what arrives, one row per item, in the order of its name.

    Columns: `name`, `row` (of the data set), `label`, `in_gap`, `look`, `split` (pool | eval), `portion` (1 | 2),
    `labeled` (its label comes with it), `camera` (the attribute: says nothing, unless the gap is named).

    Args:
        items: how many; at least 500, so that first labels and an evaluation set can be cut from them.

    Raises:
        ConfigError: the data set is too small for as many.
    """
    random = np.random.default_rng([seed, len(gap.text), *gap.text.encode()])
    rows, in_gap = _draw(dataset, gap, items, random)
    order = random.permutation(items)
    rows, in_gap = rows[order], in_gap[order]
    is_eval = random.random(items) < EVALUATION_SHARE
    portion = np.where(random.random(items) < FIRST_PORTION, 1, 2)
    seeds = _first_labels(in_gap, ~is_eval & (portion == 1), round(SEED_SHARE * items), gap)
    camera = np.where(random.random(items) < 0.5, "a", "b")
    if gap.kind == "named":
        camera = np.where(in_gap, "c", camera)
    has_look = gap.kind != "class" and gap.what in LOOKS
    return pl.DataFrame(
        {
            "name": [f"{number:06d}" for number in range(items)],
            "row": rows,
            "label": [dataset.labels[row] for row in map(int, rows)],
            "in_gap": in_gap,
            "look": np.where(in_gap & has_look, gap.what, ""),
            "split": np.where(is_eval, "eval", "pool"),
            "portion": portion,
            "labeled": (is_eval & (portion == 1)) | seeds,
            "camera": camera,
        }
    )


def _draw(dataset: Dataset, gap: Gap, items: int, random: np.random.Generator) -> tuple[Rows, Mask]:
    """Draw rows without repeats; the first `GAP_SHARE` of them are in the gap."""
    shuffled = random.permutation(len(dataset.labels))
    wanted = 0 if gap.kind == "none" else round(GAP_SHARE * items)
    if gap.kind == "none" or gap.what in LOOKS:
        inside, outside = shuffled[:wanted], shuffled[wanted:]
    else:
        names = dataset.labels if gap.kind == "class" else dataset.groups
        belongs = np.array(names)[shuffled] == gap.what
        inside, outside = shuffled[belongs][:wanted], shuffled[~belongs]
    if len(inside) < wanted or len(outside) < items - wanted:
        raise ConfigError(
            f"{dataset.name} has {len(shuffled)} examples, {len(inside)} of them usable for the gap '{gap.text}': "
            f"too few for {items} items, choose fewer"
        )
    rows = np.concatenate([inside, outside[: items - wanted]])
    return rows, np.arange(items) < wanted


def _first_labels(in_gap: Mask, eligible: Mask, wanted: int, gap: Gap) -> Mask:
    """Mask of the first labels: one of them in the gap, or any where none is planted."""
    inside = np.flatnonzero(eligible & in_gap)[:1]
    outside = np.flatnonzero(eligible & ~in_gap)[: wanted - len(inside)]
    mask = np.zeros(len(in_gap), bool)
    mask[np.concatenate([inside, outside])] = True
    return mask
