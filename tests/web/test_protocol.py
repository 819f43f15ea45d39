"""What reaches the application, whatever pieces a network cuts requests into; tests/end_to_end has real connections."""

import asyncio
import itertools
from typing import Any

import msgspec
import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from imagegen_web.protocol import HttpProtocol

LIMIT = 64 * 1024
URL = b"/healthz"
LONGEST_PIECE = 2 * LIMIT
TURNS = 100
"""Of the event loop: more than any request here takes once its bytes are there."""


class Pipe(asyncio.Transport):
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def write(self, data: Any) -> None:
        """Keep it."""
        assert not self.ended
        self.written += bytes(data)

    def write_eof(self) -> None:
        """Nothing more will be written."""
        self.ended = True

    def is_closing(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """End."""

    def pause_reading(self) -> None:
        """Nothing comes here by itself."""

    def resume_reading(self) -> None:
        """Go on."""


async def written_to(app: Any, pieces: list[bytes]) -> bytes:
    """Return what a client is sent that sends those pieces, waits for what comes of them, and leaves."""
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None)
    protocol = HttpProtocol(config=config, server_state=ServerState(), app_state={})
    pipe = Pipe()
    protocol.connection_made(pipe)
    for piece in pieces:
        protocol.data_received(piece)
        await asyncio.sleep(0)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    while protocol.server_state.tasks:
        await asyncio.wait(protocol.server_state.tasks)
    return pipe.written


async def reached(pieces: list[bytes]) -> tuple[int, bytes]:
    """Return how many requests reached the application, and what was written, after those pieces."""
    requests = 0

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        nonlocal requests
        requests += 1
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    written = await written_to(app, pieces)
    return requests, written


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


class Seen(msgspec.Struct, frozen=True):
    """One request as the application had it: ``body`` is None when there was no end to it."""

    line: str
    body: bytes | None


async def served(pieces: list[bytes], *, reads: bool = True) -> tuple[list[Seen], bytes]:
    """Return the requests that reached an application, which reads bodies or does not, and what was written."""
    seen: list[Seen] = []

    async def body(receive: Any) -> bytes | None:
        read, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return None
            read, more = read + message["body"], message["more_body"]
        return read

    async def app(scope: Any, receive: Any, send: Any) -> None:
        line = f"{scope['method']} {scope['path']} {scope['http_version']}"
        seen.append(Seen(line, await body(receive) if reads else b""))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    written = await written_to(app, pieces)
    return seen, written


OFFERS = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    b"connection: UPGRADE\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZQ==\r\n",
    b"upgrade: TLS/1.0, HTTP/3\r\nupgrade: x\r\nConnection: keep-alive\r\nConnection: upgrade\r\n",
    b"CONNECTION:Upgrade\r\nUPGRADE:\r\n",
    b"Connection: Upgrade\r\n",
    b"Upgrade: h2c\r\n",
    b"",
]
PROMPT = b'{"prompt": "Upgrade: h2c\\r\\n"}'
BODIES = [
    (b"\r\n", b""),
    (b"content-length: %d\r\n\r\n" % len(PROMPT), PROMPT),
    (b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(PROMPT), PROMPT),
    (b"transfer-encoding: chunked\r\n\r\n5\r\n%s\r\n" % PROMPT[:5], PROMPT),
]


def request_of(number: int, offer: bytes, body: tuple[bytes, bytes]) -> bytes:
    """Return one request as bytes; a chunked body ends with a header of its own."""
    head, content = body
    rest = b"%x\r\n%s\r\n0\r\nx-end: 1\r\n\r\n" % (len(content) - 5, content[5:]) if b"chunked" in head else content
    return b"POST /%d HTTP/1.1\r\nhost: test\r\n" % number + offer + head + rest


@given(
    st.lists(st.tuples(st.sampled_from(OFFERS), st.sampled_from(BODIES)), min_size=1, max_size=4),
    st.lists(st.integers(0, 1000), max_size=12),
)
@example([(OFFERS[0], BODIES[1]), (OFFERS[1], BODIES[3]), (OFFERS[2], BODIES[0])], [])
@example([(OFFERS[0], BODIES[1]), (OFFERS[1], BODIES[3]), (OFFERS[2], BODIES[2])], [*range(1000)])
def test_requests_with_an_offer_are_served_as_without_however_they_are_cut(
    requests: list[tuple[bytes, tuple[bytes, bytes]]], places: list[int]
) -> None:
    sent = b"".join(request_of(number, offer, body) for number, (offer, body) in enumerate(requests))
    seen, written = asyncio.run(served(cut(sent, places)))
    assert seen == [Seen(f"POST /{number} 1.1", body[1]) for number, (_, body) in enumerate(requests)]
    assert written.count(b"HTTP/1.1 200") == len(requests)
    assert written.count(b"HTTP/1.1") - written.count(b"HTTP/1.1 100") == len(requests)


OFFER = OFFERS[0]


def test_the_last_request_of_a_connection_may_come_with_an_offer() -> None:
    last = b"POST /last HTTP/1.1\r\nconnection: close, upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nhi"
    for pieces in ([last + b"POST / HTTP/1.1\r\n\r\n"], cut(last, [*range(len(last))])):
        seen, written = asyncio.run(served(pieces))
        assert seen == [Seen("POST /last 1.1", b"hi")]
        assert (written.count(b"HTTP/1.1 "), written.count(b"connection: close")) == (1, 1)


def test_an_offer_does_not_make_an_old_client_a_new_one() -> None:
    seen, written = asyncio.run(served([b"POST / HTTP/1.0\r\n" + OFFER + b"content-length: 2\r\n\r\nhi"]))
    assert (seen, written.count(b"connection: close")) == ([Seen("POST / 1.0", b"hi")], 1)


def test_headers_with_an_offer_are_counted_once() -> None:
    half = head(LIMIT // 2 + 1 - len(OFFER))[:-2] + OFFER + b"\r\n"
    assert asyncio.run(reached([half * 2]))[0] == 2
    requests, written = asyncio.run(reached([head(LIMIT)[:-2] + OFFER + b"\r\n"]))
    assert (requests, written[:12], written.count(b"HTTP/1.1 ")) == (0, b"HTTP/1.1 431", 1)


def test_a_head_that_is_none_is_refused_with_an_offer_too() -> None:
    both = b"POST / HTTP/1.1\r\n" + OFFER + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    seen, written = asyncio.run(served([both]))
    assert (seen, written[:12], written.count(b"HTTP/1.1 ")) == ([], b"HTTP/1.1 400", 1)


GET = b"GET / HTTP/1.1\r\n\r\n"
TUNNEL = b"CONNECT elsewhere:443 HTTP/1.1\r\nhost: elsewhere:443\r\n\r\n"


def test_a_tunnel_is_refused_and_what_would_go_through_it_is_not_read() -> None:
    seen, written = asyncio.run(served([TUNNEL + GET, GET]))
    assert (seen, written.count(b"HTTP/1.1 ")) == ([], 1)
    assert written.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert b"\r\nallow: GET, HEAD, OPTIONS, POST\r\n" in written
    assert asyncio.run(served([GET + TUNNEL]))[0] == [Seen("GET / 1.1", b"")]


def test_a_client_that_begins_with_http_2_is_told_what_is_spoken() -> None:
    _, written = asyncio.run(served([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"]))
    assert (written[:12], written.count(b"HTTP/1.1 ")) == (b"HTTP/1.1 400", 1)
    assert b'"HTTP/2 is not spoken here; use HTTP/1.1"' in written


@pytest.mark.parametrize(("url", "path"), [("http://a", "/"), ("http://a:80?x=1", "/"), ("http://a/b?x", "/b")])
def test_a_whole_url_is_asked_for_by_its_path(url: str, path: str) -> None:
    assert asyncio.run(served([f"GET {url} HTTP/1.1\r\n\r\n".encode()]))[0] == [Seen(f"GET {path} 1.1", b"")]


def test_a_client_of_http_1_0_is_sent_no_answer_before_the_answer() -> None:
    sent = b"POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi"
    seen, written = asyncio.run(served([sent]))
    assert (seen, written[:12], written.count(b"HTTP/1.1 ")) == ([Seen("POST / 1.0", b"hi")], b"HTTP/1.1 200", 1)


CHUNKED = b"POST /bad HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
BAD_ENDS = {
    "no size": b"zz\r\n",
    "no line after a chunk": b"1\r\nabc",
    "too many headers after it": b"0\r\n" + b"x: %s\r\n" % (b"y" * 40_000) * 3,
}


@pytest.mark.parametrize("end", BAD_ENDS.values(), ids=BAD_ENDS)
@pytest.mark.parametrize("reads", [True, False])
def test_a_body_that_goes_wrong_is_answered_once(end: bytes, reads: bool) -> None:
    """At once with the head: the application has not been asked yet. Later: it may have answered already."""
    _, written = asyncio.run(served([CHUNKED + end], reads=reads))
    assert (written[:10], written.count(b"HTTP/1.1 ")) == (b"HTTP/1.1 4", 1)
    seen, written = asyncio.run(served([CHUNKED, b"", end], reads=reads))
    assert (written[:12] == b"HTTP/1.1 200", written.count(b"HTTP/1.1 ")) == (not reads, 1)
    assert seen == [Seen("POST /bad 1.1", None if reads else b"")]


def test_a_header_without_an_end_after_a_body_is_refused() -> None:
    seen, written = asyncio.run(served([CHUNKED + b"0\r\nx: ", *[b"y" * 1000] * 70]))
    assert (seen, written[:12]) == ([Seen("POST /bad 1.1", None)], b"HTTP/1.1 431")


def test_a_body_of_any_length_is_no_header() -> None:
    seen, _ = asyncio.run(served([CHUNKED, *[b"1000\r\n" + b"y" * 0x1000 + b"\r\n"] * 40, b"0\r\n\r\n" + GET]))
    assert [len(request.body or b"") for request in seen] == [40 * 0x1000, 0]


@pytest.mark.parametrize("end", BAD_ENDS.values(), ids=BAD_ENDS)
def test_a_body_that_goes_wrong_is_answered_after_those_before_it(end: bytes) -> None:
    _, written = asyncio.run(served([GET * 2 + CHUNKED + end + GET]))
    assert [answer[:4] for answer in written.split(b"HTTP/1.1 ")[1:-1]] == [b"200 ", b"200 "]
    assert written.rpartition(b"HTTP/1.1 ")[2].startswith((b"400 ", b"431 "))
