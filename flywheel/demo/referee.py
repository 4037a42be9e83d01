"""The referee knows the truth that the wheel never reads, and says what each turn was worth."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from flywheel.config import WheelConfig
from flywheel.corpus import judges, load_corpus, members
from flywheel.demo.bucket import DemoFolder
from flywheel.identity import item_id
from flywheel.raw import current_items
from flywheel.tables import Tables

# A reported gap is the planted one if at least half of its members are, and they are a fifth of all that are.
PRECISION = 0.5
RECALL = 0.2


def summarize(
    folder: DemoFolder, tables: Tables, config: WheelConfig, encoder_id: str, seconds: float
) -> dict[str, Any]:
    """Return the demo's summary.

    Accuracies are shares of the evaluation split's items, without the half whose labels help to find gaps, judged
    by the truth: `accuracy` of the model trained on
    the first labels and the wheel's choice, `random_accuracy` of one trained on as many randomly chosen labels;
    `gap_*` within the planted gap, null where none is planted. `gap_rank` is the planted gap's place in the turn's
    report, null if it is not there.
    """
    truth = _truth(folder, tables)
    closed = tables.scan("turns").filter(pl.col("turn") >= 1, pl.col("state") == "closed")
    turns = closed.select("turn").sort("turn").collect()["turn"].to_list()
    return {
        "dataset": folder.dataset.name,
        "seconds": round(seconds, 1),
        "items": truth.height,
        "seed_labels": folder.plan.filter(pl.col("labeled"), pl.col("split") != "eval").height,
        "planted_gap": folder.gap,
        "turns": [_judge_turn(turn, truth, tables, config, encoder_id) for turn in turns],
    }


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Write the summary as JSON, whole or not at all."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    partial.replace(path)


def _truth(folder: DemoFolder, tables: Tables) -> pl.DataFrame:
    """One row per item that has arrived: `content_id`, `truth`, `in_gap`, `split`, `unseen` (by the wheel's search)."""
    pairs = zip(folder.plan["key"].to_list(), folder.plan["part"].to_list(), strict=True)
    ids = [item_id("bucket", key, part) for key, part in pairs]
    planned = folder.plan.select("in_gap", truth="label").with_columns(pl.Series("item_id", ids))
    items = current_items(tables).select("item_id", "content_id", "split")
    truth = planned.join(items, on="item_id").sort("item_id")
    labeled = folder.plan.filter("labeled")
    told = [item_id("bucket", key, part) for key, part in labeled.select("key", "part").iter_rows()]
    # an evaluation item helps to find gaps if its label came with it and it does not judge
    finds = truth["item_id"].is_in(told) & ~pl.Series(judges(truth["content_id"]), dtype=pl.Boolean)
    return truth.with_columns(unseen=(pl.col("split") == "eval") & ~pl.lit(finds))


def _judge_turn(turn: int, truth: pl.DataFrame, tables: Tables, config: WheelConfig, encoder_id: str) -> dict[str, Any]:
    rank, predicate = _find_planted(turn, truth, tables, config, encoder_id)
    batch = tables.read("batches", turn=turn)
    judged: dict[str, Any] = {"turn": turn, "labels_spent": batch.filter(pl.col("arm") == "chosen").height}
    for arm, prefix in (("chosen", ""), ("random", "random_")):
        judged[f"{prefix}accuracy"] = _accuracy(turn, arm, truth, tables)
        judged[f"{prefix}gap_accuracy"] = _accuracy(turn, arm, truth.filter(pl.col("in_gap")), tables)
    order = ("accuracy", "random_accuracy", "gap_accuracy", "random_gap_accuracy")
    head = {"turn": turn, "labels_spent": judged["labels_spent"]}
    return head | {name: judged[name] for name in order} | {"gap_rank": rank, "gap_predicate": predicate}


def _accuracy(turn: int, arm: str, truth: pl.DataFrame, tables: Tables) -> float | None:
    predictions = tables.read("predictions", turn=turn).filter(pl.col("arm") == arm)
    both = truth.filter("unseen").join(predictions, on="content_id")
    share = both.select((pl.col("predicted") == pl.col("truth")).mean()).item()
    return None if share is None else round(float(share), 4)


def _find_planted(
    turn: int, truth: pl.DataFrame, tables: Tables, config: WheelConfig, encoder_id: str
) -> tuple[int | None, str | None]:
    """Return rank and words of the first reported gap that is the planted one."""
    corpus = load_corpus(tables, config, encoder_id, turn)
    planted = truth.filter(pl.col("in_gap"))["content_id"]
    inside = corpus.frame["content_id"].is_in(planted.to_list()).to_numpy()
    gaps = tables.read("gaps", turn=turn).filter(pl.col("kind") != "hard").sort("rank")
    for gap in gaps.iter_rows(named=True):
        mask = members(corpus.frame, gap["expression"])
        shared = float((mask & inside).sum())
        if mask.any() and inside.any() and shared / mask.sum() >= PRECISION and shared / inside.sum() >= RECALL:
            return int(gap["rank"]), str(gap["predicate"])
    return None, None
