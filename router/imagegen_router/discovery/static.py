"""A static list: ``MODEL=URL``, by flags or in a file that is read anew when it changes. No Kubernetes is needed.

What a model can do is asked of its servers; until one answers, only its name is known.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec

from imagegen_contract.edited_text import TextError, decode, lines, read_file
from imagegen_contract.image_model import ImageModelSpec, Inference, ModelName
from imagegen_contract.images import ModelInfo, ModelList
from imagegen_contract.settings import SettingsError
from imagegen_contract.validation import shown, violation
from imagegen_router.directory import Model
from imagegen_router.discovery import Found
from imagegen_router.endpoints import Address
from imagegen_web.followed_file import LOOK_SECONDS, FollowedFile

_LOG = logging.getLogger("imagegen.discovery")

_HOST_ONLY = re.compile(r"://[^/?#]+/?$")
_TIMEOUT = aiohttp.ClientTimeout(total=5.0)


class Listed(msgspec.Struct, frozen=True):
    """One line of the list."""

    model: ModelName
    host: str
    port: int

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_endpoint(text: str, where: str) -> Listed:
    """Read ``MODEL=URL``. Raise SettingsError, which names ``where``."""
    model, _, url = (part.strip() for part in text.partition("="))
    address = _address(url)
    if not model or address is None:
        raise SettingsError(f"{where}: found {shown(text.strip())}; allowed: MODEL=http://HOST:PORT")
    host, port = address
    try:
        return msgspec.convert({"model": model, "host": host, "port": port}, Listed)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: found the model {shown(model)}; {violation(error, Listed).rule}") from None


def _address(url: str) -> tuple[str, int] | None:
    """Return host and port; None where there is anything else that would be lost on the way, such as a path."""
    try:
        parts = urlsplit(url)
        port = 80 if parts.port is None else parts.port
    except ValueError:
        return None
    plain = parts.scheme == "http" and "@" not in parts.netloc and all("!" <= character <= "~" for character in url)
    return (parts.hostname, port) if plain and parts.hostname and port and _HOST_ONLY.search(url) else None


class StaticList:
    """The list of the settings and that of a file, together."""

    def __init__(self, endpoints: Iterable[str], file: str, found: Found) -> None:
        """Raise SettingsError when a line is wrong or the file cannot be read."""
        self._fixed = tuple(parse_endpoint(text, "--endpoint") for text in endpoints)
        self._file = Path(file) if file else None
        self._found = found
        self._followed = FollowedFile(self._file) if self._file else None
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
                await asyncio.sleep(LOOK_SECONDS)

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
        if self._followed is None or not self._followed.edited():
            return False
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
            numbered = list(lines(decode(read_file(self._file))))
        except TextError as error:
            raise SettingsError(f"{self._file}: {error}") from None
        if not numbered:
            _LOG.warning("the list of endpoints is empty", extra={"file": str(self._file)})
        return tuple(parse_endpoint(line, f"{self._file}, line {number}") for number, line in numbered)


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
