"""All objects of one kind in a namespace, kept up to date by a list and a watch.

What is known stays known while the API server is away. A watch goes on where the last one ended; only when that is too
old (410) everything is listed anew.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import aiohttp
import msgspec

from imagegen_kube.connection import Connection, CredentialsError

_LOG = logging.getLogger("imagegen.informer")

Manifest = Mapping[str, Any]
"""A Kubernetes object as JSON."""

_PAGE = "500"
_WATCH_SECONDS = 60
"""The API server ends each watch after as long, so that one that works shows a sign of life in time."""

_SILENT_SECONDS = 90.0
"""A watch without any byte for as long is half-open."""

_LIST_SECONDS = 30.0
_BETWEEN_WATCHES_SECONDS = 0.05
"""A server that ends every watch at once is not asked in a tight loop."""

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 8.0
_GONE = 410


class _ExpiredError(Exception):
    """What we would go on from is too old."""


class _RefusedError(Exception):
    """The API server refuses; the message has its words."""


class Informer:
    """One kind. ``changed`` is called after each change, and when the first list is complete."""

    def __init__(self, connection: Connection, path: str, labels: str, changed: Callable[[], None]) -> None:
        self.objects: dict[str, Manifest] = {}
        """By UID."""
        self.complete = False
        """Whether everything was listed once."""
        self._connection = connection
        self._path = path
        self._labels = {"labelSelector": labels} if labels else {}
        self._changed = changed
        self._version = ""

    async def run(self) -> None:
        """Keep it up to date, for ever."""
        pause = _FIRST_PAUSE_SECONDS
        async with self._connection.session() as session:
            while True:
                try:
                    if not self._version:
                        await self._list(session)
                    await self._watch(session)
                    pause = _FIRST_PAUSE_SECONDS
                    await asyncio.sleep(_BETWEEN_WATCHES_SECONDS)
                except _ExpiredError:
                    self._version = ""
                except (
                    aiohttp.ClientError,
                    OSError,
                    TimeoutError,
                    CredentialsError,
                    ValueError,
                    _RefusedError,
                ) as error:
                    cause = str(error) or type(error).__name__
                    _LOG.warning("the API server cannot be asked", extra={"path": self._path, "cause": cause})
                    await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _list(self, session: aiohttp.ClientSession) -> None:
        found: dict[str, Manifest] = {}
        query = {"limit": _PAGE, **self._labels}
        while True:
            page = await self._page(session, query)
            found |= {item["metadata"]["uid"]: item for item in page["items"]}
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
        self.objects, self._version, self.complete = found, page["metadata"]["resourceVersion"], True
        self._changed()

    async def _page(self, session: aiohttp.ClientSession, query: Mapping[str, str]) -> dict[str, Any]:
        limit = aiohttp.ClientTimeout(total=_LIST_SECONDS)
        async with session.get(self._connection.server + self._path, params=query, timeout=limit) as response:
            content = await response.read()
            _check(response.status, content)
            return msgspec.json.decode(content, type=dict[str, Any])

    async def _watch(self, session: aiohttp.ClientSession) -> None:
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(_WATCH_SECONDS),
            **self._labels,
        }
        limit = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENT_SECONDS)
        async with session.get(self._connection.server + self._path, params=query, timeout=limit) as response:
            if response.status != 200:
                _check(response.status, await response.read())
            async for line in _lines(response.content):
                self._take(msgspec.json.decode(line, type=dict[str, Any]))

    def _take(self, event: Mapping[str, Any]) -> None:
        subject = event["object"]
        if event["type"] == "ERROR":
            _check(subject.get("code", 500), msgspec.json.encode(subject))
            return
        self._version = subject["metadata"]["resourceVersion"]
        if event["type"] == "BOOKMARK":
            return
        uid = subject["metadata"]["uid"]
        if event["type"] == "DELETED":
            self.objects.pop(uid, None)
        else:
            self.objects[uid] = subject
        self._changed()


def _check(status: int, content: bytes) -> None:
    if status == _GONE:
        raise _ExpiredError
    if status != 200:
        raise _RefusedError(f"HTTP {status}: {content[:300].decode(errors='replace')}")


async def _lines(stream: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """Yield the lines of a watch, of any length."""
    rest = b""
    async for piece in stream.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line:
                yield line
