"""Generation requests over a bare socket: clients that leave when they like, or read when they like."""

import http.client
import json
import socket
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from server_process import Server, ServerProcess, wait_until

_PATIENCE_SECONDS = 60.0


class RawRequest:
    """A request that was sent; its answer waits in the socket until it is read. Leaving the ``with`` closes it."""

    def __init__(self, server: Server, body: dict[str, Any], receive_buffer: int = 0) -> None:
        """``receive_buffer`` bytes at most are taken off the server before the answer is read."""
        where, content = urlsplit(server.url), json.dumps(body).encode()
        self.received = 0
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(_PATIENCE_SECONDS)
        self._socket.connect((where.hostname, where.port))
        head = f"POST /v1/images/generations HTTP/1.1\r\nhost: {where.netloc}\r\ncontent-type: application/json\r\n"
        self._socket.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave, answered or not."""
        self._socket.close()

    def read(self) -> tuple[int, dict[str, str], Any]:
        """Wait for the answer; return status, headers (names in lower case) and the JSON of the body."""
        with http.client.HTTPResponse(self._socket) as answer:
            answer.begin()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, json.loads(answer.read())

    def read_whole(self) -> None:
        """Read the answer, whatever its body is; ``received`` says how many bytes that was."""
        with http.client.HTTPResponse(self._socket) as answer:
            answer.begin()
            self.received = len(answer.read())


@contextmanager
def running(server: ServerProcess, body: dict[str, Any]) -> Generator[RawRequest]:
    """Send a request to an idle server and return it when the device is at work on it."""
    before = server.status()["work"]["evaluations_total"]

    def at_work() -> bool:
        status = server.status()
        return status["capacity"]["running_requests"] == 1 and status["work"]["evaluations_total"] > before

    with RawRequest(server, body) as request:
        wait_until(at_work, _PATIENCE_SECONDS, "the request to run", every=0.002)
        yield request


@contextmanager
def queued(server: ServerProcess, body: dict[str, Any], position: int = 1) -> Generator[RawRequest]:
    """Send a request to a busy server and return it when it stands in the queue as number ``position``."""
    with RawRequest(server, body) as request:
        wait_until(
            lambda: server.status()["capacity"]["queued_requests"] == position,
            _PATIENCE_SECONDS,
            "the request to be queued",
            every=0.002,
        )
        yield request


def idle(server: ServerProcess) -> bool:
    """Whether no request is on the server."""
    capacity = server.status()["capacity"]
    return capacity["running_requests"] == capacity["queued_requests"] == 0
