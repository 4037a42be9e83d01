"""Starts real servers for tests: on loopback, on free ports, gone when the test ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from flywheel.config import S3

ACCESS_KEY, SECRET_KEY, BUCKET = "testkey", "testsecret", "flywheel"
GRPC_OFFSET = 10_000  # where its workers look for the admin server, whatever they are told
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


@dataclass(frozen=True)
class SeaweedFS:
    """A running S3 server; its keys are in the environment while it runs."""

    endpoint: str
    _numbers: Iterator[int]

    @property
    def s3(self) -> S3:
        return S3(endpoint=self.endpoint)

    def new_root(self) -> str:
        """Return an address nothing has been written under."""
        return f"s3://{BUCKET}/test-{next(self._numbers):04d}"

    def client(self) -> object:
        """Return a bare client, for what our own store refuses to do."""
        settings = Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", config=settings)


@contextmanager
def run_seaweedfs(folder: Path) -> Iterator[SeaweedFS]:
    """Run SeaweedFS with its data in `folder`; environment keys are set meanwhile."""
    old = {name: os.environ.get(name) for name in KEYS}
    os.environ.update(KEYS)
    process, port = _start_seaweedfs(folder)
    try:
        server = SeaweedFS(f"http://127.0.0.1:{port}", count())
        _wait_for(server, process, folder / "weed.log")
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for name, value in old.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def free_ports(n: int) -> list[int]:
    """Return `n` ports nobody listens on, each free `GRPC_OFFSET` above as well."""
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        for port in range(20_000 + os.getpid() * 37 % 9_000, 50_000):
            try:
                held.append(_bound(port))
                held.append(_bound(port + GRPC_OFFSET))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == n:
                return ports
    finally:
        for one in held:
            one.close()
    raise RuntimeError("no free ports")


def _bound(port: int) -> socket.socket:
    one = socket.socket()
    try:
        one.bind(("127.0.0.1", port))
    except OSError:
        one.close()
        raise
    return one


def _start_seaweedfs(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    s3, master, volume, filer, admin = free_ports(5)
    ports = {"s3": s3, "master": master, "volume": volume, "filer": filer, "admin": admin}
    options = [f"-{name}.port={port}" for name, port in ports.items()]
    options += [f"-{name}.port.grpc={port + GRPC_OFFSET}" for name, port in ports.items() if name != "volume"]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false", "-master.telemetry=false"]
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)  # or what a server left that was stopped
    command = [str(Path(sys.executable).parent / "weed"), "mini", f"-dir={data}", "-ip=127.0.0.1"]
    command += ["-ip.bind=127.0.0.1", f"-bucket={BUCKET}", *options]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    return process, s3


def _wait_for(server: SeaweedFS, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            server.client().put_object(Bucket=BUCKET, Key="ready", Body=b"")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()[-2000:]}")
