"""HTTP/1.1 to a pod: replies as they come over the wire, whole, in pieces, cut off, or nonsense."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from imagegen_router.errors import BadReply, ConnectFailed, ConnectionLost
from imagegen_router.upstream import Connection, Pool

REQUEST = b"POST / HTTP/1.1\r\nhost: pod\r\ncontent-length: 2\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def pod(handle: Handle, use: Callable[[Pool], Awaitable[Any]]) -> Any:
    """Serve connections with ``handle`` and return what ``use`` makes of the pool."""
    handling: set[asyncio.Task[None]] = set()

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        handling.add(task)
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the router went
        finally:
            writer.close()

    async def scene() -> Any:
        server = await asyncio.start_server(keep, "127.0.0.1", 0)
        pool = Pool("127.0.0.1", server.sockets[0].getsockname()[1], 2.0)
        try:
            async with asyncio.timeout(20):
                return await use(pool)
        finally:
            pool.close()
            server.close()
            for task in handling:
                task.cancel()
            await asyncio.gather(*handling, return_exceptions=True)
            await asyncio.sleep(0)

    return asyncio.run(scene())


def answering(*parts: bytes, close: bool = False) -> Handle:
    """Return a pod that answers every request with these writes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(len(REQUEST) + 2):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)  # each part is a write of its own
            if close:
                break
        writer.close()

    return handle


async def ask(pool: Pool) -> tuple[int, bytes]:
    """Send a request and return status and body of the reply."""
    connection = await pool.connect()
    try:
        await connection.send(REQUEST, b"{}")
        await connection.head()
        return connection.status, await whole(connection)
    finally:
        pool.give_back(connection)


async def whole(connection: Connection) -> bytes:
    pieces: list[bytes] = []
    while piece := await connection.read():
        pieces.append(piece)
    return b"".join(pieces)


BIG = bytes(range(256)) * 8192

REPLIES: dict[str, tuple[Sequence[bytes], bytes]] = {
    "of known length": ([LENGTH % 5 + b"hello"], b"hello"),
    "of nothing": ([LENGTH % 0], b""),
    "head and body apart": ([LENGTH % 5, b"hello"], b"hello"),
    "byte by byte": ([bytes([byte]) for byte in LENGTH % 5 + b"hello"], b"hello"),
    "of two megabytes": ([LENGTH % len(BIG) + BIG], BIG),
    "in chunks": (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", b"2\r\nlo\r\n0\r\n\r\n"],
        b"hello",
    ),
    "after a hint": ([b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", LENGTH % 2 + b"ok"], b"ok"),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_comes_whole(name: str) -> None:
    parts, body = REPLIES[name]

    async def twice(pool: Pool) -> list[tuple[int, bytes]]:
        return [await ask(pool), await ask(pool)]

    assert pod(answering(*parts), twice) == [(200, body)] * 2


def test_a_connection_is_used_again() -> None:
    made: list[object] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(writer)
        await answering(LENGTH % 2 + b"ok")(reader, writer)

    async def five(pool: Pool) -> None:
        for _ in range(5):
            await ask(pool)

    pod(handle, five)
    assert len(made) == 1


def test_a_connection_that_the_pod_ends_is_not_used_again() -> None:
    async def thrice(pool: Pool) -> list[tuple[int, bytes]]:
        return [await ask(pool) for _ in range(3)]

    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    assert pod(answering(head, close=True), thrice) == [(200, b"ok")] * 3


@pytest.mark.parametrize("parts", [[LENGTH % 2, b"ok and more"], [LENGTH % 2 + b"ok and more"]])
def test_what_follows_a_reply_is_not_the_next_one(parts: list[bytes]) -> None:
    made: list[object] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(writer)
        await answering(*parts)(reader, writer)

    async def twice(pool: Pool) -> list[tuple[int, bytes]]:
        return [await ask(pool), await ask(pool)]

    assert pod(handle, twice) == [(200, b"ok")] * 2
    assert len(made) == 2


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        pytest.param([], ConnectionLost, id="nothing"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Le"], ConnectionLost, id="half a head"),
        pytest.param([LENGTH % 100 + b"half"], ConnectionLost, id="half a body"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"], ConnectionLost, id="half a chunk"
        ),
        pytest.param([b"SSH-2.0-OpenSSH_9.2\r\n"], BadReply, id="no HTTP"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\nno end"], BadReply, id="neither length nor chunks"),
        pytest.param([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000], BadReply, id="no end of headers"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"], BadReply, id="a length in words"),
    ],
)
def test_what_is_no_whole_reply_is_an_error(parts: list[bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        pod(answering(*parts, close=True), ask)


def test_no_connection_is_an_error_of_its_own() -> None:
    async def gone() -> None:
        listening = await asyncio.start_server(answering(), "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        listening.close()
        await Pool("127.0.0.1", port, 2.0).connect()

    with pytest.raises(ConnectFailed, match="no connection: "):
        asyncio.run(gone())


def test_a_reply_that_nobody_reads_is_not_taken_from_the_wire() -> None:
    """Memory is bounded: a pod that writes 64 MB to a client that stands still is stopped after some hundred KB."""
    written = [0]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(LENGTH % (64 << 20))
        for _ in range(64):
            writer.write(bytes(1 << 20))
            await writer.drain()
            written[0] += 1 << 20

    async def stand_still(pool: Pool) -> int:
        connection = await pool.connect()
        await connection.send(REQUEST, b"{}")
        await connection.head()
        before = -1
        while before != written[0]:
            before = written[0]
            await asyncio.sleep(0.2)
        connection.close()
        return connection.held_bytes

    assert pod(handle, stand_still) < 1 << 20
    assert written[0] < 32 << 20, "the rest is in the system's buffers"


def test_closing_tells_the_pod() -> None:
    ended = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        try:
            while await reader.read(1000):
                pass
        finally:
            ended.set()

    async def leave(pool: Pool) -> None:
        connection = await pool.connect()
        await connection.send(REQUEST, b"{}")
        await asyncio.sleep(0.05)
        connection.close()
        await ended.wait()

    pod(handle, leave)
