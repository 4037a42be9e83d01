"""labeling: what to ask next within the budget, the job at the vendor, and the answers it returned."""

import dagster as dg
import polars as pl

from assets.automation import once_per_turn
from assets.gaps import gap_report
from assets.partitions import turns
from assets.running import encoder_id, station
from assets.shown import counted, place, preview
from assets.structure import neighbor_graph
from flywheel.config import WheelConfig
from flywheel.encoders import Encoder
from flywheel.errors import DataError
from flywheel.objects import Source
from flywheel.raw import current_items
from flywheel.selection import batch_cost, batch_id, choose_batch, is_approved
from flywheel.tables import Tables
from flywheel.turns import read_turn, turn_number
from flywheel.vendors import AnnotationVendor, collect_answers, submit_job

SHOWN = ["arm", "position", "key", "reason", "prelabel", "prelabel_confidence", "score"]


@dg.asset(
    key=["labeling", "labeling_batch"],
    deps=[gap_report, neighbor_graph],
    group_name="labeling",
    kinds={"polars", "deltalake"},
    owners=["team:labeling"],
    partitions_def=turns,
    automation_condition=once_per_turn,
    code_version="1",
)
def labeling_batch(
    context: dg.AssetExecutionContext,
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    encoders: dg.ResourceParam[dict[str, Encoder]],
) -> dg.MaterializeResult:
    """One row is one item chosen in the turn: why, in which arm, and what the model would have answered.

    It waits for a person's approval (`flywheel approve`) before money is spent, unless `budget.auto_approve` is set.
    """
    with station(context, tables) as turn:
        batch = choose_batch(tables, wheel, encoder_id(wheel, encoders), turn)
    names = current_items(tables).select("item_id", "key")
    shown = batch.join(names, on="item_id", how="left").sort("arm", "position").select(SHOWN)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": batch.height,
            "cost": batch_cost(wheel, batch),
            "batch id": batch_id(batch),
            "approved": is_approved(tables, turn) or wheel.budget.auto_approve,
            "arms": preview(counted(batch, "arm")),
            "items": preview(shown, rows=25),
            "table": place(tables, "batches"),
        }
    )


@dg.asset_check(asset=labeling_batch, partitions_def=turns, blocking=True)
def batch_stays_within_budget(
    context: dg.AssetCheckExecutionContext, wheel: dg.ResourceParam[WheelConfig], tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """The turn's batch costs at most its budget, each arm keeps to its number, and none chooses an item twice."""
    batch = tables.read("batches", turn=turn_number(context.partition_key))
    problems = budget_problems(tables, wheel, batch, turn_number(context.partition_key))
    return dg.AssetCheckResult(
        passed=not problems,
        description="; ".join(problems) or None,
        metadata={"cost": batch_cost(wheel, batch), "arms": preview(counted(batch, "arm"))},
    )


@dg.asset_check(asset=labeling_batch, partitions_def=turns, blocking=True)
def no_evaluation_item_is_chosen(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Items kept for evaluation are asked for only in the random evaluation arm, never because of a gap."""
    wrong = evaluation_items_chosen(tables, tables.read("batches", turn=turn_number(context.partition_key)))
    return dg.AssetCheckResult(
        passed=wrong.is_empty(),
        description=f"{wrong.height} items kept for evaluation were chosen to train with" if wrong.height else None,
        metadata={"wrongly chosen": preview(wrong)},
    )


@dg.asset(
    key=["labeling", "labeling_job"],
    deps=[labeling_batch],
    group_name="labeling",
    kinds={"labelstudio"},
    owners=["team:labeling"],
    partitions_def=turns,
    code_version="1",
)
def labeling_job(
    context: dg.AssetExecutionContext,
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    sources: dg.ResourceParam[dict[str, Source]],
    annotation_vendor: dg.ResourceParam[AnnotationVendor],
) -> dg.MaterializeResult:
    """One row is one job at the vendor: what was ordered, what it costs, how far it is. An empty batch orders nothing.

    It spends money, so nothing starts it by itself: `batch_approved` does, once a person said yes. The guards of
    the batch are asked again, since the run that made the batch is not this one.
    """
    with station(context, tables) as turn:
        _guard(tables, wheel, turn)
        submit_job(tables, sources, wheel, annotation_vendor, turn)
    jobs = tables.read("jobs", turn=turn)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": jobs.height,
            "tasks": int(jobs["tasks"].sum()),
            "cost": float(jobs["cost"].sum()),
            "vendor": annotation_vendor.name,
            "answers are simulated": annotation_vendor.simulated,
            "jobs": preview(jobs.select("job_id", "vendor", "state", "tasks", "votes", "cost", "native_id")),
            "table": place(tables, "jobs"),
        }
    )


@dg.asset(
    key=["labeling", "annotations"],
    deps=[labeling_job],
    group_name="labeling",
    kinds={"deltalake"},
    owners=["team:labeling"],
    partitions_def=turns,
    code_version="1",
)
def annotations(
    context: dg.AssetExecutionContext,
    wheel: dg.ResourceParam[WheelConfig],
    tables: dg.ResourceParam[Tables],
    sources: dg.ResourceParam[dict[str, Source]],
    annotation_vendor: dg.ResourceParam[AnnotationVendor],
) -> dg.MaterializeResult:
    """One row is one event: an answer, a correction, an approval, with its author. Events are added, never changed.

    `labels_returned` starts it when the vendor has answered.
    """
    with station(context, tables) as turn:
        collect_answers(tables, annotation_vendor, wheel, sources, turn)
    events = turn_events(tables, turn)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": events.height,
            "items answered": events["item_id"].n_unique(),
            "cost": float(events["cost"].sum()),
            "values": preview(counted(events, "value")),
            "authors": preview(counted(events, "author")),
            "table": place(tables, "annotation_events"),
        }
    )


@dg.asset_check(asset=annotations, partitions_def=turns)
def every_answer_has_an_author(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Each event of the turn's job says who made it and whether it was a person, a model or a simulation."""
    events = turn_events(tables, turn_number(context.partition_key))
    nameless = events.filter((pl.col("author") == "") | (pl.col("source") == ""))
    return dg.AssetCheckResult(
        passed=nameless.is_empty(),
        metadata={"events": events.height, "nameless": preview(nameless.select("event_id", "item_id", "native_id"))},
    )


def turn_events(tables: Tables, turn: int) -> pl.DataFrame:
    """Return the annotation events that came with the turn's job."""
    jobs = tables.read("jobs", turn=turn)["job_id"]
    return tables.scan("annotation_events").filter(pl.col("origin").is_in(jobs.to_list())).collect()


def budget_problems(tables: Tables, wheel: WheelConfig, batch: pl.DataFrame, turn: int) -> list[str]:
    """Return in words where a batch breaks its budget; nothing when it keeps it."""
    money, cost = read_turn(tables, turn).budget, batch_cost(wheel, batch)
    arms = dict(counted(batch, "arm").iter_rows())
    chosen, most = arms.get("chosen", 0), wheel.budget.labels_per_turn
    seeds = arms.get("seed", 0)
    problems = [
        (cost > money + 1e-9, f"the batch costs {cost:.2f}, the turn may spend {money:.2f}"),
        (chosen > most, f"{chosen} items are chosen, at most {most} may be"),
        (seeds > wheel.budget.seed_labels, f"{seeds} seed items, at most {wheel.budget.seed_labels} may be"),
        (batch.select("arm", "item_id").is_duplicated().any(), "an arm chose an item twice"),
    ]
    return [text for broken, text in problems if broken]


def evaluation_items_chosen(tables: Tables, batch: pl.DataFrame) -> pl.DataFrame:
    """Return the chosen items that share their subject with an item kept for evaluation."""
    items = current_items(tables).select("item_id", "key", "subject_id", "split")
    kept = items.filter(pl.col("split") == "eval").select("subject_id").unique()
    trained = batch.filter(pl.col("arm") != "evaluation").select("item_id", "arm", "gap_id")
    return trained.join(items, on="item_id").join(kept, on="subject_id", how="semi").sort("item_id")


def _guard(tables: Tables, wheel: WheelConfig, turn: int) -> None:
    batch = tables.read("batches", turn=turn)
    problems = budget_problems(tables, wheel, batch, turn)
    wrong = evaluation_items_chosen(tables, batch)
    if wrong.height:
        problems.append(f"{wrong.height} items kept for evaluation were chosen to train with")
    if problems:
        raise DataError(f"the batch of turn {turn} is not ordered: {'; '.join(problems)}")
