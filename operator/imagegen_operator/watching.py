"""kopf, used for watching and nothing else: every event goes to the cache of the main loop.

kopf runs in a thread and a loop of its own, because its end cancels all tasks of its loop. Its handlers write nothing:
objects carry no trace of it and can be deleted while the operator is away.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import aiohttp
import kopf

from imagegen_operator.kinds import RESOURCES, WATCHED, Kind, label_selector
from imagegen_operator.objects import Manifest

_LOG = logging.getLogger("imagegen.watching")

Received = Callable[[Kind, bool, Manifest], None]
"""Called in the main loop with the kind, whether the object is gone, and the object."""

_RENEWED_SECONDS = 50
"""The API server ends each watch after as long, so that a watch that works shows a sign of life every minute."""

_STOP_SECONDS = 5.0


class Access(Protocol):
    """The way to the API server."""

    @property
    def server(self) -> str:
        """Its address."""
        ...

    def session(self, *, middlewares: Sequence[aiohttp.ClientMiddlewareType]) -> aiohttp.ClientSession:
        """Return a session of the running loop that uses the credentials of the moment."""
        ...


class Watches:
    """The watches of all kinds. ``ended`` is set, in the main loop, when kopf ended without being told to."""

    def __init__(self, access: Access, namespace: str, received: Received) -> None:
        self.ended = asyncio.Event()
        self._access = access
        self._namespace = namespace
        self._received = received
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self._signs: dict[Kind, float] = {}

    def start(self) -> None:
        """Begin to watch."""
        self._signs = {kind: time.monotonic() for kind in WATCHED}
        self._thread.start()

    async def stop(self) -> None:
        """End the watches; wait a few seconds for it, since the thread ends with the process anyway."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, _STOP_SECONDS)

    def ages(self) -> Mapping[Kind, float]:
        """Return the seconds since the last sign of life of each watch."""
        now = time.monotonic()
        return {kind: now - seen for kind, seen in self._signs.items()}

    def _run(self) -> None:
        try:
            asyncio.run(
                kopf.operator(
                    registry=self._registry(),
                    settings=_settings(),
                    namespaces=[self._namespace],
                    standalone=True,
                    stop_flag=self._stop,
                )
            )
        except Exception:  # noqa: BLE001 - whatever it was, the process must end and say so
            _LOG.exception("kopf ended with an error")
        if not self._stop.is_set():
            _LOG.error("the watches ended; this process can do nothing without them")
            self._loop.call_soon_threadsafe(self.ended.set)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(id="login", registry=registry)(self._log_in)
        for kind in WATCHED:
            resource = RESOURCES[kind]
            handler = self._handler(kind)
            kopf.on.event(resource.group, resource.version, resource.plural, id=kind, registry=registry)(handler)
        return registry

    def _handler(self, kind: Kind) -> Callable[..., Awaitable[None]]:
        async def handle(event: Mapping[str, Any], **_: object) -> None:
            self._signs[kind] = time.monotonic()
            gone = event["type"] == "DELETED"
            self._loop.call_soon_threadsafe(self._received, kind, gone, event["object"])

        return handle

    async def _log_in(self, **_: object) -> kopf.AiohttpSession:
        session = self._access.session(middlewares=(self._notice,))
        return kopf.AiohttpSession(server=self._access.server, aiohttp_session=session)

    async def _notice(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """See that a list or a watch was answered: kopf tells of events only, and an idle cluster has none."""
        response = await handler(request)
        if response.ok:
            plural = request.url.path.rpartition("/")[2]
            for kind in WATCHED:
                if RESOURCES[kind].plural == plural:
                    self._signs[kind] = time.monotonic()
        return response


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # the kinds are known; it would look for new ones in the whole cluster
    settings.posting.enabled = False
    settings.watching.initial_streaming = False
    settings.watching.server_timeout = _RENEWED_SECONDS
    settings.watching.inactivity_timeout = 70
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.process.ultimate_exiting_timeout = 20
    for kind in WATCHED:
        resource = RESOURCES[kind]
        if selector := label_selector(kind):
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    return settings
