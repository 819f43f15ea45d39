"""The `imagegen-server` command: settings in, process out. The one place that reads the environment."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import uvicorn

from imagegen_contract.catalog import CatalogError, UnknownModelError
from imagegen_contract.flags import read_flags
from imagegen_contract.program import run_program
from imagegen_contract.server_settings import ENVIRONMENT_PREFIX, ServerSettings, read_server_settings
from imagegen_contract.settings import SettingsError
from imagegen_server.app import Application
from imagegen_server.machine import thread_environment
from imagegen_web.logs import configure_logging
from imagegen_web.serving import ListenError, Server, listen, url_of

_LOG = logging.getLogger("imagegen")

_DESCRIPTION = "Serve text-to-image models through the OpenAI Images API."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until a signal; return the exit code."""
    try:
        unknown: list[str] = []
        given = read_flags(ServerSettings, "imagegen-server", _DESCRIPTION, ENVIRONMENT_PREFIX, arguments)
        settings = read_server_settings(os.environ, given, unknown.append)  # noqa: TID251 - the composition root
        configure_logging(settings.log_format, settings.log_level)
        for words in unknown:
            _LOG.warning("a setting was left out", extra={"setting": words})
        process = _Process(settings)
        with asyncio.Runner(loop_factory=uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()) as runner:
            runner.run(process.run())
    except (SettingsError, CatalogError, UnknownModelError, ListenError) as error:
        print(f"imagegen-server: {_words(error)}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return 2
    return process.exit_code


class _Process:
    """One or two listening servers around an application."""

    def __init__(self, settings: ServerSettings) -> None:
        self.exit_code = 0
        self._settings = settings
        self._application = Application(settings, self._fatal)
        self._servers: list[Server] = []
        self._drain: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Listen, load in the background, serve until a signal, drain."""
        settings, application = self._settings, self._application
        public = listen(settings.host, settings.port)
        listening = [(application.public, public)]
        if application.management is not None and settings.management_port is not None:
            listening.append((application.management, listen(settings.host, settings.management_port)))
        self._servers = [Server(app) for app, _ in listening]
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, self._signalled)
        _limit_threads(settings)
        _LOG.info("settings", extra={"settings": msgspec.json.encode(settings).decode()})
        urls = dict(zip(("url", "management"), (url_of(bound) for _, bound in listening), strict=False))
        _LOG.info("listening", extra={**urls, "docs": "/docs", "cpu_seconds": round(time.process_time(), 3)})
        # After the line above: from here on imports take turns with everything else.
        application.start()
        await asyncio.gather(
            *(server.serve([bound]) for server, (_, bound) in zip(self._servers, listening, strict=True))
        )
        application.stop()
        # The runner waits for the default executor's threads, and one of them may be loading weights for minutes.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    def _signalled(self) -> None:
        """Drain at the first signal; at the second one leave at once: what still runs gets its error and no more."""
        if self._drain is None:
            self._drain = asyncio.ensure_future(self._drain_and_leave())
        else:
            self._application.service.engine.cut_off()
            self._leave(force=True)

    async def _drain_and_leave(self) -> None:
        await self._application.drain()
        self._leave()

    def _fatal(self) -> None:
        self.exit_code = 1
        self._leave()

    def _leave(self, *, force: bool = False) -> None:
        for server in self._servers:
            server.should_exit = True
            server.force_exit = force


def _limit_threads(settings: ServerSettings) -> None:
    """Tell the libraries of arithmetic how to use the CPUs, before any of them is imported: they read it once."""
    wanted, threads = thread_environment(os.environ, settings.cpu_threads)  # noqa: TID251 - the composition root
    os.environ.update(wanted)  # noqa: TID251 - likewise, for libraries that are told in no other way
    _LOG.info("threads", extra=threads._asdict())


def _words(error: Exception) -> str:
    if isinstance(error, UnknownModelError):
        near = f"; did you mean {', '.join(error.near)}?" if error.near else ""
        return f"model {error.name!r} is not in the catalog{near}"
    return str(error)


def run() -> None:
    """Run and leave without tearing the interpreter down: triton's bindings would print pages of leak warnings."""
    code = run_program("imagegen-server", main)
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    run()
