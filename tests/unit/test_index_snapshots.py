"""Fetching and sending a server's snapshots, against a small HTTP server that keeps one."""

import hashlib
import threading
from collections.abc import Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from flywheel.errors import FlywheelError, IndexMismatch
from flywheel.index.snapshots import ServerAddress, download_snapshot, upload_snapshot

CONTENT = bytes(range(256)) * 9000  # more than two chunks
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


class Keeper(BaseHTTPRequestHandler):
    """Hands out CONTENT as `s1`, half of it as `cut`, and keeps what is sent; only with the key."""

    received: ClassVar[dict[str, object]] = {}

    def do_GET(self) -> None:
        if self.headers.get("api-key") != "secret-key":
            return self.answer(401, b"{}")
        if not self.path.endswith(("/collections/wheel/snapshots/s1", "/collections/wheel/snapshots/cut")):
            return self.answer(404, b"{}")
        return self.answer(200, CONTENT if self.path.endswith("s1") else CONTENT[: len(CONTENT) // 2])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        form = message_from_bytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\n\n" + body)
        [part] = form.get_payload()
        address = urlsplit(self.path)
        Keeper.received = {
            "path": address.path,
            "params": {key: value for key, [value] in parse_qs(address.query).items()},
            "name": part.get_param("name", header="Content-Disposition"),
            "content": part.get_payload(decode=True),
        }
        self.answer(200, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[ServerAddress]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Keeper)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield ServerAddress(f"http://127.0.0.1:{server.server_port}/", "secret-key")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_snapshot_should_come_and_go_whole(address: ServerAddress, tmp_path: Path) -> None:
    saved = tmp_path / "deep" / "saved"
    for _ in range(2):  # a repeat takes the older copy's place
        download_snapshot(address, "wheel", "s1", CHECKSUM, saved)
    assert (saved / "collection.snapshot").read_bytes() == CONTENT
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]
    upload_snapshot(address, "wheel", saved)
    assert Keeper.received["path"] == "/collections/wheel/snapshots/upload"
    assert Keeper.received["params"] == {"wait": "true", "priority": "snapshot", "checksum": CHECKSUM}
    assert Keeper.received["name"] == "snapshot"
    assert Keeper.received["content"] == CONTENT


def test_a_damaged_snapshot_should_not_take_the_place_of_a_good_one(address: ServerAddress, tmp_path: Path) -> None:
    download_snapshot(address, "wheel", "s1", CHECKSUM, tmp_path / "saved")
    with pytest.raises(FlywheelError, match="damaged"):
        download_snapshot(address, "wheel", "cut", CHECKSUM, tmp_path / "saved")
    with pytest.raises(FlywheelError, match="404"):
        download_snapshot(address, "wheel", "none", CHECKSUM, tmp_path / "saved")
    assert (tmp_path / "saved" / "collection.snapshot").read_bytes() == CONTENT


def test_a_folder_without_a_complete_snapshot_should_be_refused(address: ServerAddress, tmp_path: Path) -> None:
    with pytest.raises(IndexMismatch, match="no complete snapshot"):
        upload_snapshot(address, "wheel", tmp_path)


def test_a_refusal_should_not_show_the_key(address: ServerAddress, tmp_path: Path) -> None:
    wrong = ServerAddress(address.url, "wrong-key")
    with pytest.raises(FlywheelError, match="401") as refused:
        download_snapshot(wrong, "wheel", "s1", CHECKSUM, tmp_path / "saved")
    assert "wrong-key" not in f"{refused.value} {wrong}"
