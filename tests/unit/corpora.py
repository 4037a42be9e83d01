"""Small corpora in memory: points around centers, some labeled, some of which nobody labeled."""

from pathlib import Path

import numpy as np
import polars as pl

from flywheel.config import WheelConfig, parse_config
from flywheel.corpus import Corpus, likely_classes

CLASSES = ("bus", "car", "dog", "elk")


def wheel_config(**budget: object) -> WheelConfig:
    """A configuration for four classes; `budget` overrides single keys."""
    raw = {
        "sources": [{"id": "a", "root": "b"}],
        "label_spec": {"classes": CLASSES},
        "vendor": {"kind": "file", "folder": "x", "price": 0.5},
        "budget": budget,
    }
    return parse_config(raw, Path("/tmp"))


def corpus(
    seed: int = 0, size: int = 1200, lacking: int | None = None, labeled: int = 200, predicted: bool = True
) -> Corpus:
    """Eight groups around random centers, two to a class; group `lacking` has no training label.

    The model is right everywhere but in that group, where it names another class.
    """
    random = np.random.default_rng(seed)
    centers = random.normal(size=(8, 16))
    group = random.integers(0, 8, size)
    vectors = (centers[group] + 0.4 * random.normal(size=(size, 16))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    truth = [CLASSES[g // 2] for g in group]
    is_eval = random.random(size) < 0.3
    trainable = np.flatnonzero(~is_eval & (group != (-1 if lacking is None else lacking)))
    with_label = is_eval.copy()
    with_label[trainable[:labeled]] = True
    label = [truth[row] if with_label[row] else None for row in range(size)]
    wrong = {name: CLASSES[(place + 1) % 4] for place, name in enumerate(CLASSES)}
    said = [wrong[truth[row]] if group[row] == lacking else truth[row] for row in range(size)]
    nothing = pl.Series([None] * size)
    frame = pl.DataFrame(
        {
            "content_id": [f"c{row:05d}" for row in range(size)],
            "item_id": [f"i{row:05d}" for row in range(size)],
            "split": np.where(is_eval, "eval", "pool").tolist(),
            "label": label,
            "agreement": [1.0 if given else None for given in label],
            "judges": [False] * size,
            "predicted": said if predicted else nothing.cast(pl.String),
            "confidence": [0.8] * size if predicted else nothing.cast(pl.Float64),
            "margin": [0.6] * size if predicted else nothing.cast(pl.Float64),
            "attr.site": np.where(group == 3, "north", "south").tolist(),
            "cluster.1": [f"k{g}" for g in group],
        }
    ).with_columns(pl.Series("class.likely", likely_classes(vectors, label), pl.String))
    units = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    names = {f"k{g}": f"group {g}" for g in range(8)}
    return Corpus(frame, vectors, names, pl.DataFrame({"cluster_id": list(names), "center": units.tolist()}))
