"""Turns the wheel in this process: the same graph as in Dagster's UI, run step by step as far as it goes.

What is left to do is read off the wheel's tables, so a process that was killed is simply started again: it goes on
with the unfinished turn. Repeating a station is safe; it writes the same rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import dagster as dg
import polars as pl

from assets.definitions import build_definitions
from assets.embeddings import embedding_counts, embeddings
from assets.gaps import gap_report
from assets.index import vector_index
from assets.instance import driver_tags, open_instance
from assets.labeling import annotations, labeling_batch, labeling_job
from assets.modeling import model, model_eval, training_set
from assets.partitions import arrivals, turns
from assets.planning import plan
from assets.quality import label_quality
from assets.raw import raw_data
from assets.structure import clusters, data_map, duplicates, neighbor_graph
from assets.telling import told
from flywheel.config import WheelConfig, load_config
from flywheel.encoders import open_encoders
from flywheel.errors import FlywheelError, NotApproved
from flywheel.feedback import Waiting, open_turns, waiting_for
from flywheel.objects import open_sources, open_tables
from flywheel.selection import batch_cost
from flywheel.turns import latest_turn, open_turn, read_turn, turn_key

Announce = Callable[[str], None]
Assets = Sequence[dg.AssetsDefinition]

ARRIVAL: Assets = (raw_data, embeddings)
CORPUS: Assets = (vector_index, neighbor_graph, duplicates, clusters, data_map)
BATCH: Assets = (gap_report, labeling_batch)
ANSWERED: Assets = (label_quality, training_set, model, model_eval)


class RunFailed(FlywheelError):
    """A step failed or a blocking check did not pass; the message is the step's own."""


class CheckFailed(RunFailed):
    """A blocking check did not pass."""


class AnswersMissing(FlywheelError):
    """The vendor has not answered everything yet; nothing is wrong, the wheel goes on when it has."""

    exit_code = 6


@dataclass(frozen=True)
class Turned:
    """What a call of `turn_wheel` did."""

    arrivals: tuple[str, ...]  # taken in
    refused: tuple[str, ...]  # arrivals that a blocking check held back
    turns: tuple[int, ...]  # closed


def turn_wheel(config_path: str, turns: int = 1, announce: Announce = print, until: int | None = None) -> Turned:
    """Take in what arrived, then turn the wheel.

    Args:
        config_path: the wheel's `flywheel.yaml`.
        turns: how many turns to close; an unfinished one counts, and so does turn 0, the base line.
        announce: called with lines for people, in plain words.
        until: instead of `turns`, the number of the turn that shall be closed in the end; asking for what has
            been reached changes nothing.

    Raises:
        NotApproved: a batch waits for `flywheel approve`.
        AnswersMissing: the vendor has not answered everything.
        RunFailed: a step failed, or a check that protects money or training.
        ConfigError: the configuration is wrong, or another process turns this wheel.
    """
    config = load_config(config_path)
    with open_instance(config) as instance:
        driver = _Driver(config, str(config_path), instance, announce)
        taken, refused = driver.take_in()
        if not driver.has_corpus:
            announce("Nothing has arrived yet: put data where a source looks, and run again.")
            return Turned(taken, refused, ())
        return Turned(taken, refused, tuple(driver.turns(turns, until)))


class _Driver:
    """One wheel, one instance, one process."""

    def __init__(self, config: WheelConfig, config_path: str, instance: dg.DagsterInstance, announce: Announce):
        self.config = config
        self.instance = instance
        self.announce = announce
        self.definitions = build_definitions(config_path)
        self.tables = open_tables(config)
        self.encoders = open_encoders(config.encoders)

    @cached_property
    def job(self) -> dg.JobDefinition:
        return self.definitions.resolve_implicit_global_asset_job_def()

    @property
    def has_corpus(self) -> bool:
        return not self.tables.scan("embeddings").head(1).collect().is_empty()

    def take_in(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Bring the tables up to the sources, and what is corpus-wide up to the tables."""
        known = plan(self.tables, open_sources(self.config), self.config, complete=True)
        self.instance.add_dynamic_partitions(str(arrivals.name), known)
        done = self.instance.get_materialized_partitions(embeddings.key) - self._behind()
        new = [arrival for arrival in known if arrival not in done]
        refused = tuple(arrival for arrival in new if not self._arrival(arrival))
        if not new:
            self.announce(f"Nothing new has arrived since {known[-1]}." if known else "No data has arrived.")
        if self.has_corpus and (len(new) > len(refused) or self._is_corpus_behind()):
            self.announce("Looking at the corpus as a whole: index, neighbors, duplicates, clusters, map …")
            self._run(CORPUS)
        return tuple(arrival for arrival in new if arrival not in refused), refused

    def turns(self, count: int, until: int | None) -> list[int]:
        """Close turns, the oldest unfinished one first; return their numbers."""
        closed: list[int] = []
        while True:
            unfinished = open_turns(self.tables)
            newest = latest_turn(self.tables)
            turn = unfinished[0] if unfinished else 0 if newest is None else newest + 1
            if turn > until if until is not None else len(closed) >= count:
                return closed
            self._turn(turn)
            closed.append(turn)

    def _arrival(self, arrival: str) -> bool:
        """Take in one arrival; a failed blocking check refuses it and holds up nobody else."""
        self.announce(f"Taking in {arrival} …")
        try:
            self._run(ARRIVAL, arrival)
        except CheckFailed as failed:
            self.announce(f"{arrival} is refused and left out: {failed}")
            return False
        return True

    def _turn(self, turn: int) -> None:
        """Go on with one turn, from wherever it stands, until it is closed."""
        budget = self.config.budget.money_per_turn
        open_turn(self.tables, turn, trigger="asked", reason="somebody asked for a turn", budget=budget)
        self.instance.add_dynamic_partitions(str(turns.name), [turn_key(turn)])
        before: Waiting | None = None
        while (state := waiting_for(self.tables, self.config, turn)) is not Waiting.closed:
            if state is before:
                raise RunFailed(f"turn {turn} does not get past '{state}'")
            self._step(turn, state)
            before = state
        self.announce(f"Turn {turn} is done.")

    def _step(self, turn: int, state: Waiting) -> None:
        key = turn_key(turn)
        if state is Waiting.batch:
            self.announce(f"Turn {turn}: where are the gaps, and what to label next …")
            self._run(BATCH, key)
        elif state is Waiting.approval:
            raise NotApproved(self._approval(turn))
        elif state is Waiting.job:
            self._run([labeling_job], key)
        elif state is Waiting.answers:
            self._answers(turn)
        else:
            late = [] if "annotations" in read_turn(self.tables, turn).stations else [annotations]
            self.announce(f"Turn {turn}: judging the labels, training, evaluating …")
            self._run([*late, *ANSWERED], key)

    def _answers(self, turn: int) -> None:
        self.announce(f"Turn {turn}: collecting answers …")
        self._run([annotations], turn_key(turn))
        if waiting_for(self.tables, self.config, turn) is Waiting.answers:
            jobs = self.tables.read("jobs", turn=turn)
            raise AnswersMissing(
                f"turn {turn} waits for its annotators: {int(jobs['tasks'].sum())} tasks were ordered and not all are "
                "answered. Run again when they are; nothing is ordered twice"
            )

    def _approval(self, turn: int) -> str:
        batch = self.tables.read("batches", turn=turn)
        decided = self.tables.read("approvals", turn=turn).sort("decided_at")
        said_no = decided.height and decided["decision"][-1] == "rejected"
        rejected = f" {decided['author'][-1]} rejected it: {decided['note'][-1]}." if said_no else ""
        return (
            f"turn {turn} chose {batch.height} items, labeling them costs {batch_cost(self.config, batch):.2f}, "
            f"and nobody approved that yet.{rejected} Look at it and run `flywheel approve {turn}`, then run again"
        )

    def _behind(self) -> set[str]:
        """Arrivals with contents that have no vector yet (a killed process)."""
        counts = embedding_counts(self.tables, self.encoders)
        return set(counts.filter(pl.col("vectors") == 0)["arrival"])

    def _is_corpus_behind(self) -> bool:
        """Whether something corpus-wide was made before the newest embeddings, or never (a killed process)."""
        found = self.instance.get_latest_materialization_events([embeddings.key, *(asset.key for asset in CORPUS)])
        times = {key: event.timestamp for key, event in found.items() if event is not None}
        newest = times.get(embeddings.key, 0.0)
        return any(times.get(asset.key, 0.0) < newest for asset in CORPUS)

    def _run(self, assets: Assets, partition: str | None = None) -> None:
        """Run assets with their checks, and tell what came out.

        Raises:
            CheckFailed: a blocking check did not pass.
            RunFailed: a step failed.
        """
        result = self.job.execute_in_process(
            instance=self.instance,
            asset_selection=[asset.key for asset in assets],
            partition_key=partition,
            raise_on_error=False,
            tags=driver_tags(self.config),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        for event in result.get_asset_materialization_events():
            made = event.step_materialization_data.materialization
            for line in told(made.asset_key.path[-1], made.partition, made.metadata):
                self.announce(line)
        failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
        for check in failed:
            if not check.blocking:
                self.announce(f"  to look at: {_words(check)}")
        blocked = [check for check in failed if check.blocking]
        if blocked:
            raise CheckFailed("; ".join(_words(check) for check in blocked))
        if not result.success:
            raise RunFailed("; ".join(_failures(result)) or "the run failed; see its events in `flywheel dev`")


def _words(check: dg.AssetCheckEvaluation) -> str:
    name = check.check_name.replace("_", " ")
    return f"'{name}' does not hold" + (f": {check.description}" if check.description else "")


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """What went wrong in each failed step: the engine's own message where there is one."""
    messages: list[str] = []
    for event in result.filter_events(lambda event: event.is_step_failure):
        data = event.step_failure_data
        own = data.user_failure_data
        error = data.error
        innermost = error.cause if error is not None and error.cause is not None else error
        text = own.description if own and own.description else innermost.message.strip() if innermost else "unknown"
        messages.append(f"{(event.step_key or '').split('__')[-1]}: {text}")
    return messages
