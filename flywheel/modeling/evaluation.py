"""Judges models on evaluation labels: reads `training_sets`, `predictions`, `models`; writes `evaluations`."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flywheel.config import WheelConfig
from flywheel.corpus import judges
from flywheel.intervals import Interval, paired_difference, wilson
from flywheel.modeling.metrics import FLOOR, Judged, calibration_error, log_loss, macro_f1, with_interval
from flywheel.modeling.slices import Slice, find_slices
from flywheel.records import SCHEMAS, empty
from flywheel.tables import Tables
from flywheel.turns import turn_key

log = logging.getLogger("flywheel.modeling")

ENOUGH = 20  # rows from which metrics beyond accuracy are worth an interval
DECIMALS = 6  # what sums differ in with the number of threads is rounded away


def evaluate_models(tables: Tables, config: WheelConfig, turn: int) -> pl.DataFrame:
    """Write and return the `evaluations` rows of a turn (origin "turn-001").

    The judging half of the evaluation labels only (see `flywheel.corpus`). Each arm's model on each slice: `accuracy`
    (Wilson interval) and, from 20 rows on,
    `macro_f1` (not on a single class), `log_loss` and `calibration_error` (bootstrap, seeded by the configuration).
    `baseline` is the same metric of the previous turn's deployed model on the same rows, null where there is none.

    Two rows compare models row by row: arm `chosen` has `accuracy_minus_random` (same number of labels, chosen
    against random), arm `deployed` has `accuracy_minus_previous`. Positive is better.

    Returns:
        The rows; empty where there is no model or no evaluation label.
    """
    origin = turn_key(turn)
    evaluation, answers = _answers(tables, config, turn)
    rows: list[dict[str, Any]] = []
    if answers and evaluation.height:
        encoder_id = tables.read("models", turn=turn)["encoder_id"][0]
        for part in find_slices(tables, config, encoder_id, turn, evaluation):
            rows += [{"origin": origin, "turn": turn, **row} for row in _slice_rows(part, answers, config.model.seed)]
    found = pl.DataFrame(rows, schema=SCHEMAS["evaluations"]) if rows else empty("evaluations")
    floats = [pl.col(name).round(DECIMALS) for name in ("value", "low", "high", "baseline")]
    found = found.with_columns(floats).sort("slice", "arm", "metric")
    tables.replace("evaluations", found, origin=origin)
    return found


def _answers(tables: Tables, config: WheelConfig, turn: int) -> tuple[pl.DataFrame, dict[str, tuple[str, "_Answers"]]]:
    """Evaluation rows that every arm of the turn answered, and per arm its model's id and its answers on them."""
    labels = tables.read("training_sets", turn=turn).filter(pl.col("split") == "eval").select("content_id", "label")
    labels = labels.filter(pl.Series(judges(labels["content_id"]), dtype=pl.Boolean))
    predictions = tables.read("predictions", turn=turn).join(labels, on="content_id", how="semi")
    deployed = predictions.filter(pl.col("arm") == "deployed")
    evaluation = labels.join(deployed, on="content_id", how="semi").sort("content_id")
    if evaluation.height < labels.height:
        log.warning("%d evaluation contents have no vector or no model", labels.height - evaluation.height)
    classes = dict(tables.scan("models").select("model_id", "classes").unique("model_id").collect().iter_rows())
    names = sorted({*config.label_spec.classes, *(name for known in classes.values() for name in known)})
    answers: dict[str, tuple[str, _Answers]] = {}
    for (arm,), rows in predictions.partition_by("arm", as_dict=True).items():
        model_id = str(rows["model_id"][0])
        answers[str(arm)] = model_id, _Answers(evaluation, rows, classes[model_id], names)
    return evaluation, answers


class _Answers:
    """A model's answers beside the evaluation rows, and which of them it answered at all."""

    def __init__(self, evaluation: pl.DataFrame, rows: pl.DataFrame, classes: list[str], names: list[str]):
        aligned = evaluation.join(rows, on="content_id", how="left", maintain_order="left")
        self.known: NDArray[np.bool_] = aligned["predicted"].is_not_null().to_numpy()
        code = {name: number for number, name in enumerate(names)}
        column = {name: number for number, name in enumerate(classes)}
        told = aligned["probabilities"].to_list()
        truth = aligned["label"].to_list()
        # a model that lacks a class gives it no probability at all
        true_probability = [row[column[name]] if row and name in column else 0.0 for row, name in zip(told, truth)]
        self.judged = Judged(
            truth=np.array([code[name] for name in truth], np.int64),
            predicted=np.array([code.get(name, -1) for name in aligned["predicted"].to_list()], np.int64),
            confidence=aligned["confidence"].fill_null(0.0).to_numpy(),
            loss=-np.log(np.maximum(np.array(true_probability, np.float64), FLOOR)),
        )


def _slice_rows(part: Slice, answers: Mapping[str, tuple[str, _Answers]], seed: int) -> Iterator[dict[str, Any]]:
    previous = _on_slice(answers, "previous", part)
    baseline = dict(_metrics(part, previous, seed)) if previous else {}
    for arm in ("deployed", "chosen", "random"):
        judged = _on_slice(answers, arm, part)
        if judged is None:
            continue
        place = {
            "arm": arm,
            "model_id": answers[arm][0],
            "slice": part.name,
            "predicate": part.predicate,
            "n": len(judged),
        }
        for metric, measured in _metrics(part, judged, seed):
            before = baseline[metric].value if metric in baseline else None
            yield place | _measured(metric, measured, before)
        rival = {"deployed": ("previous", previous), "chosen": ("random", _on_slice(answers, "random", part))}.get(arm)
        if rival and rival[1]:
            yield place | _measured(f"accuracy_minus_{rival[0]}", paired_difference(judged.right, rival[1].right), None)


def _on_slice(answers: Mapping[str, tuple[str, _Answers]], arm: str, part: Slice) -> Judged | None:
    """An arm's answers on a slice; None unless it answered all of it, or numbers would not be comparable."""
    if arm not in answers or not answers[arm][1].known[part.rows].all():
        return None
    return answers[arm][1].judged.at(part.rows)


def _metrics(part: Slice, judged: Judged, seed: int) -> Iterator[tuple[str, Interval]]:
    yield "accuracy", wilson(int(judged.right.sum()), len(judged))
    if len(judged) < ENOUGH:
        return
    if not part.name.startswith("class="):
        yield "macro_f1", with_interval(macro_f1, judged, seed)
    yield "log_loss", with_interval(log_loss, judged, seed)
    yield "calibration_error", with_interval(calibration_error, judged, seed)


def _measured(metric: str, measured: Interval, baseline: float | None) -> dict[str, Any]:
    return {
        "metric": metric,
        "value": measured.value,
        "low": measured.low,
        "high": measured.high,
        "baseline": baseline,
    }
