"""The connections of the API proxy: requests forwarded, replies returned, faults between. All in one event loop."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from cluster.api_faults import Answer, CrashPoint, Delay, Faults, Hang, error_event
from cluster.api_requests import ApiRequest, Matcher, read_request

_LARGEST_BODY = 64 * 2**20
_LONGEST_LINE = 16 * 2**20
"""Of a watch: one object; the API server's own limit for one is 3 MiB."""

_WATCHES_SECONDS = 10.0
"""A watch that was asked for has begun to answer by then."""

_KEEP_ALIVE = 3600.0
_TLS_ENDS_SECONDS = 0.05
"""TLS connections that were closed end some turns of the loop later, and nothing tells of it."""

_OF_ONE_CONNECTION = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "trailer", "upgrade"}
)


@dataclass(slots=True, eq=False)
class _Exchange:
    """A request that has not ended."""

    record: ApiRequest
    request: web.Request
    upstream: aiohttp.ClientResponse | None = None
    stream: web.StreamResponse | None = None
    """The reply of a watch, once it has begun."""
    ended: bool = False
    """Whether the test ended it."""


class Exchanges:
    """The proxy's server and its client. ``close`` ends both."""

    def __init__(self, target: str, trust: ssl.SSLContext, faults: Faults) -> None:
        self.requests: list[ApiRequest] = []
        self.errors: list[BaseException] = []
        """What a test's own functions raised at crash points."""
        self._target, self._trust, self._faults = target, trust, faults
        self._running: set[_Exchange] = set()
        self._connections: set[asyncio.Transport] = set()
        self._frozen: set[asyncio.Transport] = set()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def listen(self, port: int, certificate: ssl.SSLContext) -> None:
        """Accept connections on loopback; nothing changes when it does already."""
        if self._runner is not None:
            return
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, keepalive_timeout=_KEEP_ALIVE, shutdown_timeout=0.1, access_log=None
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=certificate, reuse_address=True).start()

    async def stop_listening(self) -> None:
        """Reset all connections and refuse new ones."""
        for transport in list(self._connections):
            transport.abort()
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None
        self._connections.clear()
        self._frozen.clear()

    async def close(self) -> None:
        """End everything."""
        await self.stop_listening()
        if self._session is not None:
            await self._session.close()
        await asyncio.sleep(_TLS_ENDS_SECONDS)

    async def end_watches(self, match: Matcher, status: int, count: int) -> int:
        """End running watches with an ERROR event once there are ``count``; return how many. Raise TimeoutError."""
        async with asyncio.timeout(_WATCHES_SECONDS):
            while len(self._open_watches(match)) < count:  # noqa: ASYNC110 - what is asked for is not begun in one place
                await asyncio.sleep(0.01)
        ended = self._open_watches(match)
        for exchange, stream, upstream in ended:
            exchange.ended = True
            # Whole lines are written only, so that the event stands between two others.
            await stream.write(error_event(status))
            await stream.write_eof()
            upstream.close()
        return len(ended)

    def _open_watches(self, match: Matcher) -> list[tuple[_Exchange, web.StreamResponse, aiohttp.ClientResponse]]:
        """Return the watches that match, have begun to answer, and were not ended."""
        return [
            (exchange, exchange.stream, exchange.upstream)
            for exchange in self._running
            if exchange.stream is not None
            and exchange.upstream is not None
            and not exchange.ended
            and match(exchange.record)
        ]

    async def cut(self, match: Matcher) -> int:
        """Reset the connections of running requests; return how many."""
        hit = [exchange for exchange in self._running if match(exchange.record)]
        for exchange in hit:
            _abort(exchange.request)
        return len(hit)

    async def freeze(self) -> int:
        """Stop all bytes on the connections that exist; return how many these are."""
        self._connections = {transport for transport in self._connections if not transport.is_closing()}
        self._frozen |= self._connections
        return len(self._frozen)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            self._connections.add(request.transport)
        await self._while_frozen(request)
        agent = request.headers.get("user-agent", "")
        record = read_request(request.method, request.path, request.query, agent)
        self.requests.append(record)
        exchange = _Exchange(record, request)
        self._running.add(exchange)
        try:
            return await self._answer(exchange)
        finally:
            record.seconds = time.monotonic() - record.time
            self._running.discard(exchange)

    async def _answer(self, exchange: _Exchange) -> web.StreamResponse:
        record, request = exchange.record, exchange.request
        crash = self._faults.crash(record)
        if crash is not None and crash.moment == "before":
            return await self._crash(crash, request)
        match self._faults.effect(record):
            case Answer() as answer:
                record.status = answer.status
                return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
            case Hang():
                await _for_ever()
            case Delay(seconds):
                await asyncio.sleep(seconds)
            case None:
                pass
        return await self._forward(exchange, crash)

    async def _forward(self, exchange: _Exchange, crash: CrashPoint | None) -> web.StreamResponse:
        request, record = exchange.request, exchange.record
        body = await request.read()
        record.bytes_sent = len(body)
        url = URL(f"{self._target}{request.raw_path}", encoded=True)
        headers = _passed_on(request.headers)
        try:
            async with self._client().request(request.method, url, data=body, headers=headers) as upstream:
                exchange.upstream = upstream
                record.status = upstream.status
                if record.verb == "watch" and upstream.status == web.HTTPOk.status_code:
                    return await self._stream(exchange, upstream)
                answer = await upstream.read()
        except aiohttp.ClientConnectionError:  # the API server is down: so is the proxy, for this client
            _abort(request)
            return web.Response(status=web.HTTPBadGateway.status_code)
        record.bytes_received = len(answer)
        if crash is not None:
            return await self._crash(crash, request)
        await self._while_frozen(request)
        return web.Response(status=upstream.status, body=answer, headers=_passed_on(upstream.headers))

    async def _stream(self, exchange: _Exchange, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass on the events of a watch, until one side ends it."""
        response = web.StreamResponse(status=upstream.status, headers=_passed_on(upstream.headers))
        await response.prepare(exchange.request)
        exchange.stream = response
        with suppress(aiohttp.ClientError, ConnectionError):
            async for line in upstream.content:
                await self._while_frozen(exchange.request)
                exchange.record.bytes_received += len(line)
                if exchange.ended:
                    break
                await response.write(line)
        await self._while_frozen(exchange.request)
        return response

    async def _crash(self, crash: CrashPoint, request: web.Request) -> web.StreamResponse:
        """Call the test's function to its end, whatever becomes of the client; then cut the client off."""
        call = asyncio.ensure_future(asyncio.to_thread(crash.call))
        try:
            await asyncio.shield(call)
        except Exception as error:  # noqa: BLE001 - it is the test's own, and is raised at the end of the proxy
            self.errors.append(error)
        _abort(request)
        return web.Response()

    async def _while_frozen(self, request: web.Request) -> None:
        if request.transport in self._frozen:
            await _for_ever()

    def _client(self) -> aiohttp.ClientSession:
        """Return the client of the API server, made inside the loop at first use."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._trust),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                read_bufsize=_LONGEST_LINE,
                skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),  # the client's own alone
            )
        return self._session


def _passed_on(headers: Mapping[str, str]) -> "CIMultiDict[str]":
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _OF_ONE_CONNECTION)


def _abort(request: web.Request) -> None:
    """Reset a connection, without an end that looks like an answer."""
    if request.transport is not None:
        request.transport.abort()


async def _for_ever() -> None:
    """Wait until the connection is gone: aiohttp cancels the handler then."""
    await asyncio.Event().wait()
