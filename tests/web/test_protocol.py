"""The limit on headers, whatever pieces a network cuts them into; tests/end_to_end has real connections."""

import asyncio
import itertools
from typing import Any

import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from imagegen_web.protocol import HttpProtocol

LIMIT = 64 * 1024
URL = b"/healthz"
LONGEST_PIECE = 2 * LIMIT


class Pipe(asyncio.Transport):
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        """Keep it."""
        self.written += bytes(data)

    def write_eof(self) -> None:
        """Nothing more will be written."""

    def is_closing(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """End."""

    def pause_reading(self) -> None:
        """Nothing comes here by itself."""

    def resume_reading(self) -> None:
        """Go on."""


async def reached(pieces: list[bytes]) -> tuple[int, bytes]:
    """Return how many requests reached the application, and what was written, after those pieces."""
    requests = 0

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        nonlocal requests
        requests += 1
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None)
    protocol = HttpProtocol(config=config, server_state=ServerState(), app_state={})
    pipe = Pipe()
    protocol.connection_made(pipe)
    for piece in pieces:
        protocol.data_received(piece)
        await asyncio.sleep(0)
    while protocol.server_state.tasks:
        await asyncio.wait(protocol.server_state.tasks)
    protocol.connection_lost(None)
    return requests, pipe.written


def head(size: int) -> bytes:
    """Return a request whose URL and headers are ``size`` bytes."""
    header = b"x-fill: "
    fill = size - len(URL) - len(header) - 2
    return b"GET " + URL + b" HTTP/1.1\r\n" + header + b"y" * fill + b"\r\n\r\n"


def cut(request: bytes, places: list[int]) -> list[bytes]:
    """Return the pieces of a request cut at ``places``."""
    edges = [0, *sorted({min(place, len(request)) for place in places}), len(request)]
    return [request[start:end] for start, end in itertools.pairwise(edges) if start < end]


@given(st.lists(st.integers(0, LONGEST_PIECE), max_size=4))
@example([])
@example([LIMIT])
@example([LIMIT - 1, LIMIT + 1])
def test_what_is_taken_depends_on_the_size_alone(places: list[int]) -> None:
    requests, written = asyncio.run(reached(cut(head(LIMIT), places)))
    assert (requests, written[:12]) == (1, b"HTTP/1.1 204")
    requests, written = asyncio.run(reached(cut(head(LIMIT + 1), places)))
    assert (requests, written[:12]) == (0, b"HTTP/1.1 431")
    assert written.count(b"HTTP/1.1") == 1


def test_each_request_of_a_connection_is_counted_for_itself() -> None:
    requests, written = asyncio.run(reached([head(LIMIT // 2), head(LIMIT), head(LIMIT + 1)]))
    assert requests == 2
    assert written.count(b"HTTP/1.1 431") == 1


def test_headers_after_a_chunked_body_do_not_count_for_the_next_request() -> None:
    chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: %s\r\n\r\n" % (b"y" * 40_000)
    assert asyncio.run(reached([chunked, head(LIMIT)]))[0] == 2


def test_a_refusal_does_not_cut_the_replies_before_it() -> None:
    requests, written = asyncio.run(reached([head(LIMIT // 2) * 2 + b"garbage\r\n\r\n"]))
    assert requests == 2
    assert written.count(b"HTTP/1.1") == written.count(b"HTTP/1.1 204") == 2
    assert written.count(b"connection: close") == 1


def test_a_head_without_an_end_is_refused() -> None:
    assert asyncio.run(reached([b"GET / HTTP/1.1\r\nx: ", b"y" * LIMIT]))[1] == b""
    requests, written = asyncio.run(reached([b"GET / HTTP/1.1\r\nx: ", b"y" * LIMIT, b"y" * 2048, b"y" * LIMIT]))
    assert (requests, written[:12], written.count(b"HTTP/1.1")) == (0, b"HTTP/1.1 431", 1)
