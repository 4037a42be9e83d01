"""Commands that start the orchestrated application: `demo`, `run` and `dev`."""

import os
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flywheel.cli.checkout import find_checkout, start
from flywheel.cli.common import DEFAULT_CONFIG, ConfigOption


class DemoKind(StrEnum):
    """What the demo shows."""

    images = "images"
    text = "text"
    records = "records"
    video = "video"


def demo(
    kind: Annotated[DemoKind, typer.Argument(help="Photographs of clothes, short texts, health records, or films.")],
    gap: Annotated[
        str | None, typer.Option(help="What the first labels shall lack, like class:Sandal, hidden:sideways; or none.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="How many items arrive in all.")] = None,
    turns: Annotated[int | None, typer.Option(min=1, help="How often the wheel turns.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything; default demo-images, demo-text …")] = None,
) -> None:
    """Turn the wheel on real data with a planted gap and simulated annotators; minutes, no set-up."""
    folder = (out or Path(f"demo-{kind}")).resolve()
    given = {"gap": gap, "seed": seed, "items": items, "turns": turns, "out": folder}
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    start(["assets", "demo", kind, *options])


def run(
    turns: Annotated[int, typer.Option(min=1, help="How many turns at most.")] = 1,
    until: Annotated[int | None, typer.Option(min=0, help="Instead: go on until this turn is closed.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Take in what arrived and turn the wheel as far as it goes: until a person or a vendor has to answer."""
    from flywheel.config import load_config

    load_config(config)  # a mistake shows here at once, rather than after the application has loaded
    goal = f"--turns={turns}" if until is None else f"--until={until}"
    start(["assets", "run", f"--config={config.resolve()}", goal])


def dev(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", envvar="FLYWHEEL_CONFIG", help="Default: flywheel.yaml, or the newest demo's."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine only.")] = 3000,
) -> None:
    """Open the Dagster UI on this wheel, with the sensors on."""
    root = find_checkout()
    chosen = (config or _wheel_nearby()).resolve()
    if config is None and not chosen.exists():
        typer.echo(f"there is no {chosen} yet: assets show, runs will fail; `flywheel init` writes one", err=True)
        environment = {"DAGSTER_HOME": str(root / ".dagster"), "FLYWHEEL_SENSORS": "off"}
    else:
        environment = {"DAGSTER_HOME": str(_dagster_home(chosen, root)), "FLYWHEEL_SENSORS": "on"}
    typer.echo(f"the wheel of {chosen} at http://127.0.0.1:{port}; stop with Ctrl-C", err=True)
    given = {name: value for name, value in environment.items() if name not in os.environ}
    start(
        ["dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
        given | {"FLYWHEEL_CONFIG": str(chosen)},
    )


def _wheel_nearby() -> Path:
    """The configuration meant when none is named: this folder's, else that of the demo run last."""
    demos = sorted(Path().glob("demo-*/flywheel.yaml"), key=lambda path: path.stat().st_mtime)
    return demos[-1] if demos and not DEFAULT_CONFIG.exists() else DEFAULT_CONFIG


def _dagster_home(config: Path, root: Path) -> Path:
    """Dagster's own storage, one per wheel: two wheels must not see one another's partitions."""
    from flywheel.config import load_config

    home = load_config(config).cache / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(root / ".dagster" / "dagster.yaml", home / "dagster.yaml")
    return home
