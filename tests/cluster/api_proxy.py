"""A reverse proxy in front of the API server: it writes down every request and makes go wrong what a test asks for.

The client's bearer token and body pass through as they are; watches are streamed line by line. It listens on loopback
with the API server's own certificate: Go's clients send no token over plain HTTP. Connections that change protocol
(exec, attach, port-forward) are not proxied.
"""

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from cluster.api_exchanges import Exchanges
from cluster.api_faults import Answer, CrashPoint, Delay, Fault, Faults, Hang
from cluster.api_requests import ApiRequest, Matcher, anything, watches, writes
from cluster.control_plane import ControlPlane
from cluster.kubeconfig import write_kubeconfig
from cluster.ports import free_port
from server_process import wait_until

_SECONDS = 20.0

_Result = TypeVar("_Result")


class ApiProxy:
    """A running proxy; leave the ``with`` block to end it.

    A fault hits requests that ``match``, as they come after the call. ``heal`` ends all of them.
    """

    def __init__(self, control_plane: ControlPlane) -> None:
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca = control_plane.ca
        self._token = control_plane.token
        self._faults = Faults()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api-proxy", daemon=True)
        self._certificate = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._certificate.load_cert_chain(control_plane.certificate, control_plane.key)
        trust = ssl.create_default_context(cafile=self.ca)
        self._exchanges = Exchanges(control_plane.url, trust, self._faults)

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self._faults.clear()
        self._do(self._exchanges.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()
        for error in self._exchanges.errors:
            raise error

    @property
    def requests(self) -> list[ApiRequest]:
        """All requests so far, in the order in which they came."""
        return list(self._exchanges.requests)

    def requested(self, match: Matcher = anything) -> list[ApiRequest]:
        """Return the requests so far that match."""
        return [request for request in self.requests if match(request)]

    def forget(self) -> None:
        """Start the list of requests anew."""
        self._exchanges.requests.clear()

    def wait_requested(self, match: Matcher, *, count: int = 1, seconds: float = _SECONDS) -> list[ApiRequest]:
        """Wait until so many matching requests have come, and return them."""
        wait_until(lambda: len(self.requested(match)) >= count, seconds, f"{count} matching requests to the API proxy")
        return self.requested(match)

    def wait_quiet(self, match: Matcher = writes, *, quiet: float = 1.0, seconds: float = 60.0) -> None:
        """Wait until no matching request has come for ``quiet`` seconds."""
        begun = time.monotonic()

        def last() -> float:
            return max((request.time for request in self.requested(match)), default=begun)

        wait_until(lambda: time.monotonic() - max(last(), begun) > quiet, seconds, "an end of the requests")

    def kubeconfig(self, path: Path, *, token: str = "", namespace: str = "default") -> Path:
        """Write a kubeconfig that leads here; without a token, the administrator's."""
        return write_kubeconfig(path, self.url, token=token or self._token, ca=self.ca, namespace=namespace)

    def before(self, n: int, call: Callable[[], None], match: Matcher = writes) -> CrashPoint:
        """Call a function in place of the n-th matching request from now: it is not forwarded, its client is cut off.

        ``call`` runs in a thread of its own; it may kill the client.
        """
        return self._crash("before", n, call, match)

    def after(self, n: int, call: Callable[[], None], match: Matcher = writes) -> CrashPoint:
        """Call a function when the API server has answered the n-th matching request; its client is cut off then."""
        return self._crash("after", n, call, match)

    def answer(
        self, status: int, match: Matcher = anything, *, times: int | None = 1, retry_after: int | None = None
    ) -> Fault:
        """Answer the next ``times`` matching requests with an error Status; None: all until ``heal``."""
        return self._set(Fault(Answer(status, retry_after), match, times))

    def hang(self, match: Matcher = anything, *, times: int | None = 1) -> Fault:
        """Accept the next matching requests and never answer."""
        return self._set(Fault(Hang(), match, times))

    def delay(self, seconds: float, match: Matcher = anything, *, times: int | None = None) -> Fault:
        """Forward matching requests late."""
        return self._set(Fault(Delay(seconds), match, times))

    def expire_watches(self, match: Matcher = watches, *, status: int = 410, count: int = 1) -> int:
        """End the running watches that match with an ERROR event, as soon as there are ``count``; return how many."""
        return self._do(self._exchanges.end_watches(match, status, count))

    def cut(self, match: Matcher = watches) -> int:
        """Reset the connections of the running requests that match; return how many."""
        return self._do(self._exchanges.cut(match))

    def freeze(self) -> int:
        """Make all existing connections half-open for ever: none closes, no byte comes; return how many.

        New connections work.
        """
        return self._do(self._exchanges.freeze())

    def refuse(self) -> None:
        """Reset all connections and refuse new ones, until ``accept``."""
        self._do(self._exchanges.stop_listening())

    def accept(self) -> None:
        """Listen, on the same port as ever."""
        self._do(self._exchanges.listen(self.port, self._certificate))

    def heal(self) -> None:
        """Forget all faults and crash points, and listen. Frozen connections stay as they are."""
        self._faults.clear()
        self.accept()

    def _crash(
        self, moment: Literal["before", "after"], n: int, call: Callable[[], None], match: Matcher
    ) -> CrashPoint:
        point = CrashPoint(moment, n, call, match)
        self._faults.crash_points.append(point)
        return point

    def _set(self, fault: Fault) -> Fault:
        self._faults.set.append(fault)
        return fault

    def _do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)
