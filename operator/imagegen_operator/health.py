"""/healthz, /readyz and /metrics of the operator."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from imagegen_operator.errors import ConfigurationError
from imagegen_operator.metrics import CONTENT_TYPE, Metrics


class Health:
    """A small HTTP server for the time of an ``async with``.

    ``trouble`` says why the process should end, ``absence`` why it does not do its work yet; "" when there is nothing.
    """

    def __init__(
        self, host: str, port: int, *, trouble: Callable[[], str], absence: Callable[[], str], metrics: Metrics
    ) -> None:
        self.url = ""
        """Where it listens."""
        self._host = host
        self._port = port
        self._trouble = trouble
        self._absence = absence
        self._metrics = metrics
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._exposition)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        """Listen. Raise ConfigurationError when the address cannot be listened on."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigurationError(f"cannot listen on {self._host} port {self._port}: {error.strerror}") from None
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        trouble = self._trouble()
        return web.Response(status=503 if trouble else 200, text=trouble or "alive")

    async def _readyz(self, _: web.Request) -> web.Response:
        absence = self._absence()
        return web.Response(status=503 if absence else 200, text=absence or "ready")

    async def _exposition(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})
