"""Pods that answer pictures in a way to order, right or wrong; their `/status` is that of a healthy server.

with pod(Answers(REFUSED, GOOD)) as one:
    one.url, one.requests
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from imagegen_contract.server_status import Capacity, ModelStatus, ServerStatus, Work

MODEL = "acme/one"
_SECONDS = 20.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Answers one request, which was read; closing the writer ends the connection."""


@dataclass
class PodRequest:
    """A generation request as a pod got it."""

    headers: dict[str, str]
    body: bytes


@dataclass
class StubPod:
    """A pod on loopback. ``answers`` are given one after the other, the last one for ever."""

    answers: list[Answer]
    free_rows: int = 10
    requests_at_once: int = 1
    silent: bool = False
    """Whether `/status` is left without an answer."""
    requests: list[PodRequest] = field(default_factory=list[PodRequest])
    disconnects: int = 0
    """Requests whose connection was closed by the router before they were answered."""
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes on one connection."""
        try:
            while head := await _head(reader):
                line, headers = head
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if line.startswith("GET"):
                    await self._tell(line.split()[1], writer)
                    continue
                self.requests.append(PodRequest(headers, body))
                await self.answers[min(len(self.requests), len(self.answers)) - 1](reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.disconnects += 1
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()

    async def _tell(self, path: str, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            await asyncio.sleep(3600)
        if path == "/status":
            status = healthy_status(MODEL, free_rows=self.free_rows, requests_at_once=self.requests_at_once)
            body = msgspec.json.encode(status)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()


def healthy_status(model: str, *, free_rows: int = 10, requests_at_once: int = 1) -> ServerStatus:
    """Return what an idle server says that has the model loaded."""
    return ServerStatus(
        version="1",
        state="ready",
        uptime_seconds=1.0,
        device="stub",
        models=(ModelStatus(id=model, state="ready"),),
        capacity=Capacity(
            running_rows=0,
            queued_rows=0,
            free_rows=free_rows,
            running_requests=0,
            queued_requests=0,
            requests_at_once=requests_at_once,
        ),
        work=Work(
            predicted_seconds=0.0,
            device_seconds_total=0.0,
            evaluations_total=0,
            images_total=0,
            last_step_age_seconds=None,
        ),
    )


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    pairs = (line.partition(":") for line in lines[1:] if line)
    return lines[0], {name.strip().lower(): value.strip() for name, _, value in pairs}


def reply(body: bytes = b'{"data":[]}', *, status: int = 200, **headers: str) -> bytes:
    """Return a whole reply; ``x_imagegen_started`` becomes a header's name."""
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sends(*parts: bytes, close: bool = False, after: float = 0.0) -> Answer:
    """Answer with these bytes, after some seconds; then close the connection if told."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after)
        for part in parts:
            writer.write(part)
            await writer.drain()
        if close:
            writer.close()
            raise ConnectionResetError

    return answer


async def stays_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing until the router goes away."""
    if not await reader.read(1):
        raise ConnectionResetError


GOOD = sends(reply())
REFUSES = sends(reply(b"{}", status=503, x_imagegen_started="0"))
"""As a pod that was full, or began to drain, in the moment when the request came."""


@contextmanager
def pod(*answers: Answer, requests_at_once: int = 1) -> Generator[StubPod]:
    """Run a pod in a thread of its own."""
    stub = StubPod(list(answers or (GOOD,)), requests_at_once=requests_at_once)
    loop = asyncio.new_event_loop()
    started = threading.Event()
    stopped = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
        stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stopped.wait()
        server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)  # a closed transport lets go of its socket in the loop's next turn

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert started.wait(_SECONDS)
        yield stub
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(_SECONDS)
        loop.close()
