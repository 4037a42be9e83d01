"""What the tests of the sensors share: a tiny wheel and a Dagster that knows nothing yet."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from flywheel.vendors import open_vendor
from tests.labeling_world import World, make_world

Tick = Callable[..., dg.SensorResult]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as one:
        yield one


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Twelve pictures that have arrived, and turn 0, open; nothing is approved by itself."""
    return make_world(tmp_path, auto_approve=False)


@pytest.fixture
def tick(instance: dg.DagsterInstance) -> Tick:
    """Evaluate a sensor over a wheel once, as the daemon does: partitions it asks for are added, the cursor is kept."""
    cursors: dict[str, str | None] = {}

    def ticked(sensor: dg.SensorDefinition, world: Any, apply: bool = True) -> dg.SensorResult:
        resources = {
            "wheel": world.config,
            "tables": world.tables,
            "sources": world.sources,
            "annotation_vendor": open_vendor(world.config),
        }
        needed = {name: resources[name] for name in sensor.required_resource_keys}
        context = dg.build_sensor_context(instance=instance, cursor=cursors.get(sensor.name), resources=needed)
        result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        if apply:
            cursors[sensor.name] = result.cursor
            for request in result.dynamic_partitions_requests or []:
                instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        return result

    return ticked


def requested(result: dg.SensorResult) -> list[str | None]:
    """The partitions that runs were asked for."""
    return [request.partition_key for request in result.run_requests or []]


def reason(result: dg.SensorResult) -> str:
    """Why nothing was asked for."""
    assert not result.run_requests and result.skip_reason is not None
    message = result.skip_reason.skip_message
    assert message
    return message
