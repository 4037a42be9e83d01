"""One owner at a time: the lock of an embedded index, which knows who holds it."""

import json
import os
import socket
import time
from pathlib import Path

from filelock import FileLock, Timeout

from flywheel.errors import FlywheelError


class HomeLock:
    """A lock file in an index's folder; the system releases it when its owner dies.

    Args:
        home: the folder; made if it is missing.
        wait_seconds: how long `acquire` waits for another owner.
    """

    def __init__(self, home: Path, wait_seconds: float):
        self._home = home
        self._wait = wait_seconds
        self._file = FileLock(home / "lock", thread_local=False)

    @property
    def is_locked(self) -> bool:
        """Whether this object holds the lock."""
        return self._file.is_locked

    def acquire(self) -> None:
        """Take the lock and leave word of who has it.

        Raises:
            FlywheelError: another owner kept it for longer than the wait.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        try:
            self._file.acquire(timeout=self._wait)
        except Timeout:
            raise FlywheelError(self.refusal()) from None
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        (self._home / "owner.json").write_text(json.dumps(owner), "utf-8")

    def release(self) -> None:
        """Give the lock back."""
        self._file.release()

    def refusal(self) -> str:
        """Say who holds the index, and what to do."""
        try:
            owner = json.loads((self._home / "owner.json").read_text("utf-8"))
            who = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        except (OSError, ValueError, KeyError):
            who = "another process"
        return (
            f"the index in {self._home} is held by {who}; waited {self._wait:g} s. One process at a time may open it: "
            "a run of the wheel, a Dagster step, `flywheel search` or a page. Try again when that has ended"
        )
