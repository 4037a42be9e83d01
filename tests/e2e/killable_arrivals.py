"""A process that plans and registers arrivals in children, which it kills when asked to.

It imports everything once and forks a child for every attempt; nothing that starts threads runs before a fork.
Requests are JSON lines `{"endpoint": …, "root": …, "folder": …, "seconds": 0.3 or null}`; the answer says how the
child ended and after how long.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from flywheel.config import S3
from flywheel.objects import S3Store
from flywheel.raw import plan_arrivals, sweeps, sweeps_under_way
from flywheel.tables import Tables
from tests.raw_world import NOW, World

LONGEST = 120.0  # seconds of one attempt


def open_world(folder: Path, root: str, endpoint: str) -> World:
    """Open the world that the children work on."""
    return World(Tables(str(folder / "tables")), S3Store(root, S3(endpoint=endpoint), page_size=4), root=root)


def take_in(world: World, state: Path) -> None:
    """Sweep in ticks of one page until a sweep is complete, and register every arrival."""
    sweeps.BLOCK = 4
    while True:
        arrivals = plan_arrivals(world.tables, world.sources, now=NOW, tick_seconds=0, state=state)
        if not sweeps_under_way(state, ["photos"]):
            break
    for arrival in arrivals:
        world.register(arrival)


def attempt(request: dict[str, Any]) -> dict[str, Any]:
    """Take in what landed in a child, and kill it after so many seconds."""
    started = time.monotonic()
    child = os.fork()
    if not child:
        _live(request)
    deadline = started + (request["seconds"] or LONGEST)
    killed = False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - started}
        if not killed and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            killed = True
        time.sleep(0.001)


def _live(request: dict[str, Any]) -> None:
    """The child's whole life."""
    code = 1
    try:
        folder = Path(request["folder"])
        take_in(open_world(folder, request["root"], request["endpoint"]), folder / "sweeps")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Serve requests until there are no more."""
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(attempt(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
