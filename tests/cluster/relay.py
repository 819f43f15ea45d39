"""TCP across the border of a network namespace, in both directions, without an interface on the host.

A socket belongs to the namespace of the thread that makes it, for good. One thread is inside and makes sockets; an
event loop outside uses them.
"""

import asyncio
import ctypes
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from cluster.ports import free_port

LOOPBACK = "127.0.0.1"

_CLONE_NEWNET = 0x40000000
_SECONDS = 20.0
_CHUNK = 65536

_Result = TypeVar("_Result")
_Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Relay:
    """Forwards between loopback outside and the network namespace of a process."""

    def __init__(self, pid: int) -> None:
        self._inside = ThreadPoolExecutor(1, "inside-namespace", initializer=_enter, initargs=(pid,))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._handling: set[asyncio.Task[None]] = set()

    def forward(self, host: str, port: int, *, listen: int | None = None) -> int:
        """Listen on loopback outside, pass connections to an address inside; return the port outside."""
        near = listen or free_port()
        listener = socket.create_server((LOOPBACK, near))
        self._do(self._serve(listener, lambda: self._connect_inside(host, port)))
        return near

    def expose(self, port: int, *, address: str, listen: int) -> None:
        """Listen on an address inside, pass connections to a port of loopback outside."""
        listener = self._inside.submit(socket.create_server, (address, listen)).result(_SECONDS)
        self._do(self._serve(listener, lambda: asyncio.open_connection(LOOPBACK, port)))

    def close(self) -> None:
        """End all listeners and connections."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()
        self._inside.shutdown()

    async def _serve(self, listener: socket.socket, connect: _Connect) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # A connection whose client has said all that it will say is in nobody's hands but its task's.
            task = cast("asyncio.Task[None]", asyncio.current_task())
            self._handling.add(task)
            try:
                with suppress(asyncio.CancelledError):  # asyncio.streams logs a cancelled handler as an error
                    await _join(reader, writer, connect)
            finally:
                self._handling.discard(task)

        self._servers.append(await asyncio.start_server(handle, sock=listener))

    async def _connect_inside(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(self._inside, socket.socket)
        made.setblocking(False)
        try:
            await loop.sock_connect(made, (host, port))
        except OSError:
            made.close()
            raise
        return await asyncio.open_connection(sock=made)

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connect: _Connect) -> None:
    """Copy both ways until both ends have ended; reset the client when there is nobody on the far side."""
    try:
        far_reader, far_writer = await connect()
    except OSError:
        writer.transport.abort()
        return
    try:
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
    finally:
        writer.transport.abort()
        far_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
            await writer.drain()
    except OSError:  # one end is gone, so the other one has nobody to speak to
        writer.transport.abort()


def _enter(pid: int) -> None:
    """Move this thread into the network namespace of a process (os.setns is there from Python 3.12 on)."""
    namespace = os.open(Path(f"/proc/{pid}/ns/net"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace of process {pid}")
    finally:
        os.close(namespace)
