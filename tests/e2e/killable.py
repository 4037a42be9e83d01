"""A process that turns wheels in children that can be killed at any moment.

It imports and loads everything once and forks a child for every attempt, so an attempt costs what the wheel costs.
Threads do not survive a fork, so everything here computes on one: start it with libraries told so in its environment.
Requests come as JSON lines:

    {"config": "…/flywheel.yaml", "until": 1, "log": "…/events.log", "kill": {"seconds": 1.5}}

`kill` is null, or `{"seconds": s}`, or `{"point": "write:jobs:before", "nth": 2}`, or `{"event": 17}`: the moment
before or after the n-th step that leaves something behind, optionally `"delay"` seconds later. The answer says how
the child ended. The child notes each such step in the log, so one can see where it was.
"""

import faulthandler
import functools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faiss  # noqa: F401  # these are imported here, so that no child has to
import great_expectations  # noqa: F401
import sklearn.feature_extraction.text
import sklearn.manifold  # noqa: F401

from assets.turning import turn_wheel
from flywheel.config import load_config
from flywheel.encoders import Content
from flywheel.encoders.conse import ConseEncoder
from flywheel.encoders.text import TextEncoder
from flywheel.index.edge import EdgeIndex
from flywheel.objects.folder import FolderStore
from flywheel.tables import Tables
from flywheel.vendors import SimulatedVendor
from resources.encoders import EncodersResource

LONGEST = 180.0  # seconds of one attempt

# what leaves something behind, or costs: class, method, name of the step
STEPS: list[tuple[type, str, str]] = [
    (Tables, "_write", "write"),
    (ConseEncoder, "encode", "encode"),
    (TextEncoder, "encode", "encode"),
    (EdgeIndex, "ensure", "index.ensure"),
    (EdgeIndex, "upsert", "index.upsert"),
    (EdgeIndex, "delete", "index.delete"),
    (FolderStore, "write", "file"),
    (SimulatedVendor, "find", "find"),
    (SimulatedVendor, "submit", "submit"),
    (SimulatedVendor, "fetch", "fetch"),
]


class Moment:
    """Notes every step, and kills the process at the wanted one."""

    def __init__(self, log: Path, kill: Mapping[str, Any] | None):
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._kill = kill or {}
        self._seen: dict[str, int] = {}
        self._events = 0

    def reach(self, point: str, what: str = "") -> None:
        os.write(self._log, f"{point} {what}\n".encode())
        self._events += 1
        self._seen[point] = self._seen.get(point, 0) + 1
        wanted = self._kill.get("point")
        hit = self._kill.get("event") == self._events or (
            wanted == point and self._seen[point] == self._kill.get("nth", 1)
        )
        if hit and self._kill.get("delay"):
            threading.Timer(self._kill["delay"], self._die, [point]).start()
        elif hit:
            self._die(point)

    def _die(self, point: str) -> None:
        os.write(self._log, f"killed {point}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


def watch(moment: Moment) -> None:
    """Let every step of this process pass by `moment`."""
    for owner, method, name in STEPS:
        setattr(owner, method, _watched(getattr(owner, method), name, moment))


def _watched(original: Callable[..., Any], name: str, moment: Moment) -> Callable[..., Any]:
    @functools.wraps(original)
    def step(self: object, *arguments: Any, **options: Any) -> Any:
        point = f"write:{arguments[0]}" if name == "write" else name
        what = getattr(arguments[0], "idempotency_key", "") if arguments else ""
        moment.reach(f"{point}:before", what)
        result = original(self, *arguments, **options)
        moment.reach(f"{point}:after", what)
        return result

    return step


def warm_up(config: str) -> None:
    """Load the encoders' networks, so that no child has to."""
    encoders: dict[str, Any] = EncodersResource(config_path=config).create_resource(None)  # type: ignore[arg-type]
    picture = next(Path(load_config(config).sources[0].root).glob("*.png")).read_bytes()
    encoders["image"].encode([Content("0", "image", picture)])
    encoders["text"].encode([Content("0", "text", b"a text")])
    encoders["image"].encode_words(["a word"])


def attempt(request: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a wheel in a child, killing it as asked; return how it ended."""
    kill = request.get("kill")
    started = time.monotonic()
    child = os.fork()
    if not child:
        _turn(request)
    deadline = started + min(LONGEST, (kill or {}).get("seconds", LONGEST))
    killed = False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if not killed and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            killed = True
        time.sleep(0.002)
    seconds = time.monotonic() - started
    return {"code": os.waitstatus_to_exitcode(status), "seconds": seconds, "late": killed and seconds > LONGEST}


def _turn(request: Mapping[str, Any]) -> None:
    """The child's whole life."""
    code = 1
    try:
        log = Path(request["log"])
        output = os.open(log.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        faulthandler.dump_traceback_later(LONGEST - 5)  # so that a child that hangs says where
        watch(Moment(log, request.get("kill")))
        turn_wheel(request["config"], announce=print, until=request["until"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Serve requests until there are no more; the first line is the configuration to warm up with."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed is no answer
    warm_up(sys.stdin.readline().strip())
    threads = len(list(Path("/proc/self/task").iterdir()))
    print(json.dumps({"ready": True, "threads": threads}), file=answers, flush=True)
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(attempt(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
