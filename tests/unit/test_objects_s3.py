"""S3 over a bad line: bodies that break off, answers that are lost, servers that are busy."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from flywheel.config import S3
from flywheel.objects import ObjectTooLarge, S3Store, StoreUnavailable


class BadLine(ThreadingHTTPServer):
    """Holds objects like S3; `faults` are used up one a request, then all is well."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.faults: list[str] = []
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: BadLine

    def do_GET(self) -> None:
        fault = self._begin()
        content = self.server.objects.get(self.path)
        if fault == "busy" or content is None:
            return self._answer(503 if fault else 404)
        self._answer(200, content[: len(content) // 2] if fault == "break" else content, len(content))
        if fault == "break":
            self.close_connection = True

    def do_PUT(self) -> None:
        fault = self._begin()
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if fault == "busy":
            return self._answer(503)
        if self.headers.get("If-None-Match") == "*" and self.path in self.server.objects:
            return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        self.server.objects[self.path] = content
        self._answer(500 if fault == "lose the answer" else 200)

    def _begin(self) -> str:
        self.server.requests.append(self.command)
        return self.server.faults.pop(0) if self.server.faults else ""

    def _answer(self, status: int, body: bytes = b"", length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[BadLine]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    server = BadLine()
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(line: BadLine) -> S3Store:
    return S3Store("s3://bucket/in", S3(endpoint=f"http://127.0.0.1:{line.server_port}"))


def test_a_body_that_breaks_off_should_be_fetched_again(line: BadLine, store: S3Store) -> None:
    line.objects["/bucket/in/a"] = b"0123456789"
    line.faults = ["break", "busy", "break"]
    assert store.read("a") == b"0123456789"
    assert line.requests == ["GET"] * 4


def test_a_body_that_always_breaks_off_should_be_an_error_and_never_half_an_object(
    line: BadLine, store: S3Store
) -> None:
    line.objects["/bucket/in/a"] = b"0123456789"
    line.faults = ["break"] * 10
    with pytest.raises(StoreUnavailable, match="s3://bucket/in/a"):
        store.read("a")


def test_too_large_a_body_should_not_be_fetched(line: BadLine, store: S3Store) -> None:
    line.objects["/bucket/in/a"] = b"0123456789"
    with pytest.raises(ObjectTooLarge):
        store.read("a", 9)
    assert line.requests == ["GET"]


def test_a_write_whose_answer_was_lost_should_count_as_written(line: BadLine, store: S3Store) -> None:
    line.faults = ["lose the answer"]
    assert store.write_if_absent("lock", b"mine") is True
    assert line.requests == ["PUT", "PUT", "GET"]


def test_a_write_that_a_rival_won_meanwhile_should_not_count(line: BadLine, store: S3Store) -> None:
    line.objects["/bucket/in/lock"] = b"theirs"
    line.faults = ["busy"]
    assert store.write_if_absent("lock", b"mine") is False
    assert line.objects["/bucket/in/lock"] == b"theirs"


@pytest.mark.slow
def test_a_server_that_stays_busy_should_be_an_error_to_try_later(line: BadLine, store: S3Store) -> None:
    line.faults = ["busy"] * 100
    with pytest.raises(StoreUnavailable, match="try again later"):
        store.write("a", b"x")
    assert line.requests == ["PUT"] * 6
