"""What holds for every test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from flywheel.tables import Tables
from tests.servers import SeaweedFS, run_seaweedfs

# no library reports home from a test, nor from a process that a test starts
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# a busy machine is no reason to fail: examples are few and have no deadline
settings.register_profile("flywheel", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("flywheel")


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real S3 server."""
    with run_seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Empty tables in a folder."""
    return Tables(str(tmp_path / "tables"))
