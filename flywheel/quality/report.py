"""How good a turn's labels are, in numbers and in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from flywheel.quality.agreement import Votes, alpha_interval, krippendorff_alpha, pairwise_agreement
from flywheel.quality.consensus import Consensus
from flywheel.quality.votes import encode_votes


@dataclass(frozen=True)
class QualityReport:
    """The labels that stand after a turn, and how far the people behind them agree.

    Agreement is of people's answers known to the turn; labels that came with the data are not in it.

    Attributes:
        labels: labels that stand.
        new, changed, withdrawn: against the state before the turn.
        items: contents that people answered; `votes` their answers.
        agreement: share of pairs of answers to one content that agree, 0..1, higher is better; NaN without pairs.
        alpha: Krippendorff's alpha, 1 perfect, 0 chance; `alpha_low`, `alpha_high` its 95 % bootstrap interval.
        annotators: author, answers, with_others (share of agreeing pairs), with_consensus, accuracy (estimated
            by the consensus), simulated; one row each, by author.
    """

    turn: int
    labels: int
    new: int
    changed: int
    withdrawn: int
    items: int
    votes: int
    agreement: float
    alpha: float
    alpha_low: float
    alpha_high: float
    method: str
    annotators: pl.DataFrame

    @property
    def votes_per_item(self) -> float:
        """Mean answers per content that was answered at all."""
        return self.votes / self.items if self.items else 0.0

    @property
    def markdown(self) -> str:
        """The report for people."""
        lines = [
            f"**{self.labels} labels** stand after turn {self.turn}: {self.new} new, {self.changed} changed, "
            f"{self.withdrawn} withdrawn.",
            "",
            f"{self.votes} answers to {self.items} contents ({self.votes_per_item:.1f} each), consensus by "
            f"{self.method}.",
            "",
            "| measure | value |",
            "|---|---|",
            f"| agreement of two answers | {_shown(self.agreement)} |",
            f"| Krippendorff's alpha | {_shown(self.alpha)} ({_shown(self.alpha_low)} to {_shown(self.alpha_high)}) |",
        ]
        if self.annotators.height:
            lines += ["", "| annotator | answers | agrees with others | agrees with consensus | estimated accuracy |"]
            lines += ["|---|---|---|---|---|"]
            lines += [_annotator_line(row) for row in self.annotators.iter_rows(named=True)]
        return "\n".join(lines)


def summarize(
    turn: int,
    state: pl.DataFrame,
    before: pl.DataFrame,
    news: pl.DataFrame,
    votes: pl.DataFrame,
    consensus: Consensus,
    classes: Sequence[str],
    *,
    seed: int,
) -> QualityReport:
    """Return the report of a turn.

    Args:
        state: labels that stand after it; `before`: those that stood before; `news`: the rows it writes.
        votes: people's answers that stand, as `standing_votes` gives them; `consensus`: of these votes.
        seed: of alpha's interval.
    """
    coded, _, authors = encode_votes(votes, classes)
    counts = coded.counts
    low, high = alpha_interval(counts, seed=seed)
    known = before.select("content_id", was="value")
    compared = news.filter(pl.col("votes") > 0).join(known, on="content_id", how="left")
    return QualityReport(
        turn=turn,
        labels=state.height,
        new=compared["was"].null_count(),
        changed=compared.filter(pl.col("was") != pl.col("value")).height,
        withdrawn=news.filter(pl.col("votes") == 0).height,
        items=coded.n_items,
        votes=votes.height,
        agreement=pairwise_agreement(counts),
        alpha=krippendorff_alpha(counts),
        alpha_low=low,
        alpha_high=high,
        method=consensus.method,
        annotators=_annotators(votes, coded, authors, consensus),
    )


def _annotators(votes: pl.DataFrame, coded: Votes, authors: Sequence[str], consensus: Consensus) -> pl.DataFrame:
    counts = coded.counts
    same = counts[coded.items, coded.values] - 1
    others = counts.sum(axis=1)[coded.items] - 1
    right = consensus.values[coded.items] == coded.values
    answers = np.bincount(coded.annotators, minlength=len(authors))
    pairs = np.bincount(coded.annotators, others, minlength=len(authors))
    agreeing = np.bincount(coded.annotators, same, minlength=len(authors))
    simulated = set(votes.filter(pl.col("source") == "simulated")["author"])
    return pl.DataFrame(
        {
            "author": authors,
            "answers": answers,
            "with_others": np.divide(agreeing, pairs, out=np.full(len(authors), np.nan), where=pairs > 0),
            "with_consensus": np.bincount(coded.annotators, right, minlength=len(authors)) / np.maximum(answers, 1),
            "accuracy": consensus.accuracy,
            "simulated": [author in simulated for author in authors],
        },
        schema={
            "author": pl.String,
            "answers": pl.Int64,
            "with_others": pl.Float64,
            "with_consensus": pl.Float64,
            "accuracy": pl.Float64,
            "simulated": pl.Boolean,
        },
    )


def _annotator_line(row: dict[str, object]) -> str:
    name = str(row["author"]).replace("|", "\\|") + (" (simulated)" if row["simulated"] else "")
    shares = (_shown(float(str(row[column]))) for column in ("with_others", "with_consensus", "accuracy"))
    return f"| {name} | {row['answers']} | {' | '.join(shares)} |"


def _shown(value: float) -> str:
    return "not defined" if np.isnan(value) else f"{value:.3f}"
