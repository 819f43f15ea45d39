"""HTTP/1.1 as uvicorn speaks it, with what it leaves out: our error body for what its parser refuses before there is a
request, an end of headers, and of patience with a client that sends them byte by byte; deaf ears for an offer of
another protocol, after which uvicorn would lose the body.
"""

import asyncio
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from imagegen_contract.errors import KINDS, ErrorCode, error_body
from imagegen_contract.names import REQUEST_ID_HEADER
from imagegen_web.paths import METHODS

_MOST_HEAD_BYTES = 64 * 1024
"""As proxies commonly take at most: of URL and headers, counted as the parser gives them, however they arrive."""

_MOST_UNFINISHED_BYTES = _MOST_HEAD_BYTES + 1024
"""The same for a head without an end, with its method, version and last line break."""

_HEAD_SECONDS = 20.0
"""From the first byte of a request to the end of its headers; from the connection to the first byte, too."""

_LINGER_SECONDS = 2.0
"""A client that is still sending sees the refusal; a connection closed at once would be reset under it."""


class Departure:
    """Whether the client of a connection has left, and who wants to be told.

    ASGI tells of it to a waiting ``receive`` alone, which takes a task of its own for every request.
    """

    EXTENSION = "imagegen.departure"
    """Its name among the extensions of a scope."""

    def __init__(self) -> None:
        self.happened = False
        self.told: set[Callable[[], object]] = set()
        """Called when it happens."""

    def happen(self) -> None:
        """Tell everybody."""
        self.happened = True
        for tell in tuple(self.told):
            tell()


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._departure = Departure()
        self._in_head = True
        """Whether the next bytes are of a request line or headers."""
        self._head_bytes = 0
        """Of the chunks that came of a head that has not ended, or of the headers after a body."""
        self._counted_bytes = 0
        """Of its URL and headers that are complete."""
        self._refused = False
        """Whether the last word was said here; what still comes is not read."""
        self._last = False
        """Whether the connection ends with the next reply."""
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes, of headers only so many and only for so long."""
        if self._refused:
            return
        if self._in_head and self._patience is None:
            self._wait_for_head()
        self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("")
        if self._head_bytes > _MOST_UNFINISHED_BYTES and not self._refused:
            self._refuse_head()

    def _parse(self, data: bytes) -> None:
        """Parse bytes, and go on where the parser would leave the connection to another protocol.

        It takes the head of such a request for all of it. So the head is parsed anew without the offer, by a parser
        that knows nothing of it, and then what follows.
        """
        left: bytes | memoryview = data
        while left:
            try:
                self.parser.feed_data(left)
            except httptools.HttpParserUpgrade as offer:
                left = memoryview(left)[offer.args[0] :]
                head = self._head_without_offer()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                self.parser.feed_data(head)
            else:
                return

    def _head_without_offer(self) -> bytes:
        line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([line, *headers, b"", b""])

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        super().on_header(name, value)
        self._count(len(name) + len(value) + len(": \r\n"))

    def on_headers_complete(self) -> None:
        """Note that the head is there."""
        if self.parser.should_upgrade():
            self._set_offer_aside()
            return
        self._stop_waiting()
        if not self.url.startswith(b"/"):
            self.url = _with_path(self.url)
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # the client would take our 100 for the answer
        self.scope["extensions"] = {Departure.EXTENSION: self._departure}  # pyright: ignore[reportGeneralTypeIssues] - an object, not a dict, as only we read it
        super().on_headers_complete()
        self._in_head, self._head_bytes, self._counted_bytes = False, 0, 0
        if self._last and self.cycle:
            self.cycle.keep_alive = False

    def _set_offer_aside(self) -> None:
        """Do nothing, as the same head comes again without the offer. A tunnel is all that a CONNECT asks for."""
        self._counted_bytes = 0
        if self.parser.get_method() == b"CONNECT":
            words = f"CONNECT is not allowed here, this is no proxy; allowed: {METHODS}"
            self._refuse(ErrorCode.METHOD_NOT_ALLOWED, words)
            raise ValueError  # stops the parser

    def keep_no_longer(self) -> None:
        """End the connection with the reply that is being made, or else with the next one, and say so in its head."""
        self._last = True
        if self.cycle:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the next bytes begin another request."""
        if self.parser.should_upgrade():
            return
        self._in_head, self._head_bytes, self._counted_bytes = True, 0, 0  # a chunked body can end with headers, too
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._stop_waiting()
        super().connection_lost(exc)
        self._departure.happen()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words, as text/plain
        """Refuse what is no HTTP, and end the connection."""
        if self._refused:
            return
        words = "this is not valid HTTP/1.1"
        if self.parser.get_method() == b"PRI":
            words = "HTTP/2 is not spoken here; use HTTP/1.1"
        self._refuse(ErrorCode.INVALID_REQUEST, words)

    def _count(self, size: int) -> None:
        self._counted_bytes += size
        if self._counted_bytes > _MOST_HEAD_BYTES:
            self._refuse_head()
            raise ValueError  # stops the parser: nothing of this request is to reach the application

    def _refuse_head(self) -> None:
        self._refuse(ErrorCode.HEADERS_TOO_LARGE, f"more than {_MOST_HEAD_BYTES} bytes of URL and headers")

    def _wait_for_head(self) -> None:
        self._patience = self.loop.call_later(_HEAD_SECONDS, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        if self.cycle and not self.cycle.response_complete:
            self._wait_for_head()  # an answer is on its way, and the client sends its next request already
        elif self._head_bytes:
            self._refuse(ErrorCode.REQUEST_TIMEOUT, f"the headers did not arrive within {_HEAD_SECONDS:g} s")
        else:
            self.transport.close()

    def _refuse(self, code: ErrorCode, message: str) -> None:
        """Answer the request that is being read, after the replies to those before it, and end the connection."""
        self._refused = True
        refusal = _Refusal(code, message)
        if self._in_head and self.cycle and not self.cycle.response_complete:
            self.keep_no_longer()  # a reply is on its way, which ours would cut in two
        elif self._in_head:
            self._end_with(refusal)
        else:
            self._refuse_body(refusal)

    def _refuse_body(self, refusal: "_Refusal") -> None:
        """Refuse a request that the application knows already."""
        if self.cycle.response_complete:
            self.transport.close()
        elif self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline[0] = (self.cycle, refusal)
        elif self.cycle.response_started:
            self.keep_no_longer()
        else:
            self.cycle.disconnected = True  # whoever waits for the body is told so, and answers nobody
            self.cycle.message_event.set()
            self._end_with(refusal)

    def _end_with(self, refusal: "_Refusal") -> None:
        self.transport.write(refusal.raw())
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)


class _Refusal:
    """What a connection ends with: written as it is, or in its turn, as an application."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        self._status = HTTPStatus(KINDS[code].status)
        self._body = msgspec.json.encode(error_body(code, message))
        self._headers = [
            (b"content-type", b"application/json"),
            (b"connection", b"close"),
            (b"content-length", b"%d" % len(self._body)),
            (REQUEST_ID_HEADER.encode(), b"req_%s" % secrets.token_hex(12).encode()),
        ]
        if code is ErrorCode.METHOD_NOT_ALLOWED:
            self._headers.append((b"allow", METHODS.encode()))

    def raw(self) -> bytes:
        """Return the bytes of the answer."""
        line = f"HTTP/1.1 {self._status} {self._status.phrase}".encode()
        return b"\r\n".join([line, *(b"%s: %s" % header for header in self._headers), b"", self._body])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - an ASGI application
        """Send the answer."""
        await send({"type": "http.response.start", "status": self._status.value, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


def _with_path(url: bytes) -> bytes:
    """Return ``url``, an absolute one, with the path that it has left out."""
    parts = httptools.parse_url(url)
    return url if parts.path else b"/" + (b"?" + parts.query if parts.query else b"")
