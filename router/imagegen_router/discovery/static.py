"""A static list: ``MODEL=URL``, by flags or in a file that is read anew when it changes. No Kubernetes is needed.

What a model can do is asked of its servers; until one answers, only its name is known.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec

from imagegen_contract.image_model import ImageModelSpec, Inference
from imagegen_contract.images import ModelInfo, ModelList
from imagegen_contract.settings import SettingsError
from imagegen_router.directory import Model
from imagegen_router.discovery import Found
from imagegen_router.endpoints import Address

_LOG = logging.getLogger("imagegen.discovery")

_LOOK_SECONDS = 1.0
_TIMEOUT = aiohttp.ClientTimeout(total=5.0)


class Listed(msgspec.Struct, frozen=True):
    """One line of the list."""

    model: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_endpoint(text: str, where: str) -> Listed:
    """Read ``MODEL=URL``. Raise SettingsError, which names ``where``."""
    model, _, url = text.strip().partition("=")
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if not model or parts.scheme != "http" or not parts.hostname or not port or parts.path not in {"", "/"}:
        raise SettingsError(f"{where}: found {text!r}; allowed: MODEL=http://HOST:PORT")
    return Listed(model, parts.hostname, port)


class StaticList:
    """The list of the settings and that of a file, together."""

    def __init__(self, endpoints: Iterable[str], file: str, found: Found) -> None:
        """Raise SettingsError when a line is wrong or the file cannot be read."""
        self._fixed = tuple(parse_endpoint(text, "--endpoint") for text in endpoints)
        self._file = Path(file) if file else None
        self._found = found
        self._stamp = self._now_stamp()
        self._listed = (*self._fixed, *self._read())
        self._told: dict[str, tuple[ModelInfo, ...]] = {}
        """What each server said of its models, by URL."""

    async def run(self) -> None:
        """Follow the file, and ask servers what they have until each has said it; for ever."""
        self._tell()
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                asked = [listed for listed in self._listed if listed.url not in self._told]
                answers = await asyncio.gather(*(self._ask(session, listed.url) for listed in asked))
                if any(answers) or self._look():
                    self._tell()
                await asyncio.sleep(_LOOK_SECONDS)

    async def _ask(self, session: aiohttp.ClientSession, url: str) -> bool:
        try:
            async with session.get(f"{url}/v1/models") as response:
                response.raise_for_status()
                models = msgspec.json.decode(await response.read(), type=ModelList)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            _LOG.debug("a server does not say what it has", extra={"url": url, "cause": repr(error)})
            return False
        self._told[url] = models.data
        return True

    def _tell(self) -> None:
        by_model: dict[str, list[Listed]] = {}
        for listed in self._listed:
            by_model.setdefault(listed.model, []).append(listed)
        models = [Model(key=name, spec=self._spec(name, servers)) for name, servers in by_model.items()]
        addresses = [
            Address(
                uid=f"{listed.url} {listed.model}",
                model=listed.model,
                host=listed.host,
                port=listed.port,
                management_port=listed.port,
                pod=listed.url,
            )
            for listed in dict.fromkeys(self._listed)
        ]
        self._found(models, addresses)

    def _spec(self, name: str, servers: Sequence[Listed]) -> ImageModelSpec:
        for listed in servers:
            for info in self._told.get(listed.url, ()):
                if name == info.id or name in info.aliases:
                    return _spec_of(info)
        return ImageModelSpec(publisher="unknown", family="unknown", version="unknown", id=name)

    def _look(self) -> bool:
        """Read the file again when it has changed; return whether it has. A bad edit leaves the list as it was."""
        stamp = self._now_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._listed = (*self._fixed, *self._read())
        except SettingsError as error:
            _LOG.error("the list of endpoints cannot be read; it is as before", extra={"cause": str(error)})
            return False
        _LOG.info("endpoints read", extra={"endpoints": len(self._listed)})
        return True

    def _read(self) -> tuple[Listed, ...]:
        if self._file is None:
            return ()
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self._file}: cannot be read: {error}") from None
        numbered = [(number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1)]
        return tuple(parse_endpoint(line, f"{self._file}, line {number}") for number, line in numbered if line)

    def _now_stamp(self) -> tuple[int, int]:
        try:
            found = self._file.stat() if self._file else None
        except OSError:
            found = None
        return (found.st_mtime_ns, found.st_size) if found else (0, 0)


def _spec_of(info: ModelInfo) -> ImageModelSpec:
    """Return what the router needs of an entry: names, and what a request costs that says nothing."""
    most = info.limits.max_steps if info.limits else max(info.steps, Inference().max_steps)
    return ImageModelSpec(
        publisher=info.publisher,
        family=info.family,
        version=info.version,
        id=info.id,
        aliases=info.aliases,
        description=info.description,
        license=info.license,
        inference=Inference(steps=info.steps, max_steps=most, size=info.size, sizes=info.sizes),
    )
