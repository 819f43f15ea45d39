"""What every request gets, also those that no route takes: one form of its path, an id, a log line, a count."""

import asyncio
import contextlib
import logging
import random
import re
import time
from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import (
    ASGIApp,
    HTTPReceiveMessage,
    HTTPScope,
    Message,
    Receive,
    Scope,
    Send,
    WebSocketReceiveMessage,
)

from imagegen_contract.names import REQUEST_ID_HEADER
from imagegen_web.logs import REQUEST_ID
from imagegen_web.paths import canonical

_LOG = logging.getLogger("imagegen.access")

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_IDS = random.Random()  # noqa: S311 - ids are no secrets; the system's randomness costs a call of the system each time
_HEADER = REQUEST_ID_HEADER.encode()
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/status"})
"""Asked every second or so by machines: logged only when they fail."""

_LINGER_SECONDS = 2.0
"""How long the rest of a refused body is read, where the connection ends with the answer."""

Observe = Callable[[str, int, str, float], None]
"""Called with route, status, error code ("" for none) and seconds."""


class RequestContext:
    """Wraps the whole ASGI application."""

    def __init__(self, app: ASGIApp, observe: Observe) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        scope["path"] = canonical(scope["path"])
        request_id = _request_id(scope)
        token = REQUEST_ID.set(request_id)
        scope["state"] = {"request_id": request_id}
        started, status, unread = time.monotonic(), 0, _closes(scope)

        async def receive_noting() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            nonlocal unread
            message = await receive()
            unread = unread and message.get("more_body", False)
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if unread:
                    await _read_rest(receive)
                message["headers"] = [*message["headers"], (_HEADER, request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive_noting, send_with_id)
        finally:
            self._done(scope, status, time.monotonic() - started)
            REQUEST_ID.reset(token)

    def _done(self, scope: HTTPScope, status: int, seconds: float) -> None:
        path, code = scope["path"], scope["state"].get("error_code", "")
        self._observe(_route(path), status, code, seconds)
        level = logging.DEBUG if path in _QUIET and status < 400 else logging.INFO
        if not _LOG.isEnabledFor(level):
            return
        facts = {"path": path[:200], "status": status, "seconds": round(seconds, 3), **({"code": code} if code else {})}
        _LOG.log(level, "request", extra={"method": scope["method"], **facts})


def _closes(scope: HTTPScope) -> bool:
    """Return whether the connection ends with the answer, except where the client waits to be asked for its body."""
    headers = dict(scope["headers"])
    closing = scope["http_version"] == "1.0" or headers.get(b"connection", b"").lower() == b"close"
    return closing and b"expect" not in headers


async def _read_rest(receive: Receive) -> None:
    """Read what is left of the body: closed with unread bytes, a connection is reset, and that may undo the answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass


def _request_id(scope: HTTPScope) -> str:
    """Return the client's id when it is one that a log can hold, else a new one."""
    sent = next((value for name, value in scope["headers"] if name == _HEADER), b"").decode("latin-1")
    return sent if _ACCEPTED_ID.fullmatch(sent) else f"req_{_IDS.getrandbits(96):024x}"


def _route(path: str) -> str:
    """Return a label with few values: paths are the client's to choose, series are ours to keep few."""
    if path in _QUIET or path in {"/v1/images/generations", "/v1/models", "/docs", "/openapi.json", "/"}:
        return path
    return "/v1/models/{model}" if path.startswith("/v1/models/") else "other"
