"""Listening: uvicorn as our programs use it."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Generator
from typing import cast

import uvicorn
from litestar.types import ASGIApp

from imagegen_web.protocol import HttpProtocol

_KEEP_ALIVE_SECONDS = 75
"""Longer than a client's pool keeps an idle connection, so that we never close one just as it is used again."""

_LAST_BYTES_SECONDS = 10
"""After the drain: time for the last replies to reach slow readers."""

_LAST_REQUEST_SECONDS = 2.0
"""Busy clients send their next request within that; idle ones look before they use a connection again."""

_CHECK_SECONDS = 0.05

_BACKLOG = 2048


class ListenError(RuntimeError):
    """The address cannot be listened on; the message says why."""


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: a program says itself when it drains and when it leaves."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(_config(app))

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to the process."""
        yield

    async def send_elsewhere(self) -> None:
        """Take no further connection, and tell each client with its next reply to go: it connects anew, elsewhere.

        A connection that waits for nothing has a moment for a last request, which may be on its way: closed at once,
        a client would have to find out whether it was served.
        """
        for listening in self.servers:
            listening.close()
        connections = self.server_state.connections
        for connection in list(connections):
            cast("HttpProtocol", connection).keep_no_longer()
        try:
            async with asyncio.timeout(_LAST_REQUEST_SECONDS):
                while connections:  # noqa: ASYNC110 - only while shutting down, 20 times a second
                    await asyncio.sleep(_CHECK_SECONDS)
        except TimeoutError:
            pass  # what is left waits for nothing, or for a reply, which is the drain's to wait for


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType] - two libraries' names for the ASGI protocol
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,  # nothing here asks who the client is
        http=HttpProtocol,
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_LAST_BYTES_SECONDS,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raise ListenError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)  # pyright: ignore[reportArgumentType] - host and port, the first two of any address
    except OSError as error:
        # create_server adds the address to the system's words; only an unknown host has words of its own.
        words = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise ListenError(f"cannot listen on {host} port {port}: {words}") from None


def url_of(bound: socket.socket) -> str:
    """Return the address of a listening socket."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
