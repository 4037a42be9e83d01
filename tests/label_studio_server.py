"""A real Label Studio server for tests, in its own environment: `python -m tests.label_studio_server --install`.

Everything lies in `.label-studio/` at the repository root: `venv/` (about 1 GB), and `template/`, the data folder of a
server that has made its database, from which every start takes a copy: 5 s instead of 40. It reports to nobody.
"""

import argparse
import ctypes
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".label-studio"
VENV, TEMPLATE = HOME / "venv", HOME / "template"
REQUIREMENTS = Path(__file__).with_name("requirements-label-studio.txt")
ADMIN, PASSWORD, TOKEN = "admin@example.org", "test-Passw0rd", "0123456789abcdef" * 2 + "01234567"
PDEATHSIG = 1  # prctl: the signal this process gets when its parent ends


@dataclass(frozen=True)
class LabelStudio:
    """A running server and its first user's access token."""

    url: str
    token: str


def install() -> bool:
    """Build the environment unless it stands as required; return whether there was anything to do."""
    marker = VENV / ".installed"
    HOME.mkdir(exist_ok=True)
    with FileLock(HOME / "install.lock"):
        if _stands(marker):
            return False
        shutil.rmtree(VENV, ignore_errors=True)  # a half-made one is not worth a repair
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pip = [VENV / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
        subprocess.run(pip, check=True)
        marker.write_text(_wanted())
    return True


@contextmanager
def running(data: Path) -> Iterator[LabelStudio]:
    """Run a server whose database lies in the new folder `data`; stop it at the end whatever happens."""
    install()
    _make_template()
    shutil.copytree(TEMPLATE, data)
    with _server(data) as url:
        yield LabelStudio(url, TOKEN)


def _make_template() -> None:
    with FileLock(HOME / "template.lock"):
        marker = TEMPLATE / ".complete"
        if _stands(marker):
            return
        shutil.rmtree(TEMPLATE, ignore_errors=True)
        TEMPLATE.mkdir(parents=True)
        with _server(TEMPLATE):
            pass
        marker.write_text(_wanted())


def _stands(marker: Path) -> bool:
    return marker.exists() and marker.read_text() == _wanted()


def _wanted() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


@contextmanager
def _server(data: Path, timeout: float = 240.0) -> Iterator[str]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [VENV / "bin" / "label-studio", "start", "--no-browser", "--internal-host", "127.0.0.1"]
    with (data / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=_environment(data, url),
            cwd=data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        _wait(process, url, data / "server.log", timeout)
        yield url
    finally:
        _stop(process)


def _environment(data: Path, url: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(data),
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_HOST": url,
        "LABEL_STUDIO_USERNAME": ADMIN,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_USER_TOKEN": TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "SSRF_PROTECTION_ENABLED": "false",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "FEATURE_FLAGS_OFFLINE": "true",
        "SENTRY_DSN": "",  # set by default
        "FRONTEND_SENTRY_DSN": "",
    }


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health", timeout=5, trust_env=False).json() == {"status": "UP"}:
                return
        except (httpx.TransportError, ValueError):
            pass
        time.sleep(0.3)
    end = log.read_text("utf-8", "replace")[-2000:]
    raise RuntimeError(f"Label Studio did not come up within {timeout:.0f} s; the end of {log}:\n{end}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for stop in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, stop)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
    process.wait(timeout=10)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true", help="build the environment and the template, if missing")
    if parser.parse_args().install:
        install()
        _make_template()
    else:
        parser.error("nothing to do; try --install")
