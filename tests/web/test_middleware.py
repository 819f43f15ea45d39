"""The request context around the application: ids, counts and log lines, whatever happens inside."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import httpx
import pytest

from imagegen_web.logs import REQUEST_ID
from imagegen_web.middleware import RequestContext
from server_process import ServerProcess

SENT = "trace-1.2_3"


class Tiny:
    """An ASGI application of one answer; ``seen`` is the request id that the code inside saw."""

    def __init__(self, status: int = 200, error: BaseException | None = None, code: str = "") -> None:
        self.seen = ""
        self._status, self._error, self._code = status, error, code

    async def __call__(self, scope: Any, _receive: object, send: Any) -> None:
        """Answer."""
        self.seen = REQUEST_ID.get()
        scope["state"]["error_code"] = self._code
        if self._error is not None:
            raise self._error
        await send({"type": "http.response.start", "status": self._status, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": b""})


def ask(
    app: Tiny, path: str = "/v1/models", headers: Sequence[tuple[bytes, bytes]] = ()
) -> tuple[list[tuple[str, int, str]], dict[bytes, bytes]]:
    """Send one request; return what was counted and the headers of the answer."""
    counted: list[tuple[str, int, str]] = []
    sent: list[dict[str, Any]] = []

    def observe(route: str, status: int, code: str, seconds: float) -> None:
        assert seconds >= 0
        counted.append((route, status, code))

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def run() -> None:
        scope: Any = {"type": "http", "http_version": "1.1", "method": "GET", "path": path, "headers": list(headers)}
        await RequestContext(app, observe)(scope, receive, send)  # pyright: ignore[reportArgumentType] - a tiny application is one
        assert REQUEST_ID.get() == ""

    asyncio.run(run())
    return counted, dict(sent[0]["headers"])


def test_a_client_keeps_its_own_request_id() -> None:
    app = Tiny()
    _, headers = ask(app, headers=[(b"x-request-id", SENT.encode())])
    assert headers == {b"x-own": b"1", b"x-request-id": SENT.encode()}
    assert app.seen == SENT


UNFIT = {
    "none": None,
    "an empty one": b"",
    "one with a line break": b"a\nb",
    "one with a space": b"a b",
    "one that is too long": b"a" * 129,
    "one that is no text": b"\xff\xfe",
}


@pytest.mark.parametrize("sent", UNFIT.values(), ids=UNFIT)
def test_a_request_without_a_fit_id_gets_a_new_one(sent: bytes | None) -> None:
    app = Tiny()
    headers = [] if sent is None else [(b"x-request-id", sent)]
    made = {ask(app, headers=headers)[1][b"x-request-id"] for _ in range(5)}
    assert len(made) == 5
    assert all(each.startswith(b"req_") and each.decode().isprintable() for each in made)
    assert app.seen.encode() in made


ROUTES = {
    "/v1/images/generations": "/v1/images/generations",
    "/readyz": "/readyz",
    "/": "/",
    "/v1/models/acme/one": "/v1/models/{model}",
    "/v1/models/anything else": "/v1/models/{model}",
    "/wp-admin.php": "other",
    "/docs/swagger-ui.css": "other",
    "/v1/images/generations/": "/v1/images/generations",
    "//v1//images/generations": "/v1/images/generations",
    "/v1/images/./generations": "other",
}


@pytest.mark.parametrize(("path", "route"), ROUTES.items())
def test_requests_are_counted_by_a_route_of_few_values(path: str, route: str) -> None:
    assert ask(Tiny(404), path)[0] == [(route, 404, "")]


def test_an_error_is_counted_with_its_code() -> None:
    assert ask(Tiny(429, code="queue_full"))[0] == [("/v1/models", 429, "queue_full")]


def test_a_request_that_blows_up_is_counted_and_leaves_no_id_behind() -> None:
    counted: list[int] = []

    async def run() -> None:
        scope: Any = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "headers": []}
        context = RequestContext(
            Tiny(error=KeyError("x")), lambda _route, status, _code, _seconds: counted.append(status)
        )  # pyright: ignore[reportArgumentType] - a tiny application is one
        with pytest.raises(KeyError):
            await context(scope, None, None)  # pyright: ignore[reportArgumentType] - never called
        assert REQUEST_ID.get() == ""

    asyncio.run(run())
    assert counted == [0]


QUIET = {
    "a probe that is well is not logged": ("/readyz", 200, logging.DEBUG),
    "a probe that fails is logged": ("/readyz", 503, logging.INFO),
    "a request is logged": ("/v1/models", 200, logging.INFO),
}


@pytest.mark.parametrize(("path", "status", "level"), QUIET.values(), ids=QUIET)
def test_what_is_logged(path: str, status: int, level: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "imagegen.access"):
        ask(Tiny(status), path)
    (record,) = caplog.records
    assert (record.levelno, vars(record)["path"], vars(record)["status"]) == (level, path, status)


def test_parallel_requests_keep_their_ids_apart() -> None:
    class Slow(Tiny):
        async def __call__(self, scope: Any, receive: object, send: Any) -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            scope["seen"] = REQUEST_ID.get()
            await super().__call__(scope, receive, send)

    async def ignore(_: Any) -> None: ...

    async def run() -> list[dict[str, Any]]:
        scopes: list[dict[str, Any]] = [
            {
                "type": "http",
                "http_version": "1.1",
                "method": "GET",
                "path": "/",
                "headers": [(b"x-request-id", f"id-{index}".encode())],
            }
            for index in range(10)
        ]
        context = RequestContext(Slow(), lambda _route, _status, _code, _seconds: None)  # pyright: ignore[reportArgumentType] - a tiny application is one
        await asyncio.gather(*(context(scope, None, ignore) for scope in scopes))  # pyright: ignore[reportArgumentType] - plain dictionaries are scopes
        return scopes

    assert [scope["seen"] for scope in asyncio.run(run())] == [f"id-{index}" for index in range(10)]


def test_every_answer_of_a_server_has_an_id_also_those_that_no_route_gives(server: ServerProcess) -> None:
    def ids(headers: Iterable[tuple[str, str]]) -> list[str]:
        return [value for name, value in headers if name == "x-request-id"]

    for path in ("/healthz", "/nowhere", "/v1/models/nobody", "/docs"):
        answer = httpx.get(f"{server.url}{path}", headers={"x-request-id": SENT}, timeout=30)
        assert ids(answer.headers.multi_items()) == [SENT], path
    assert len(ids(server.post(b"{").headers.multi_items())) == 1
