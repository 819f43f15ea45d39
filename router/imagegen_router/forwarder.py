"""One request to one pod, bytes passed through. The only place that may try again.

The rules:
1. No connection, or 429 or 503 from a pod that had not started: back to the front of the waiting room, at once.
2. The connection ends before the first byte of a reply: the pod may have begun. It is run again once, on another pod
   if there is one; making a picture has no side effects. A kept connection that ends just as it is used again says
   nothing of the pod, which may have closed it because it was idle: that does not count.
3. After the first byte of a reply, or a 503 of a pod that had started: never. What came is passed on.
4. A client that left is not served again, and the pod is told by closing the connection.
"""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus

import msgspec

from imagegen_contract import names
from imagegen_contract.errors import ErrorCode
from imagegen_router.costs import CostModel
from imagegen_router.dispatch import Dispatcher, Request
from imagegen_router.endpoints import Endpoint
from imagegen_router.errors import ConnectFailed, StaleConnection, UpstreamError
from imagegen_router.upstream import Connection, Headers
from imagegen_web.errors import ApiError, DeadlineExceeded

_LOG = logging.getLogger("imagegen.forwarder")

_MOST_RUNS = 2
_DROP_SECONDS = 1.0
_DEVICE_SECONDS = names.DEVICE_SECONDS_HEADER.encode()
_TIMEOUT_HEADER = names.REQUEST_TIMEOUT_HEADER.encode()
_NOT_NOW = frozenset({429, 503})
_BROKEN = frozenset({500, 502})
"""What says that something is wrong with the pod. 503 and 504 speak of the request or of its time."""

_NOT_STARTED = (names.STARTED_HEADER.encode(), b"0")


class Outgoing(msgspec.Struct, frozen=True):
    """What is sent to a pod: the request line and headers but for what changes with each try, and the client's body."""

    head: bytes
    body: bytes


class Reply:
    """A reply whose head is there. Its body is read by ``read``; ``close`` comes in any case."""

    def __init__(self, connection: Connection, endpoint: Endpoint, closed: Callable[[], None]) -> None:
        self.status = connection.status
        self.headers: Headers = connection.headers
        self._connection = connection
        self._endpoint = endpoint
        self._closed = closed

    @property
    def complete(self) -> bool:
        """Whether all of it was read."""
        return self._connection.drained

    async def read(self) -> bytes:
        """Return the next piece, nothing at the end. Raise UpstreamError when it is not whole."""
        return await self._connection.read()

    def close(self) -> None:
        """Give the connection back when all was read, else cut it off: the pod stops within a step."""
        self._endpoint.connections.discard(self._connection)
        self._endpoint.pool.give_back(self._connection)
        self._closed()


class Forwarder:
    """Brings requests to pods."""

    def __init__(self, dispatcher: Dispatcher, costs: CostModel) -> None:
        self._dispatcher = dispatcher
        self._costs = costs

    def place(self, request: Request) -> tuple[int, float] | None:
        """Return how many wait before a request and for how many seconds, None when it runs."""
        return self._dispatcher.eta(request)

    async def send(self, request: Request, outgoing: Outgoing) -> Reply:
        """Return the reply of a pod, its head read. Cancelling this call takes the request back from wherever it is.

        Raises what `Dispatcher.place` raises, DeadlineExceeded, and ApiError ``upstream_failed`` when pods were lost
        with the request twice.
        """
        runs = 0
        while True:
            endpoint = await self._dispatcher.place(request)
            try:
                async with asyncio.timeout_at(request.deadline):
                    connection = await self._exchange(request, outgoing, endpoint)
                    if not _refused(connection):
                        return self._answered(request, endpoint, connection)
                    await self._refused(request, endpoint, connection)
            except TimeoutError:
                raise DeadlineExceeded(f"the request took longer than {request.timeout:g} s") from None
            except StaleConnection:
                pass
            except UpstreamError as error:
                request.avoid.add(endpoint.address.uid)
                runs += not isinstance(error, ConnectFailed)
                if runs == _MOST_RUNS:
                    raise _lost(error) from None
                _LOG.warning("placing a request again", extra={"pod": endpoint.name, "cause": str(error)})
            request.returned = True

    async def _exchange(self, request: Request, outgoing: Outgoing, endpoint: Endpoint) -> Connection:
        """Return a connection on which the head of the reply is there."""
        connection = None
        try:
            connection = await endpoint.pool.connect()
            endpoint.connections.add(connection)
            left = max(0.001, request.deadline - _now())
            await connection.send(outgoing.head + b"%s: %.3f\r\n\r\n" % (_TIMEOUT_HEADER, left), outgoing.body)
            await connection.head()
        except BaseException as error:
            if connection:
                endpoint.connections.discard(connection)
                connection.close()
            # Before its place is given to another request.
            if isinstance(error, StaleConnection):
                endpoint.pool.close()
            elif isinstance(error, UpstreamError):
                endpoint.fail(_now(), str(error), reachable=not isinstance(error, ConnectFailed))
            self._dispatcher.ended(request, endpoint)
            raise
        if not _is_stream(connection.headers):
            endpoint.end(request.number, _now())  # what the reply says of the pod's work is without this request
        endpoint.heed(connection.headers, _now())
        return connection

    def _answered(self, request: Request, endpoint: Endpoint, connection: Connection) -> Reply:
        if connection.status in _BROKEN:
            endpoint.fail(_now(), f"status {connection.status}")
        elif connection.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            endpoint.succeed()
            self._learn(request, endpoint, connection.headers)
        if _is_stream(connection.headers):
            return Reply(connection, endpoint, lambda: self._dispatcher.ended(request, endpoint))
        # The pictures are made: however slowly the client reads them, the device has room again.
        self._dispatcher.ended(request, endpoint)
        return Reply(connection, endpoint, lambda: None)

    async def _refused(self, request: Request, endpoint: Endpoint, connection: Connection) -> None:
        """Read a refusal to its end, so that its connection can be used again."""
        endpoint.refuse(_now())
        reply = Reply(connection, endpoint, lambda: self._dispatcher.ended(request, endpoint))
        try:
            async with asyncio.timeout(_DROP_SECONDS):
                while await reply.read():
                    pass
        except (UpstreamError, TimeoutError):
            pass
        finally:
            reply.close()

    def _learn(self, request: Request, endpoint: Endpoint, headers: Headers) -> None:
        """Take what the pod says that the request cost."""
        told = next((value for name, value in headers if name == _DEVICE_SECONDS), b"")
        try:
            seconds = float(told) if told else 0.0
        except ValueError:
            return
        if seconds > 0:
            self._costs.learn(request.model, endpoint.device, request.shape, seconds / request.rows)


def _refused(connection: Connection) -> bool:
    """Return whether the pod did not begin with the request, and others may."""
    return connection.status in _NOT_NOW and _NOT_STARTED in connection.headers


def _is_stream(headers: Headers) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)


def _lost(error: UpstreamError) -> ApiError:
    return ApiError(
        ErrorCode.UPSTREAM_FAILED, f"two pods were lost while they worked on this request; the last: {error}"
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
