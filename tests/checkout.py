"""Where the checkout and its tools are, for tests that run them."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tool(name: str) -> str:
    """Return the path of a command installed beside the running Python.

    Raises:
        FileNotFoundError: it is not there; `make install` brings it.
    """
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run the tests in the environment that `make install` builds")
    return str(path)
