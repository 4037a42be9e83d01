"""`flywheel quarantine`: what was refused, why, what to do about it, and reading it once more."""

from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.cli.common import (
    DEFAULT_CONFIG,
    Commands,
    ConfigOption,
    JsonOption,
    emit_json,
    hold_wheel,
    open_wheel,
    say,
    show_table,
)

if TYPE_CHECKING:
    from flywheel.raw import Explanation
    from flywheel.raw.reasons import Reason

app = typer.Typer(
    cls=Commands, invoke_without_command=True, help="List, explain and retry what was refused; alone, it lists."
)

ReasonOption = Annotated[str | None, typer.Option("--reason", help="Only this reason code.")]
SourceOption = Annotated[str | None, typer.Option("--source", help="Only this source.")]
ArrivalOption = Annotated[str | None, typer.Option("--arrival", help="Only this arrival.")]

SHOWN = ("source", "key", "part", "reason", "message")


@app.callback()
def _bare(  # pyright: ignore[reportUnusedFunction]
    context: typer.Context,
    reason: ReasonOption = None,
    source: SourceOption = None,
    arrival: ArrivalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    if context.invoked_subcommand is None:
        list_refused(reason, source, arrival, config, as_json)


@app.command("list")
def list_refused(
    reason: ReasonOption = None,
    source: SourceOption = None,
    arrival: ArrivalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List what was refused, and why; a later good version of the same object clears it."""
    from flywheel.raw import count_reasons, standing_refusals

    refused = standing_refusals(open_wheel(config).tables, reason=reason, source=source, arrival=arrival)
    if as_json:
        return emit_json(refused.to_dicts())
    show_table("Refused", SHOWN, refused.select(SHOWN).iter_rows())
    counts = count_reasons(refused)
    told = ", ".join(f"{code} {rows}" for code, rows in counts.items())
    say(f"{refused.height} refused: {told}" if counts else "nothing is refused")
    if counts:
        say(f"what to do: `flywheel quarantine explain {next(iter(counts))}`, or with a key in place of the code")


@app.command()
def explain(
    target: Annotated[str, typer.Argument(help="A reason code, an object's key, or key#part.")],
    source: SourceOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Say what a reason code means, or what was found in an object, what to do, and what became of it so far."""
    from dataclasses import asdict

    from flywheel.raw import CATALOGUE, explain_object

    if target in CATALOGUE:
        reason = CATALOGUE[target]
        return emit_json(asdict(reason)) if as_json else _show_reason(reason)
    found = explain_object(open_wheel(config).tables, target, source)
    if as_json:
        return emit_json([one.as_json() for one in found])
    for one in found:
        _show(one)


@app.command()
def retry(
    targets: Annotated[list[str] | None, typer.Argument(help="Keys, or key#part; all that is refused if none.")] = None,
    reason: ReasonOption = None,
    source: SourceOption = None,
    arrival: ArrivalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Read refused objects once more, after limits, the label spec or the flywheel itself changed.

    What comes out otherwise becomes an arrival of its own, for `flywheel run` to build on; what does not, stays.
    """
    from datetime import UTC, datetime

    from flywheel.objects import open_sources
    from flywheel.raw import of_targets, plan_retry, register_arrival, standing_refusals, unregistered

    wheel = open_wheel(config)
    tables, sources, spec = wheel.tables, open_sources(wheel.config), wheel.config.label_spec
    report = None
    with hold_wheel(wheel.config):
        refused = standing_refusals(tables, reason=reason, source=source, arrival=arrival)
        refused = of_targets(refused, targets) if targets else refused
        found = plan_retry(tables, sources, spec, refused, now=datetime.now(UTC))
        waits_for = unregistered(tables, found.arrival) if found.arrival else []
        if found.arrival and not waits_for:
            share = wheel.config.budget.evaluation_share
            report = register_arrival(tables, sources, spec, found.arrival, evaluation_share=share)
    told = {"looked_at": found.looked_at, "arrival": found.arrival, "objects": found.objects, "waits_for": waits_for}
    if as_json:
        return emit_json(told | {"items": report and report.items, "refused": report and report.quarantined})
    say(f"{found.looked_at} objects read once more, {found.objects} come out otherwise")
    if report:
        say(f"{found.arrival}: {report.items} items, {report.quarantined} refused; `flywheel run` builds on it")
    elif found.arrival:
        say(f"{found.arrival} waits for {', '.join(waits_for)}; `flywheel run` takes them in")


def _show_reason(reason: "Reason") -> None:
    say(f"{reason.code}: {reason.meaning}")
    say(f"  usually: {'; '.join(reason.causes)}")
    say(f"  next:    {reason.next_step}")


def _show(found: "Explanation") -> None:
    say(f"{found.source}: {found.key}")
    for row in found.standing:
        say(f"  {row['part'] + ': ' if row['part'] else ''}{row['reason']}: {row['message']}")
    if not found.standing:
        say("  nothing is refused any more")
    for reason in found.reasons:
        _show_reason(reason)
    columns = ("arrival", "state", "version", "size", "items", "refused")
    show_table("What became of it", columns, ([row[name] for name in columns] for row in found.history))
