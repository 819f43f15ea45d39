"""HTTP/1.1 to a pod: kept connections, replies passed on in the pieces in which they came.

Own code, because a reply of megabytes is nearly all that a router does: a general client copies it two or three times
and costs more than the rest of a request together. What is here is what our servers need: one request at a time on a
connection, bodies with a length or in chunks. The parser is httptools, as in uvicorn; a body of known length passes it
by. Memory is bounded: a connection whose reply is not read away is not read from.
"""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import httptools

from imagegen_router.errors import BadReply, ConnectFailed, ConnectionLost, StaleConnection

Headers = Sequence[tuple[bytes, bytes]]

_HIGH_BYTES = 256 * 1024
"""So much of a reply is held before its connection is read no further."""

_MOST_HEAD_BYTES = 64 * 1024
_LINE_BYTES = 4
"""Of a header: the colon, the space, and the end of its line."""

_KEPT_SECONDS = 60.0
"""A connection that was idle for longer is not used again: our servers close theirs after 75 s."""

_STALE_SECONDS = 0.5
"""A kept connection that ends so soon after a request was sent on it had been closed before, most likely."""

_KEPT = 32
_BODILESS = frozenset({204, 304})
_DEAD_SECONDS = 20
"""The system gives up a connection whose other end does not acknowledge for as long: nothing else shows that a node
vanished."""


class Connection(asyncio.Protocol):
    """One connection. After ``send`` the reply is read by ``head``, then by ``read`` until it returns nothing."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.reused = False
        """Whether it served another request before."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.length: int | None = None
        """Of the body, None when it comes in chunks."""
        self.begun = False
        """Whether a byte of the reply has come."""
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._raw = 0
        """Bytes of a body of known length that are still to come and need no parser."""
        self._head_bytes = 0
        self._received = 0
        self._headed = False
        self._complete = True
        self._keeps = True
        self._paused = False
        self._sent_at = 0.0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Event = asyncio.Event()
        self._writable.set()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        _watch_over(self._transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Take bytes of the reply."""
        if self._complete:
            self._fail(BadReply("bytes that nobody asked for"))
            return
        self.begun = True
        if self._raw:
            self._take_raw(data)
        else:
            self._parse(data)
        if self._held > _HIGH_BYTES and not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def pause_writing(self) -> None:
        """Have ``send`` wait: the pod reads slower than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let ``send`` go on."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._writable.set()
        words = f"the connection ended{f': {exc}' if exc else ''}"
        stale = self.reused and not self.begun and time.monotonic() - self._sent_at < _STALE_SECONDS
        self._fail(StaleConnection(words) if stale else ConnectionLost(words))

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._head_bytes += len(name) + len(value) + _LINE_BYTES
        if self._head_bytes > _MOST_HEAD_BYTES:
            raise BadReply(f"more than {_MOST_HEAD_BYTES} bytes of headers")
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Note what the head says."""
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue and 103 Early Hints come before the reply
            self.headers.clear()
            return
        self.status = status
        self._keeps = self._parser.should_keep_alive()
        lengths = [value for name, value in self.headers if name == b"content-length"]
        chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
        if not lengths and not chunked and status not in _BODILESS:
            raise BadReply("a reply of neither a known length nor in chunks")
        if lengths and not lengths[0].isdigit():
            raise BadReply("a length that is no number")
        self.length = int(lengths[0]) if lengths else None
        self._headed = True

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._received += len(body)
        self._hold(body)

    def on_message_complete(self) -> None:
        """Note that the reply is whole."""
        if self._headed:
            self._complete = True

    # What the forwarder calls.

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._error is None and self._complete and self._keeps and not self._pieces

    @property
    def drained(self) -> bool:
        """Whether the reply is whole and all of it was read."""
        return self._complete and not self._pieces

    @property
    def held_bytes(self) -> int:
        """Bytes of the reply that came and were not read."""
        return self._held

    async def send(self, head: bytes, body: bytes) -> None:
        """Send a request. Raise ConnectionLost."""
        if self._error is not None or self._transport is None:
            raise StaleConnection("the connection ended") if self.reused else ConnectionLost("the connection ended")
        self.status, self.headers, self.length = 0, [], None
        self.begun = self._headed = self._complete = False
        self._head_bytes = self._raw = self._received = 0
        self._sent_at = time.monotonic()
        self._transport.writelines((head, body)) if body else self._transport.write(head)
        await self._writable.wait()

    async def head(self) -> None:
        """Wait until status and headers are there. Raise ConnectionLost or BadReply."""
        while not self._headed:
            await self._wait()

    async def read(self) -> bytes:
        """Return the next piece of the body, nothing at its end. Raise ConnectionLost or BadReply."""
        while not self._pieces:
            if self._complete:
                return b""
            await self._wait()
        piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._paused and self._held <= _HIGH_BYTES // 2 and self._transport:
            self._paused = False
            self._transport.resume_reading()
        return piece

    def close(self) -> None:
        """Close at once, whatever is on it: the pod sees that nobody waits any more."""
        if self._transport:
            self._transport.abort()

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            # What a callback raises comes wrapped.
            ours = error.__context__ if isinstance(error.__context__, BadReply) else None
            self._fail(ours or BadReply(f"this is no HTTP/1.1: {error}"))
            return
        if self._headed and self.length is not None and not self._complete:
            self._raw = self.length - self._received

    def _take_raw(self, data: bytes) -> None:
        ours, beyond = data[: self._raw], len(data) > self._raw
        self._raw -= len(ours)
        self._hold(ours)
        if not self._raw:
            self._parser = httptools.HttpResponseParser(self)  # the old one still waits for that body
            self._complete = True
        if beyond:
            # The reply is what its length says. What comes after it belongs to nobody, nor does the connection now.
            self._fail(BadReply("more bytes than the reply's length"))

    def _hold(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held += len(piece)

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        if self._transport:
            self._transport.abort()
        self._wake()


def _watch_over(connected: Any) -> None:
    """Have the system notice a pod that vanished without a word."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 5),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", _DEAD_SECONDS * 1000),
    ):
        if option := getattr(socket, name, None):
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


class Pool:
    """The connections to one pod."""

    def __init__(self, host: str, port: int, connect_seconds: float) -> None:
        self._host = host
        self._port = port
        self._connect_seconds = connect_seconds
        self._idle: deque[Connection] = deque()

    async def connect(self) -> Connection:
        """Return a connection with nothing on it. Raise ConnectFailed."""
        while self._idle:
            kept = self._idle.pop()
            if kept.usable and time.monotonic() - kept.idle_since < _KEPT_SECONDS:
                kept.reused = True
                return kept
            kept.close()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, made = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
                return made
        except TimeoutError:
            raise ConnectFailed(f"no connection within {self._connect_seconds:g} s") from None
        except OSError as error:
            raise ConnectFailed(f"no connection: {error.strerror or error}") from None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, if it can take one."""
        if not connection.usable or len(self._idle) >= _KEPT:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()
