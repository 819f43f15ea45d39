"""HTTP/1.1 as uvicorn speaks it, with what it leaves out: our error body for what its parser refuses before there is a
request, an end of headers, and of patience with a client that sends them byte by byte.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from imagegen_contract.errors import KINDS, ErrorCode, error_body
from imagegen_contract.names import REQUEST_ID_HEADER

_MOST_HEAD_BYTES = 64 * 1024
"""As proxies commonly take at most: of URL and headers, counted as the parser gives them, however they arrive."""

_MOST_UNFINISHED_BYTES = _MOST_HEAD_BYTES + 1024
"""The same for a head without an end, with its method, version and last line break."""

_HEAD_SECONDS = 20.0
"""From the first byte of a request to the end of its headers; from the connection to the first byte, too."""

_LINGER_SECONDS = 2.0
"""A client that is still sending sees the refusal; a connection closed at once would be reset under it."""

_REASONS = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


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
        """Of the chunks that came of a head that has not ended."""
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
        if self._in_head:
            if self._patience is None:
                self._wait_for_head()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _MOST_UNFINISHED_BYTES and not self._refused:
            self._refuse_head()

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
        self._in_head, self._head_bytes, self._counted_bytes = False, 0, 0
        self._stop_waiting()
        self.scope["extensions"] = {Departure.EXTENSION: self._departure}  # pyright: ignore[reportGeneralTypeIssues] - an object, not a dict, as only we read it
        super().on_headers_complete()
        if self._last and self.cycle:
            self.cycle.keep_alive = False

    def keep_no_longer(self) -> None:
        """End the connection with the reply that is being made, or else with the next one, and say so in its head."""
        self._last = True
        if self.cycle:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Note that the next bytes begin another request."""
        self._in_head, self._counted_bytes = True, 0  # a chunked body can end with headers, too
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._stop_waiting()
        super().connection_lost(exc)
        self._departure.happen()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words, as text/plain
        """Refuse what is no HTTP, and end the connection."""
        if not self._refused:
            self._refuse(ErrorCode.INVALID_REQUEST, "this is not valid HTTP/1.1")

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
        self._refused = True
        if self.cycle and not self.cycle.response_complete and not self.cycle.more_body:
            self.keep_no_longer()  # a reply is on its way, which ours would cut in two: the connection ends after it
            return
        status = KINDS[code].status
        body = msgspec.json.encode(error_body(code, message))
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
            "content-type: application/json\r\n"
            "connection: close\r\n"
            f"content-length: {len(body)}\r\n"
            f"{REQUEST_ID_HEADER}: req_{secrets.token_hex(12)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
