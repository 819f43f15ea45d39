"""Asks pods how they are: `/status` on the management port, and once what their model can do.

It tells the load of a pod that this router has sent nothing lately, finds out when one that was set aside is well
again, and notices one that answers nothing any more.
"""

import asyncio
import logging
from collections.abc import Callable

import aiohttp
import msgspec

from imagegen_contract.images import ModelList
from imagegen_contract.server_status import ServerStatus
from imagegen_router.directory import Directory
from imagegen_router.endpoints import Endpoint, Endpoints

_LOG = logging.getLogger("imagegen.polling")

_MOST_BYTES = 4_000_000
_MOST_AT_ONCE = 64


class Poller:
    """Asks every pod, for ever. ``changed`` is called with the model of a pod that told something."""

    def __init__(
        self,
        endpoints: Endpoints,
        directory: Directory,
        changed: Callable[[str], None],
        every_seconds: float,
        silence_seconds: float,
    ) -> None:
        self._endpoints = endpoints
        self._directory = directory
        self._changed = changed
        self._every_seconds = every_seconds
        self._silence_seconds = silence_seconds
        self._gate = asyncio.Semaphore(_MOST_AT_ONCE)

    async def run(self) -> None:
        """Ask, for ever."""
        timeout = aiohttp.ClientTimeout(total=max(1.0, self._every_seconds * 2))
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                began = _now()
                await asyncio.gather(*(self._ask(session, endpoint) for endpoint in self._endpoints))
                await asyncio.sleep(max(0.0, began + self._every_seconds - _now()))

    async def _ask(self, session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
        async with self._gate:
            asked, before = _now(), endpoint.told.state
            try:
                status = msgspec.json.decode(await _get(session, endpoint.management_url("/status")), type=ServerStatus)
                endpoint.hear(status, self._directory.id_of(endpoint.address.model), asked, _now())
                if endpoint.told.state == "serving" and before != "serving":
                    await self._describe(session, endpoint)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                self._unheard(endpoint, error)
        self._changed(endpoint.address.model)

    async def _describe(self, session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
        models = msgspec.json.decode(await _get(session, endpoint.url("/v1/models")), type=ModelList)
        self._directory.describe(endpoint.address.model, models.data)

    def _unheard(self, endpoint: Endpoint, error: Exception) -> None:
        _LOG.debug("no status", extra={"pod": endpoint.name, "cause": repr(error)})
        refused = isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError)
        heard = endpoint.heard_at
        if heard is not None and (refused or _now() - heard > self._silence_seconds):
            # Nobody listens there, or it accepts connections and says nothing: what runs there would wait for its own
            # time limit.
            endpoint.cut_off()


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as response:
        response.raise_for_status()
        body = bytearray()
        async for chunk in response.content.iter_chunked(65536):
            body += chunk
            if len(body) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes")
        return bytes(body)


def _now() -> float:
    return asyncio.get_running_loop().time()
