"""The composition root: builds one server out of its settings. Nothing else knows which parts there are."""

import asyncio
import gc
import importlib
import logging
from collections.abc import Callable
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.di import Provide
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ASGIApp

from imagegen_contract.catalog import load_catalog, resolve
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.server_settings import ServerSettings
from imagegen_server import docs, routes
from imagegen_server.costs import CostModel
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.engine import Engine, EngineLimits
from imagegen_server.lifecycle import Event
from imagegen_server.middleware import RequestContext
from imagegen_server.models import LoadedModel, ModelStore
from imagegen_server.service import Service
from imagegen_server.sources.builtin import BuiltinSource
from imagegen_server.sources.file import FileSource

_LOG = logging.getLogger(__name__)
_IDLE_CHECK_SECONDS = 0.05


class Application:
    """One server: its ASGI applications, and its life from start to stop."""

    def __init__(self, settings: ServerSettings, on_device_lost: Callable[[], None] = lambda: None) -> None:
        """Raise CatalogError or UnknownModelError when the catalog or a model of the settings is no good."""
        specs = _catalog(settings)
        wanted = settings.load or ((settings.model.id,) if settings.model else (settings.default_model,))
        self._load = [resolve(name, specs).id for name in wanted]
        limits = EngineLimits(queued_requests=settings.max_queued_requests, queued_seconds=settings.max_queued_seconds)
        engine = Engine(limits, CostModel(), self._device_lost)
        self._loader = _BackgroundLoader(settings, engine)
        sources = {"builtin": BuiltinSource(), "file": FileSource()}
        self.service = Service(settings, metadata.version("imagegen"), ModelStore(specs, sources, self._loader), engine)
        self._on_device_lost = on_device_lost
        self._loading: asyncio.Task[None] | None = None
        both = settings.management_port is None
        self.public = self._asgi([*routes.PUBLIC, *docs.ROUTES, *(routes.MANAGEMENT if both else [])])
        self.management = None if both else self._asgi(routes.MANAGEMENT)

    def start(self) -> None:
        """Start the device thread and load the models in the background; call on the event loop."""
        self.service.engine.start()
        self.service.lifecycle.fire(Event.LOAD)
        self.service.models.announce(self._load)
        self._loading = asyncio.create_task(self._load_models())

    async def drain(self) -> None:
        """Take no new work and wait for what was accepted, as long as the settings allow."""
        service = self.service
        service.lifecycle.fire(Event.DRAIN)
        service.engine.drain()
        _LOG.info("draining", extra={"requests": len(service.engine.running()) + len(service.engine.waiting())})
        try:
            async with asyncio.timeout(service.settings.drain_seconds):
                while not service.engine.idle:  # noqa: ASYNC110 - only while shutting down, 20 times a second
                    await asyncio.sleep(_IDLE_CHECK_SECONDS)
        except TimeoutError:
            _LOG.warning("cutting off what is still running", extra={"after_seconds": service.settings.drain_seconds})
            service.engine.cut_off()

    def stop(self) -> None:
        """End the device thread and forget what is still loading."""
        if self._loading is not None:
            self._loading.cancel()
        self.service.engine.stop()

    async def _load_models(self) -> None:
        service = self.service
        good = [await service.models.load(model_id) for model_id in self._load]
        service.device = self._loader.device
        if service.lifecycle.state in {"loading", "draining"}:
            service.lifecycle.fire(Event.LOADED if all(good) else Event.LOAD_FAILED)

    def _device_lost(self, error: BaseException) -> None:
        _LOG.critical("the device is lost", exc_info=error, extra={"cause": str(error)})
        self.service.lifecycle.fire(Event.DEVICE_LOST)
        self._on_device_lost()

    def _asgi(self, handlers: list[Any]) -> ASGIApp:
        app = _MsgspecLitestar(
            route_handlers=handlers,
            dependencies={"service": Provide(lambda: self.service, sync_to_thread=False)},
            exception_handlers=routes.EXCEPTION_HANDLERS,  # pyright: ignore[reportArgumentType] - Litestar wants one handler type for all exceptions
            request_max_body_size=self.service.settings.max_body_bytes,
            openapi_config=None,
            logging_config=None,
        )
        return RequestContext(app, self.service.metrics.answered)


class _MsgspecLitestar(Litestar):
    """Litestar without its plugins for pydantic and attrs, which we do not use.

    Looking for them imports pydantic, as long as litestar itself depends on it: a third of the time to listening.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


class _BackgroundLoader:
    """Imports torch and diffusers when the first model is loaded, in a worker thread: the server listens meanwhile."""

    def __init__(self, settings: ServerSettings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._pipelines: Any = None
        self.device = ""

    async def load(self, folder: Path, spec: ImageModelSpec) -> LoadedModel:
        """Read the weights in a worker thread and place them on the device's own."""
        if self._pipelines is None:
            self._pipelines = await asyncio.to_thread(self._import)
            self.device = self._pipelines.device
        pipe = await asyncio.to_thread(self._pipelines.read, folder, spec)
        try:
            pipeline = await self._engine.on_device(lambda: self._pipelines.place(pipe))
        except DeviceOutOfMemoryError:
            raise RuntimeError("the weights do not fit into the device's memory") from None
        return LoadedModel(spec=spec, facts=self._pipelines.facts(pipe, pipeline), pipeline=pipeline)

    def _import(self) -> Any:
        settings = self._settings
        # Imports make millions of objects and no garbage: the collector would only look for it in vain.
        gc.disable()
        try:
            loading = importlib.import_module("imagegen_server.pipelines.loading")
            importlib.import_module("imagegen_server.encoding")
            return loading.PipelineLoader(settings.device, settings.dtype, settings.cpu_threads)
        finally:
            gc.enable()


def _catalog(settings: ServerSettings) -> tuple[ImageModelSpec, ...]:
    if settings.model is not None:
        return (settings.model,)
    if settings.catalog is not None:
        return load_catalog(Path(settings.catalog))
    here = Path("models_info.json")
    packaged = Path(str(resources.files("imagegen_contract") / "models_info.json"))
    return load_catalog(here if here.is_file() else packaged)
