"""What holds for every test."""

import os

from hypothesis import HealthCheck, settings

# no library reports home from a test, nor from a process that a test starts
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# a busy machine is no reason to fail: examples are few and have no deadline
settings.register_profile("flywheel", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("flywheel")
