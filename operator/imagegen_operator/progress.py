"""Asks pods what they are doing: `GET /status` on the management port of each that is not ready yet.

The answers go into a cache that `observe` reads; a model whose pod says something new is looked at again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

import aiohttp
import msgspec

from imagegen_contract.names import MANAGEMENT_PORT
from imagegen_contract.server_status import ServerStatus
from imagegen_operator.objects import Manifest, text_of
from imagegen_operator.pods import Pod, parse_pod
from imagegen_operator.store import Store

_LOG = logging.getLogger("imagegen.progress")

_TIMEOUT = aiohttp.ClientTimeout(total=2.0)
"""A server answers /status from memory; one that takes longer is asked again at the next round."""

_MOST_AT_ONCE = 16
_MOST_BYTES = 1_000_000


class ServerReports:
    """What each pod said last, by pod UID. Belongs to one event loop."""

    def __init__(self, store: Store, changed: Callable[[str], None]) -> None:
        self._store = store
        self._changed = changed
        self._reports: dict[str, ServerStatus] = {}
        self._gate = asyncio.Semaphore(_MOST_AT_ONCE)

    def of(self, pods: tuple[Manifest, ...]) -> Mapping[str, ServerStatus]:
        """Return the newest status of each pod by its UID."""
        uids = (text_of(pod, "metadata", "uid") for pod in pods)
        return {uid: self._reports[uid] for uid in uids if uid in self._reports}

    async def run(self, seconds: float) -> None:
        """Ask every ``seconds``, for ever."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                await self._round(session)
                await asyncio.sleep(seconds)

    async def _round(self, session: aiohttp.ClientSession) -> None:
        models = list(self._store.models)
        pods = [(model, parse_pod(pod)) for model in models for pod in self._store.pods(model)]
        alive = {pod.uid for _, pod in pods}
        self._reports = {uid: report for uid, report in self._reports.items() if uid in alive}
        await asyncio.gather(*(self._ask(session, model, pod) for model, pod in self._open(pods)))

    def _open(self, pods: Iterable[tuple[str, Pod]]) -> Iterable[tuple[str, Pod]]:
        """Yield the pods that have something to tell: they load, or were not heard since they are ready."""
        for model, pod in pods:
            told = self._reports.get(pod.uid)
            settled = pod.ready and told is not None and told.state == "ready"
            if pod.address and not settled and not pod.leaving:
                yield model, pod

    async def _ask(self, session: aiohttp.ClientSession, model: str, pod: Pod) -> None:
        host = f"[{pod.address}]" if ":" in pod.address else pod.address
        try:
            async with self._gate, session.get(f"http://{host}:{MANAGEMENT_PORT}/status") as response:
                report = msgspec.json.decode(await _body(response), type=ServerStatus)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # It has not begun to listen, or is gone: the pod's own state says what there is to say.
            _LOG.debug("no status", extra={"pod": pod.name, "cause": repr(error)})
            return
        before, self._reports[pod.uid] = self._reports.get(pod.uid), report
        if before is None or before.models != report.models or before.state != report.state:
            self._changed(model)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
    return bytes(body)
