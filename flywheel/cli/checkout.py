"""Starts the orchestrated application: `assets/` and its neighbors, which a checkout has and the wheel has not."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import flywheel
from flywheel.errors import ConfigError

# no library reports home from here unless the person asked for it
QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def find_checkout(package: Path | None = None) -> Path:
    """Return the root of the checkout that the package `flywheel` is imported from.

    Args:
        package: the package's folder; by default the imported one's.

    Raises:
        ConfigError: there is only the installed library.
    """
    folder = package or Path(flywheel.__file__).resolve().parent
    root = folder.parent
    if (root / "assets" / "definitions.py").is_file() and (root / "workspace.yaml").is_file():
        return root
    raise ConfigError(
        f"the orchestrated application is not here: found the library in {folder}, but no assets/ and workspace.yaml "
        "beside it; clone the repository, `make install`, and use .venv/bin/flywheel of that checkout"
    )


def start(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> NoReturn:
    """Replace this process by `python -m <arguments>` in the checkout, so that signals and exit codes are its own."""
    root = find_checkout()
    sys.stdout.flush()
    os.chdir(root)
    command = [sys.executable, "-m", *arguments]
    os.execve(sys.executable, command, QUIET | os.environ | dict(environment or {}))  # noqa: S606
