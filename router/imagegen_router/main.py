"""The `imagegen-router` command: settings in, process out. The one place that reads the environment."""

import asyncio
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import msgspec
import uvicorn

from imagegen_contract.api_keys import KeysError
from imagegen_contract.flags import read_flags
from imagegen_contract.program import run_program
from imagegen_contract.settings import SettingsError, read_settings
from imagegen_kube.connection import NoConnectionError, connect
from imagegen_router.app import Application
from imagegen_router.settings import ENVIRONMENT_PREFIX, RouterSettings
from imagegen_web.logs import configure_logging
from imagegen_web.serving import ListenError, Server, listen, url_of

_LOG = logging.getLogger("imagegen")

_DESCRIPTION = "Route image requests to the servers of many models, behind one OpenAI-compatible endpoint."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the router until a signal; return the exit code."""
    try:
        given = read_flags(RouterSettings, "imagegen-router", _DESCRIPTION, ENVIRONMENT_PREFIX, arguments)
        settings = read_settings(RouterSettings, ENVIRONMENT_PREFIX, os.environ, given)  # noqa: TID251 - the composition root
        configure_logging(settings.log_format, settings.log_level)
        with asyncio.Runner(loop_factory=uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()) as runner:
            runner.run(_Process(settings).run())
    except (SettingsError, KeysError, ListenError, NoConnectionError) as error:
        print(f"imagegen-router: {error}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return 2
    return 0


class _Process:
    """One or two listening servers around an application."""

    def __init__(self, settings: RouterSettings) -> None:
        self._settings = settings
        self._servers: list[Server] = []
        self._drain: asyncio.Task[None] | None = None
        self._application: Application

    async def run(self) -> None:
        """Listen, serve until a signal, drain."""
        async with AsyncExitStack() as stack:
            connection = None
            if not (self._settings.endpoint or self._settings.endpoints_file):
                connection = await stack.enter_async_context(connect(os.environ))  # noqa: TID251 - the composition root
            await self._serve(Application(self._settings, connection))

    async def _serve(self, application: Application) -> None:
        settings, self._application = self._settings, application
        listening = [(application.public, listen(settings.host, settings.port))]
        if application.management is not None and settings.management_port is not None:
            listening.append((application.management, listen(settings.host, settings.management_port)))
        self._servers = [Server(app) for app, _ in listening]
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, self._signalled)
        _LOG.info("settings", extra={"settings": msgspec.json.encode(settings).decode()})
        if not settings.keys_file and not _is_loopback(settings.host):
            _LOG.warning("everybody who reaches this address may make pictures: no keys_file is set")
        urls = dict(zip(("url", "management"), (url_of(bound) for _, bound in listening), strict=False))
        _LOG.info("listening", extra={**urls, "docs": "/docs"})
        application.start()
        await asyncio.gather(
            *(server.serve([bound]) for server, (_, bound) in zip(self._servers, listening, strict=True))
        )
        application.stop()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    def _signalled(self) -> None:
        """Drain at the first signal; at the second one leave at once."""
        if self._drain is None:
            self._drain = asyncio.ensure_future(self._drain_and_leave())
        else:
            self._leave(force=True)

    async def _drain_and_leave(self) -> None:
        """Send clients elsewhere, finish what they have here, and leave; management answers to the end."""
        self._application.begin_drain()
        await self._servers[0].send_elsewhere()
        await self._application.drained()
        self._leave()

    def _leave(self, *, force: bool = False) -> None:
        for server in self._servers:
            server.should_exit = True
            server.force_exit = force


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run() -> None:
    """Run and leave."""
    sys.exit(run_program("imagegen-router", main))


if __name__ == "__main__":
    run()
