"""A request that wants a stream: it is shown that it is alive while it waits, and everything fits into one reply.

The head of the reply goes out after some seconds of waiting only, so that an early failure keeps its status. After
that a failure is an event: the one form of which the openai SDK makes an error.
"""

import asyncio

from litestar.types import Send

from imagegen_contract.errors import ErrorCode
from imagegen_router.dispatch import Request
from imagegen_router.errors import UpstreamError
from imagegen_router.forwarder import Forwarder, Outgoing, Reply
from imagegen_router.replies import pass_on
from imagegen_web.errors import ApiError
from imagegen_web.responses import error_content

_SILENT_SECONDS = 2.0
_COMMENT_SECONDS = 5.0
_HEAD = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
"""The last one keeps nginx, as an ingress, from holding the events back."""


class Stream:
    """One streaming request."""

    def __init__(self, forwarder: Forwarder, send: Send) -> None:
        self._forwarder = forwarder
        self._send = send
        self._begun = False

    async def serve(self, request: Request, outgoing: Outgoing) -> None:
        """Answer it. Raises ApiError as long as nothing was sent."""
        sending = asyncio.ensure_future(self._forwarder.send(request, outgoing))
        try:
            await self._show_life(sending, request)
            reply = await sending
        except ApiError as error:
            if not self._begun:
                raise
            await self._fail(error_content(error))
            return
        finally:
            sending.cancel()
        if self._begun:
            await self._continue(reply)
        else:
            await pass_on(reply, self._send)

    async def _show_life(self, sending: "asyncio.Future[Reply]", request: Request) -> None:
        done, _ = await asyncio.wait({sending}, timeout=_SILENT_SECONDS)
        while not done:
            if not self._begun:
                await self._send({"type": "http.response.start", "status": 200, "headers": _HEAD})
                self._begun = True
            await self._event(_comment(self._forwarder.place(request)))
            done, _ = await asyncio.wait({sending}, timeout=_COMMENT_SECONDS)

    async def _continue(self, reply: Reply) -> None:
        """Pass on what comes after our own head and comments."""
        try:
            if reply.status != 200:
                await self._fail(await _whole(reply))
                return
            while piece := await reply.read():
                await self._event(piece)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        except UpstreamError as error:
            await self._fail(error_content(ApiError(ErrorCode.UPSTREAM_FAILED, f"the pod was lost: {error}")))
        finally:
            reply.close()

    async def _event(self, content: bytes) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def _fail(self, body: bytes) -> None:
        await self._event(b"data: %s\n\ndata: [DONE]\n\n" % body.replace(b"\n", b" "))
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def _whole(reply: Reply) -> bytes:
    pieces: list[bytes] = []
    while piece := await reply.read():
        pieces.append(piece)
    return b"".join(pieces)


def _comment(place: tuple[int, float] | None) -> bytes:
    """Return where a request is: how many are before it and for how long, or that it runs."""
    if place is None:
        return b": running\n\n"
    before, seconds = place
    return b": queued %d eta %.1fs\n\n" % (before, seconds)
