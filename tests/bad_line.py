"""A bad line to an S3 server: passes requests on over real sockets, and spoils some of them by a seeded plan."""

import http.client
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import urlsplit

FAULTS = ("500", "503", "stall", "truncate", "reset")
STALL = 1.0  # seconds; longer than the client waits
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
INTERNAL = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


class BadLine(ThreadingHTTPServer):
    """Passes requests on to `upstream`; a `share` of them meets a fault. Without upstream every one is cut."""

    daemon_threads = True

    def __init__(self, upstream: str | None, seed: int, share: float):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.share = upstream, share
        self.met: Counter[str] = Counter()  # what happened to requests
        self._draw_from, self._lock = random.Random(seed), Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fate(self) -> str:
        with self._lock:
            spoiled = self._draw_from.random() < self.share
            fate = self._draw_from.choice(FAULTS) if spoiled else "passed"
            fate = fate if self.upstream else "reset"
            self.met[fate] += 1
            return fate

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients hang up on a bad line."""


class _Handler(BaseHTTPRequestHandler):
    server: BadLine
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fate = self.server.fate()
        if fate == "reset":
            return self._reset()
        if fate == "stall":
            time.sleep(STALL)
            return self._reset()
        if fate in ("500", "503"):
            return self._answer(int(fate), [], SLOW_DOWN if fate == "503" else INTERNAL)
        status, headers, content = self._ask(body)
        if fate == "truncate" and len(content) > 1:
            self._answer(status, headers, content[: len(content) // 2], len(content))
            return self._reset()
        self._answer(status, headers, content)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _serve

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        place = urlsplit(self.server.upstream or "")
        line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
        try:
            line.request(self.command, self.path, body or None, dict(self.headers))
            answer = line.getresponse()
            skipped = ("transfer-encoding", "connection")
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in skipped]
            return answer.status, headers, answer.read()
        finally:
            line.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, length: int | None = None) -> None:
        self.send_response_only(status)
        told = dict(headers)
        if self.command != "HEAD":
            told["Content-Length"] = str(len(content) if length is None else length)
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
            self.wfile.flush()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def bad_line(upstream: str | None, *, seed: int, share: float) -> Iterator[BadLine]:
    """Run a bad line on loopback."""
    line = BadLine(upstream, seed, share)
    thread = Thread(target=line.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield line
    finally:
        line.shutdown()
        thread.join()
        line.server_close()
