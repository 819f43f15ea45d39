"""Connections that no well-behaved client makes: cut off, endless, slow, pipelined, malformed.

Each is answered with a valid error body or just ends; nobody else notices.
"""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Self

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from answers import address, valid_error
from conftest import Show
from imagegen_contract.errors import ErrorCode
from imagegen_contract.server_settings import ServerSettings
from server_process import ServerProcess, wait_until

BODY = json.dumps({"prompt": "a red circle", "size": "64x64", "num_inference_steps": 1}).encode()
HEAD = b"POST /v1/images/generations HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n"
MOST_BYTES = ServerSettings().max_body_bytes
TOO_MUCH = b"x" * (8 * MOST_BYTES)
"""Far more than the buffers of both ends hold, so the client is still sending when it is refused."""
CHUNK = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bystander")]


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    content: bytes

    def error(self) -> ErrorCode:
        """Return the code of an error body that fits its status."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        return ErrorCode(valid_error(self.status, headers, self.content).code)


class Wire:
    """A bare TCP connection to a server."""

    def __init__(self, server: ServerProcess) -> None:
        self._socket = socket.create_connection(address(server), timeout=30)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        """Return the open connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._file.close()
        self._socket.close()

    def send(self, *parts: bytes) -> Self:
        """Send all of ``parts``; raise ConnectionError when the server closed meanwhile."""
        for part in parts:
            self._socket.sendall(part)
        return self

    def send_end(self) -> Self:
        """Say that nothing more will come."""
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def head(self) -> tuple[int, http.client.HTTPMessage]:
        """Read status and headers of one answer."""
        status = int(self._file.readline().split()[1])
        return status, http.client.parse_headers(self._file)

    def answer(self) -> Answer:
        """Read one answer; every one of ours has a length."""
        status, headers = self.head()
        return Answer(status, headers, self._file.read(int(headers.get("content-length", "0"))))

    def rest(self) -> bytes:
        """Read all that is still to come."""
        return self._file.read()

    def ended(self) -> bool:
        """Return whether the server closed the connection with nothing more to say."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def wire(abused: ServerProcess) -> Iterator[Wire]:
    """Return a connection to the abused server."""
    with Wire(abused) as connection:
        yield connection


def chunked(body: bytes) -> bytes:
    """Return a body in two chunks and the end of it."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:], b""))


def length(body: bytes) -> bytes:
    """Return the header that ends a head."""
    return b"content-length: %d\r\n\r\n" % len(body)


REFUSED_WHILE_SENDING = {
    "announced": ([HEAD, length(TOO_MUCH), TOO_MUCH], 413),
    "in chunks": ([HEAD, b"transfer-encoding: chunked\r\n\r\n", CHUNK * 256, b"0\r\n\r\n"], 413),
    "announced, last request of its connection": (
        [HEAD, b"connection: close\r\n", length(TOO_MUCH), TOO_MUCH],
        413,
    ),
    "in chunks, last request of its connection": (
        [HEAD, b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n", CHUNK * 256, b"0\r\n\r\n"],
        413,
    ),
    "from a client of HTTP/1.0": ([HEAD.replace(b"1.1", b"1.0"), length(TOO_MUCH), TOO_MUCH], 413),
    "of a type that is not read": (
        [HEAD.replace(b"json", b"xml"), b"connection: close\r\n", length(TOO_MUCH), TOO_MUCH],
        415,
    ),
    "for a route that is not there": (
        [HEAD.replace(b"generations", b"edits"), b"connection: close\r\n", length(TOO_MUCH), TOO_MUCH],
        404,
    ),
}


@pytest.mark.parametrize(("parts", "status"), REFUSED_WHILE_SENDING.values(), ids=REFUSED_WHILE_SENDING.keys())
def test_a_body_too_large_is_refused_and_not_reset(wire: Wire, parts: list[bytes], status: int) -> None:
    answer = wire.send(*parts).answer()
    assert answer.status == status
    answer.error()


def test_a_connection_lives_on_after_a_body_too_large(wire: Wire) -> None:
    assert wire.send(HEAD, length(TOO_MUCH), TOO_MUCH).answer().status == 413
    assert wire.send(HEAD, length(BODY), BODY).answer().status == 200


def test_a_client_that_asks_first_is_refused_before_it_sends(wire: Wire) -> None:
    answer = wire.send(HEAD, b"expect: 100-continue\r\nconnection: close\r\n", length(TOO_MUCH)).answer()
    assert (answer.status, answer.error()) == (413, ErrorCode.BODY_TOO_LARGE)
    assert wire.ended()


def test_a_client_that_asks_first_is_told_to_go_on(wire: Wire) -> None:
    assert wire.send(HEAD, b"expect: 100-continue\r\n", length(BODY)).answer().status == 100
    assert wire.send(BODY).answer().status == 200


def test_a_body_of_exactly_the_limit_is_read(wire: Wire) -> None:
    body = BODY + b" " * (MOST_BYTES - len(BODY))
    assert wire.send(HEAD, length(body), body).answer().status == 200
    assert wire.send(HEAD, length(body + b" "), body, b" ").answer().status == 413


SLOW = {
    "nothing of its body": [HEAD, length(BODY)],
    "half of its body": [HEAD, length(BODY), BODY[:20]],
    "chunks without an end": [HEAD, b"transfer-encoding: chunked\r\n\r\n", b"5\r\n" + BODY[:5] + b"\r\n"],
    "half of a chunk": [HEAD, b"transfer-encoding: chunked\r\n\r\n", b"ff\r\n" + BODY[:5]],
    "nothing, on its last request": [HEAD, b"connection: close\r\n", length(BODY)],
}


def test_a_body_that_does_not_arrive_is_given_up(abused: ServerProcess) -> None:
    """All at once, as each takes the whole time limit."""
    with ExitStack() as wires:
        slow = [wires.enter_context(Wire(abused)).send(*parts) for parts in SLOW.values()]
        answers = [wire.answer() for wire in slow]
    assert [(answer.status, answer.error()) for answer in answers] == [(408, ErrorCode.REQUEST_TIMEOUT)] * len(SLOW)


CUT_OFF = {
    "in the request line": b"POST /v1/ima",
    "in the headers": HEAD[:-10],
    "before the body": HEAD + length(BODY),
    "in the body": HEAD + length(BODY) + BODY[:-1],
    "in a chunk": HEAD + b"transfer-encoding: chunked\r\n\r\nff\r\n{",
    "before anything": b"",
}


@pytest.mark.parametrize("sent", CUT_OFF.values(), ids=CUT_OFF.keys())
def test_a_request_that_is_cut_off_gets_no_answer(wire: Wire, sent: bytes) -> None:
    assert wire.send(sent).send_end().ended()


def test_two_requests_at_once_are_answered_in_order(wire: Wire) -> None:
    wire.send(GET + HEAD + length(BODY) + BODY + GET)
    assert [len(wire.answer().content) > 1000 for _ in range(3)] == [False, True, False]


def test_a_hundred_half_requests_hinder_nobody(abused: ServerProcess, bystander: Any) -> None:
    with ExitStack() as wires:
        for _ in range(100):
            wires.enter_context(Wire(abused)).send(HEAD)
        bystander.wait_for_more()
        with Wire(abused) as wire:
            assert wire.send(HEAD, length(BODY), BODY).answer().status == 200
    assert bystander.failures == []


def flood(headers: int) -> bytes:
    """Return that many headers of 100 bytes."""
    return b"".join(b"x-%04d: %s\r\n" % (number, b"y" * 90) for number in range(headers))


def test_many_headers_are_no_harm(wire: Wire) -> None:
    assert wire.send(HEAD, flood(600), length(BODY), BODY).answer().status == 200


@pytest.mark.parametrize("headers", [700, 20_000])
def test_headers_over_the_limit_are_refused_and_not_reset(wire: Wire, headers: int) -> None:
    answer = wire.send(HEAD, flood(headers), length(BODY), BODY).answer()
    assert (answer.status, answer.error()) == (431, ErrorCode.HEADERS_TOO_LARGE)
    assert wire.ended()


def test_a_path_over_the_limit_is_refused_as_headers_are(wire: Wire) -> None:
    answer = wire.send(b"GET /", b"x" * 70_000, b" HTTP/1.1\r\nhost: test\r\n\r\n").answer()
    assert (answer.status, answer.error()) == (431, ErrorCode.HEADERS_TOO_LARGE)
    assert wire.ended()


def test_a_client_of_http_1_0_is_answered_and_the_connection_ends(wire: Wire) -> None:
    assert wire.send(HEAD.replace(b"1.1", b"1.0"), length(BODY), BODY).answer().status == 200
    assert wire.ended()


OFFERS = {
    "websocket": b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n",
    "HTTP/2, as of curl and Java": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
    "several": b"upgrade: h2c, TLS/1.0, websocket\r\nconnection: keep-alive, UPGRADE\r\n",
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_of_another_protocol_is_not_taken_up(wire: Wire, offer: bytes) -> None:
    assert wire.send(GET[:-2], offer, b"\r\n").answer().status == 200
    for parts in ([HEAD, offer, length(BODY), BODY], [HEAD + offer + length(BODY) + BODY]):
        assert wire.send(*parts).answer().status == 200
    assert wire.send(HEAD, offer, b"expect: 100-continue\r\n", length(BODY)).answer().status == 100
    assert wire.send(BODY).answer().status == 200
    assert wire.send(HEAD, offer, b"transfer-encoding: chunked\r\n\r\n", chunked(BODY), GET).answer().status == 200
    assert wire.answer().content == b'{"status":"ok"}'


PATHS = {
    b"/%00": 404,
    b"/v1/models/%00": 404,
    b"/v1/models/imagegen%2Fshapes": 200,
    b"/v1/models/imagegen%252Fshapes": 404,
    b"/v1/models/imagegen/shapes/": 200,
    b"/v1/models/..%2f..%2fetc%2fpasswd": 404,
    b"/v1/models/" + b"x" * 20_000: 404,
    b"/v1/models/%ff%fe": 404,
    b"/v1/models/%ed%a0%80": 404,
    b"/v1/models/%0d%0aset-cookie:%20x": 404,
    b"/v1/models/%": 404,
    b"/v1/models/%F0%9F%98%80": 404,
    b"/docs/../docs/swagger-ui.css": 404,
    b"/docs/..%2f__init__.py": 404,
    b"/docs/%2e%2e": 404,
    b"/docs/swagger-ui.css%00": 404,
    b"/../../etc/passwd": 404,
    b"/v1/images/generations%2f..": 404,
    b"//": 200,
    b"/;x=1": 404,
    b"/?" + b"q" * 20_000: 200,
    b"/healthz?%00": 200,
    b"http://elsewhere/healthz": 200,
    b"http://elsewhere": 200,
    b"http://elsewhere?x=1": 200,
    b"//healthz": 200,
    b"/healthz/": 200,
    b"/health%7a": 200,
    b"/./healthz": 404,
    b"/v1//models//": 200,
    b"/v1%2Fmodels": 200,
    b"/docs/": 200,
    b"/HEALTHZ": 404,
}


@pytest.mark.parametrize(("path", "status"), PATHS.items(), ids=[path[:40].decode() for path in PATHS])
def test_an_absurd_path_is_a_path_like_any_other(wire: Wire, path: bytes, status: int) -> None:
    answer = wire.send(b"GET ", path, b" HTTP/1.1\r\nhost: test\r\n\r\n").answer()
    assert answer.status == status
    if status != 200:
        answer.error()
    assert "set-cookie" not in answer.headers


def sorted_names(header: str | None) -> str | None:
    """Return the names of an Allow header in order: for OPTIONS it comes in any."""
    return ", ".join(sorted(header.split(", "))) if header else header


METHODS = {
    "GET /v1/images/generations": (405, "OPTIONS, POST"),
    "HEAD /v1/images/generations": (405, "OPTIONS, POST"),
    "GET //v1/images/generations/": (405, "OPTIONS, POST"),
    "PUT /v1/images/generations": (405, "OPTIONS, POST"),
    "POST /v1/models": (405, "GET, HEAD, OPTIONS"),
    "DELETE /v1/models/imagegen/shapes": (405, "GET, HEAD, OPTIONS"),
    "POST /v1/models/imagegen/shapes": (405, "GET, HEAD, OPTIONS"),
    "PUT /v1/models/imagegen/shapes/load": (405, "OPTIONS, POST"),
    "OPTIONS /v1/models/imagegen/shapes": (204, "GET, HEAD, OPTIONS"),
    "OPTIONS /v1/models/imagegen/shapes/unload": (204, "OPTIONS, POST"),
    "TRACE /": (405, "GET, HEAD, OPTIONS"),
    "PROPFIND /healthz": (405, "GET, HEAD, OPTIONS"),
    "OPTIONS /v1/images/generations": (204, "OPTIONS, POST"),
    "OPTIONS /nowhere": (404, None),
    "OPTIONS *": (204, "GET, HEAD, OPTIONS, POST"),
    "GET *": (404, None),
    "CONNECT elsewhere:443": (405, "GET, HEAD, OPTIONS, POST"),
}


@pytest.mark.parametrize(("line", "expected"), METHODS.items())
def test_another_method_is_told_the_right_ones(wire: Wire, line: str, expected: tuple[int, str | None]) -> None:
    wire.send(line.encode(), b" HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    answer = Answer(*wire.head(), wire.rest())
    assert (answer.status, sorted_names(answer.headers["allow"])) == expected
    if answer.status >= 400 and not line.startswith("HEAD"):
        answer.error()


READABLE = [
    *("/", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/healthz", "/readyz", "/metrics", "/status"),
    *("/v1/models", "/v1/models/shapes", "/v1/models/imagegen%2Fshapes", "/v1/models/nobody", "/nowhere"),
]
OWN_TO_EACH_ANSWER = {"date", "x-request-id"}
CHANGING = {"/metrics", "/status"}


@pytest.mark.parametrize("path", READABLE)
def test_an_answer_to_head_is_that_to_get_without_the_body(wire: Wire, path: str) -> None:
    get = f"GET {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode()
    wire.send(get.replace(b"GET", b"HEAD"), get)
    status, told = wire.head()
    answer = wire.answer()
    assert status == answer.status
    own = OWN_TO_EACH_ANSWER | ({"content-length"} if path in CHANGING else set())
    heads = [{name: value for name, value in head.items() if name not in own} for head in (told, answer.headers)]
    assert heads[0] == heads[1]
    assert len(answer.content) == int(answer.headers["content-length"]) > 0


HOSTS = [b"", b"[", b"a b", b"a:99999999", b"\xff", b"//", b"x\ty", b"[::1", b"x" * 20_000, b"a,b", b"%00"]


@pytest.mark.parametrize("path", [b"/healthz", b"/nowhere", b"/v1/models/x"])
@pytest.mark.parametrize("host", HOSTS, ids=[repr(host[:20]) for host in HOSTS])
def test_a_host_that_is_none_does_no_harm(wire: Wire, host: bytes, path: bytes) -> None:
    answer = wire.send(b"GET ", path, b" HTTP/1.1\r\nhost: ", host, b"\r\n\r\n").answer()
    assert answer.status in {200, 400, 404}
    if answer.status != 200:
        answer.error()


NO_HTTP = {
    "words": b"hello\r\n\r\n",
    "a TLS greeting": bytes.fromhex("1603010200010001fc0303") + b"\x00" * 64,
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"BREW /coffee HTTP/1.1\r\nhost: test\r\n\r\n",
    "a path without a slash": b"GET x HTTP/1.1\r\nhost: test\r\n\r\n",
    "a path that is no ASCII": b"GET /\xff HTTP/1.1\r\nhost: test\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nhost\r\n\r\n",
    "a header with NUL": b"GET / HTTP/1.1\r\nhost: \x00\r\n\r\n",
    "a negative length": HEAD + b"content-length: -3\r\n\r\n",
    "two lengths": HEAD + b"content-length: 3\r\ncontent-length: 4\r\n\r\n",
    "a length and chunks": HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "coded for the transfer alone": HEAD + b"transfer-encoding: gzip\r\n\r\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_ends_the_connection(wire: Wire, sent: bytes) -> None:
    answer = wire.send(sent).answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert wire.ended()


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_is_told_so_in_an_error_body(wire: Wire, sent: bytes) -> None:
    assert wire.send(sent).answer().error() == ErrorCode.INVALID_REQUEST


def test_nonsense_after_a_request_ends_the_connection(wire: Wire) -> None:
    wire.send(GET)
    assert wire.answer().status == 200
    assert wire.send(b"\x00garbage\r\n\r\n").answer().status == 400
    assert wire.ended()


@given(sent=st.binary(min_size=1, max_size=300))
@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_refused_or_end(abused: ServerProcess, sent: bytes) -> None:
    with Wire(abused) as wire:
        wire.send(sent + b"\r\n\r\n").send_end()
        assert wire.ended() or wire.rest().startswith(b"TTP/1.1 4")


@given(at=st.integers(0, len(HEAD + length(BODY))), noise=st.binary(min_size=1, max_size=8))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_noise_in_a_head_is_refused_or_does_no_harm(abused: ServerProcess, at: int, noise: bytes) -> None:
    head = HEAD + b"connection: close\r\n" + length(BODY)
    with Wire(abused) as wire:
        wire.send(head[:at] + noise + head[at:] + BODY).send_end()
        said = b"" if wire.ended() else wire.rest()
    assert not said or said.startswith((b"TTP/1.1 2", b"TTP/1.1 4"))


@pytest.mark.acceptance
def test_a_refusal_reaches_a_client_that_is_still_sending(abused: ServerProcess, show: Show) -> None:
    for parts, _ in REFUSED_WHILE_SENDING.values():
        with Wire(abused) as wire:
            wire.send(*parts).answer().error()
    show(
        "6 hostile input: refused while still sending, never reset",
        f"{len(REFUSED_WHILE_SENDING)} ways to send {len(TOO_MUCH) / 2**20:.0f} MiB, each told why",
    )


@pytest.mark.acceptance
def test_a_slow_body_is_given_up(abused: ServerProcess, body_seconds: float, show: Show) -> None:
    started = time.monotonic()
    with Wire(abused) as wire:
        answer = wire.send(HEAD, length(BODY), BODY[:1]).answer()
    seconds = time.monotonic() - started
    assert (answer.status, answer.error()) == (408, ErrorCode.REQUEST_TIMEOUT)
    assert body_seconds <= seconds < body_seconds + 3
    show("6 hostile input: a body that does not come is a 408", f"after {seconds:.2f} s of {body_seconds:g} s")


@pytest.mark.acceptance
def test_nothing_was_lost_for_others(abused: ServerProcess, bystander: Any, show: Show) -> None:
    """Comes last: what the bystander saw of all the above."""
    bystander.wait_for_more()
    for sent in (*CUT_OFF.values(), *NO_HTTP.values()):
        with Wire(abused) as wire:
            wire.send(sent)
    bystander.wait_for_more()
    bystander.stop()
    assert bystander.failures == []
    assert len(set(bystander.pictures)) == 1
    wait_until(lambda: abused.status()["capacity"]["running_requests"] == 0, 10, "the device to be free")
    assert abused.get("/readyz").status_code == 200
    assert [line for line in abused.log if line["level"] in {"ERROR", "CRITICAL"}] == []
    assert abused.stderr == []
    gone = [line for line in abused.log if line.get("code") == "client_gone"]
    assert gone
    show(
        "6 hostile input: broken connections, nothing lost for others",
        f"{len(gone)} clients left, {len(bystander.pictures)} pictures of somebody else, all the same",
    )
