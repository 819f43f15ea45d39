"""POST /v1/images/generations, from the first byte of a request to the last one of its reply.

Plain ASGI beside Litestar, whose routing would cost as much again as all that is done here for a small reply.
"""

import asyncio
import itertools
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, cast

from litestar.types import HTTPScope, Receive, Send

from imagegen_contract import names
from imagegen_contract.errors import ErrorCode
from imagegen_router.directory import Directory, Model
from imagegen_router.dispatch import Request
from imagegen_router.forwarder import Forwarder, Outgoing
from imagegen_router.keys import Client, Keys
from imagegen_router.reading import read_facts
from imagegen_router.replies import HOP_BY_HOP, OURS, Headers, pass_on
from imagegen_router.settings import RouterSettings
from imagegen_router.streaming import Stream
from imagegen_web.errors import ApiError, ClientGone
from imagegen_web.protocol import Departure
from imagegen_web.requests import header, listed, read_body, request_timeout
from imagegen_web.responses import CLIENT_CLOSED_REQUEST, error_content, error_headers

PATH = "/v1/images/generations"
_ALLOWED = "OPTIONS, POST"

_NOT_TO_PODS = HOP_BY_HOP | {
    b"host",
    b"authorization",
    b"cookie",
    b"content-length",
    b"expect",
    names.REQUEST_ID_HEADER.encode(),
    names.REQUEST_TIMEOUT_HEADER.encode(),
}


class Generations:
    """The route."""

    def __init__(self, settings: RouterSettings, keys: Keys | None, directory: Directory, forwarder: Forwarder) -> None:
        self._settings = settings
        self._keys = keys
        self._directory = directory
        self._forwarder = forwarder
        self._numbers = itertools.count(1)
        self.active = 0
        """Requests that are here: waiting, running, or being answered."""

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.active += 1
        try:
            if scope["method"] == "OPTIONS":
                await _allow(send)
                return
            with self._admitted(scope) as client:
                await self._serve(scope, receive, send, client)
        except ApiError as error:
            await refuse(scope, send, error)
        except ClientGone:
            scope["state"]["error_code"] = "client_gone"
            await _answer(send, CLIENT_CLOSED_REQUEST, [], b"")
        finally:
            self.active -= 1

    @contextmanager
    def _admitted(self, scope: HTTPScope) -> Generator[str]:
        """Check method and key; yield the client's id, "" for everybody without a key."""
        if scope["method"] != "POST":
            raise ApiError(
                ErrorCode.METHOD_NOT_ALLOWED, f"{scope['method']} is not allowed here; allowed: OPTIONS, POST"
            )
        if self._keys is None:
            yield ""
            return
        client: Client = self._keys.client(header(scope, b"authorization"))
        client.enter(_now())
        try:
            yield client.key.id
        finally:
            client.leave()

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send, client: str) -> None:
        settings, arrived = self._settings, _now()
        timeout = request_timeout(header(scope, names.REQUEST_TIMEOUT_HEADER.encode()), settings.request_timeout)
        body = await read_body(scope, receive, settings.body_timeout, settings.max_body_bytes)
        facts = read_facts(body)
        model = self._directory.find(facts.model)
        request = Request(
            number=next(self._numbers),
            model=model.key,
            client=client,
            rows=facts.rows,
            shape=facts.shape(model.spec, self._directory.pixels(model)),
            size=len(body),
            arrived=arrived,
            timeout=timeout,
            hold_seconds=settings.hold_stream_seconds if facts.stream else settings.hold_seconds,
        )
        outgoing = Outgoing(_head(scope, model, len(body)), body)
        with _until_gone(scope):
            if facts.stream:
                await Stream(self._forwarder, send).serve(request, outgoing)
            else:
                await pass_on(await self._forwarder.send(request, outgoing), send)


async def refuse(scope: HTTPScope, send: Send, error: ApiError) -> None:
    """Answer with an error."""
    scope["state"]["error_code"] = error.code.value
    headers = {"content-type": "application/json", **error_headers(error)}
    if error.code is ErrorCode.METHOD_NOT_ALLOWED:
        headers["allow"] = _ALLOWED
    await _answer(send, error.status, [(k.encode(), v.encode()) for k, v in headers.items()], error_content(error))


def _head(scope: HTTPScope, model: Model, length: int) -> bytes:
    """Return request line and headers for the pod, without the end: the time that is left comes last."""
    lines = [b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: imagegen\r\ncontent-length: %d" % length]
    # What Connection names is for the next one alone, and that is here.
    ours = _NOT_TO_PODS.union(name.encode("latin-1") for name in listed(scope, b"connection"))
    lines += [
        b"%s: %s" % (name, value) for name, value in scope["headers"] if name not in ours and not name.startswith(OURS)
    ]
    lines.append(b"%s: %s" % (names.REQUEST_ID_HEADER.encode(), scope["state"]["request_id"].encode()))
    lines.append(b"%s: %s\r\n" % (names.MODEL_HEADER.encode(), model.spec.id.encode()))
    return b"\r\n".join(lines)


async def _allow(send: Send) -> None:
    headers = [(b"allow", _ALLOWED.encode())]
    await send({"type": "http.response.start", "status": HTTPStatus.NO_CONTENT, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@contextmanager
def _until_gone(scope: HTTPScope) -> Generator[None]:
    """Cancel what is done within when the client leaves, and raise ClientGone."""
    departure: Departure = cast("Any", scope)["extensions"][Departure.EXTENSION]
    working = cast("asyncio.Task[Any]", asyncio.current_task())
    if departure.happened:
        raise ClientGone
    departure.told.add(working.cancel)
    try:
        yield
    except asyncio.CancelledError:
        if not departure.happened or working.uncancel():
            raise
        raise ClientGone from None
    finally:
        departure.told.discard(working.cancel)


def _now() -> float:
    return asyncio.get_running_loop().time()
