"""The one place that wires: assets, their checks, sensors and resources become Dagster's `Definitions`.

The wheel's configuration is the file that `FLYWHEEL_CONFIG` names (default: `flywheel.yaml`). It is read when
something runs, so that the graph can be looked at without one.
"""

import os
from pathlib import Path

import dagster as dg

from assets import embeddings, gaps, index, labeling, modeling, quality, raw, structure
from resources import build_resources
from sensors import HAPPENINGS, build_run_failed
from sensors.common import default_status, pace

STATIONS = [raw, embeddings, index, structure, gaps, labeling, quality, modeling]
CONFIG = "FLYWHEEL_CONFIG"


def build_definitions(config_path: str) -> dg.Definitions:
    """Return the whole application for the wheel configured in `config_path`."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(STATIONS),
        asset_checks=dg.load_asset_checks_from_modules(STATIONS),  # loading assets does not load their checks
        sensors=[*HAPPENINGS, build_run_failed(config_path), _inside_the_graph()],
        resources=build_resources(config_path),
        executor=dg.in_process_executor,  # a process per step would load the engine and its models anew each time
    )


def _inside_the_graph() -> dg.AutomationConditionSensorDefinition:
    """The sensor that evaluates the assets' automation conditions."""
    return dg.AutomationConditionSensorDefinition(
        "inside_the_graph",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=pace(30),
        default_status=default_status(),
        description="What follows inside the graph from what changed: see assets/automation.py.",
    )


defs = build_definitions(str(Path(os.environ.get(CONFIG, "flywheel.yaml")).resolve()))
