"""kopf, used for watching and nothing else: every event goes to the cache of the main loop.

kopf runs in a thread and a loop of its own, because its end cancels all tasks of its loop. Its handlers write nothing:
objects carry no trace of it and can be deleted while the operator is away.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import aiohttp
import kopf

from imagegen_operator.kinds import RESOURCES, WATCHED, Kind, label_selector
from imagegen_operator.objects import Manifest

_LOG = logging.getLogger("imagegen.watching")

Received = Callable[[Kind, bool, Manifest], None]
"""Called in the main loop with the kind, whether the object is gone, and the object."""

_RENEWED_SHARE = 5 / 12
"""Of the silence that is allowed. The API server ends each watch after as long, so that one that works shows a sign of
life in time: after 50 s where 120 are allowed.
"""

_INACTIVE_SHARE = 7 / 12
"""A watch without any byte for as long is made anew: nothing else tells that a connection is half-open."""

_RETRIED_SHARE = 1 / 2
"""kopf ends, and with it the process, when a list or a watch is refused for as long."""

_RETRY_SECONDS = 2.0
"""kopf's own pauses grow to 21 s: as long would the operator be deaf after an outage that is over."""

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

    def __init__(self, access: Access, namespace: str, silence_seconds: float, received: Received) -> None:
        self.ended = asyncio.Event()
        self._access = access
        self._namespace = namespace
        self._silence_seconds = silence_seconds
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
        if self._thread.ident is None:
            return  # it never began
        await asyncio.to_thread(self._thread.join, _STOP_SECONDS)

    def ages(self) -> Mapping[Kind, float]:
        """Return the seconds since the last sign of life of each watch."""
        now = time.monotonic()
        return {kind: now - seen for kind, seen in self._signs.items()}

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except BaseException:  # noqa: BLE001 - whatever it was, a cancellation too: the process must end and say so
            _LOG.exception("kopf ended with an error")

    async def _watch(self) -> None:
        try:
            await kopf.operator(
                registry=self._registry(),
                settings=_settings(self._silence_seconds),
                namespaces=[self._namespace],
                standalone=True,
                stop_flag=self._stop,
            )
        finally:
            await self._end()
            # A thread of kopf's waits for the flag, and the end of the loop for that thread.
            self._stop.set()

    async def _end(self, **_: object) -> None:
        """Tell that kopf ends, unless it was told to. It does not always come to its own end, after a failed watch."""
        if not self._stop.is_set() and not self.ended.is_set():
            _LOG.error("the watches ended; this process can do nothing without them")
            self._loop.call_soon_threadsafe(self.ended.set)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(id="login", registry=registry)(self._log_in)
        kopf.on.cleanup(id="cleanup", registry=registry)(self._end)
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


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf copies every object to find out what changed of it, for handlers of a kind that is not used here."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[kopf.FieldSpec] | None = None) -> kopf.BodyEssence:
        del body, extra_fields
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        del body
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Write nothing into objects."""


def _settings(silence_seconds: float) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # the kinds are known; it would look for new ones in the whole cluster
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.watching.initial_streaming = False
    settings.watching.server_timeout = max(1, int(silence_seconds * _RENEWED_SHARE))
    settings.watching.inactivity_timeout = silence_seconds * _INACTIVE_SHARE
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = [_RETRY_SECONDS] * math.ceil(silence_seconds * _RETRIED_SHARE / _RETRY_SECONDS)
    settings.process.ultimate_exiting_timeout = 20
    for kind in WATCHED:
        resource = RESOURCES[kind]
        if selector := label_selector(kind):
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    return settings
