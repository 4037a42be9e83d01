"""The real `flywheel dev` on a free port of this machine, for tests that look at the Dagster UI and its GraphQL."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.checkout import ROOT, tool

T = TypeVar("T")

PDEATHSIG = 1  # prctl: the signal this process gets when its parent ends
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "flywheel"}
PACE = "1"  # seconds between two looks of a sensor

# what a person's click on "Materialize" sends
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on InvalidSubsetError { message }
    ... on PipelineNotFoundError { message }
    ... on UnauthorizedError { message }
  }
}
"""
RUN = """
query Run($id: ID!) {
  runOrError(runId: $id) {
    __typename
    ... on Run { status assetSelection { path } tags { key value } }
  }
}
"""
JOB_OF = """
query Jobs($keys: [AssetKeyInput!]!) { assetNodes(assetKeys: $keys) { assetKey { path } jobNames } }
"""


class Impatient(AssertionError):
    """Something did not come about in time."""


@dataclass
class DevServer:
    """A running `flywheel dev`, asked through GraphQL as its UI asks."""

    url: str
    config: Path
    log: Path
    process: subprocess.Popen[bytes]
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return what GraphQL answers; fail with its errors."""
        answer = self.client.post("/graphql", json={"query": query, "variables": variables}).json()
        assert not answer.get("errors"), answer["errors"]
        return answer["data"]

    def materialize(self, assets: list[str], partition: str | None = None) -> str:
        """Ask for the assets, given as `station/noun`, like the UI's button; return the run's id."""
        keys = [{"path": asset.split("/")} for asset in assets]
        jobs = [set(node["jobNames"]) for node in self.ask(JOB_OF, keys=keys)["assetNodes"]]
        selector = {**REPOSITORY, "jobName": min(set.intersection(*jobs)), "assetSelection": keys}
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        launched = self.ask(LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def finish(self, run_id: str, seconds: float = 300) -> None:
        """Wait until a run has succeeded; fail at once when it has not, with what it said."""

        def status() -> str | None:
            found = self.ask(RUN, id=run_id)["runOrError"]["status"]
            assert found not in ("FAILURE", "CANCELED"), f"run {run_id}: {found}\n{self.tail()}"
            return found if found == "SUCCESS" else None

        self.until(status, f"run {run_id} succeeds", seconds)

    def until(self, found: Callable[[], T | None], what: str, seconds: float = 180) -> T:
        """Return what `found` finds, as soon as it finds something.

        Raises:
            Impatient: it did not in time; with the end of the server's log.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (value := found()) is not None:
                return value
            assert self.process.poll() is None, f"the server stopped:\n{self.tail()}"
            time.sleep(0.5)
        raise Impatient(f"not within {seconds:.0f} s: {what}\n{self.tail()}")

    def tail(self, characters: int = 4000) -> str:
        """Return the end of the server's log."""
        return self.log.read_text("utf-8", "replace")[-characters:]


@contextlib.contextmanager
def run_dev(config: Path, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[DevServer]:
    """Run `flywheel dev` on the wheel configured in `config`; in the end nothing of it is left, whatever happened.

    Args:
        log: file for what it prints.
        environment: what to add to this process's environment; FLYWHEEL_ and DAGSTER_ variables are not inherited.

    Raises:
        AssertionError: one SIGTERM did not end all of it.
    """
    port = _free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FLYWHEEL_", "DAGSTER_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [tool("flywheel"), "dev", "--config", str(config), "--port", str(port)],
            cwd=ROOT,
            env=inherited | {"FLYWHEEL_SENSOR_SECONDS": PACE} | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_as_from_a_terminal,
        )
    server = DevServer(f"http://127.0.0.1:{port}", config, log, process)
    try:
        server.until(lambda: _answers(server), "GraphQL answers and the assets are loaded", 300)
        yield server
    finally:
        server.client.close()
        stopped = stop(process)
    assert stopped, f"SIGTERM did not end all of it:\n{server.tail()}"


def stop(process: subprocess.Popen[bytes], seconds: float = 90) -> bool:
    """Stop a server and all it started; return whether SIGTERM was enough. A run at work comes to its end first."""
    process.terminate()
    gone = _wait_for_group(process, seconds)
    if not gone:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    return gone


def group_members(group: int) -> list[int]:
    """Return the processes of a process group that still run."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append(int(path.parent.name))
    return found


def _wait_for_group(leader: subprocess.Popen[bytes], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while leader.poll() is None or group_members(leader.pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _answers(server: DevServer) -> bool | None:
    try:
        return bool(server.ask("{ assetNodes { id } }")["assetNodes"]) or None
    except (httpx.TransportError, ValueError):
        return None


def _as_from_a_terminal() -> None:
    """SIGINT as a terminal's foreground process has it, whatever this process inherited; and end with the tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
