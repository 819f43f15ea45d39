"""The composition root: builds one server out of its settings. Nothing else knows which parts there are."""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from litestar.types import ASGIApp

from imagegen_contract.catalog import CatalogError, UnknownModelError, load_catalog, resolve
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.server_settings import ServerSettings
from imagegen_server import routes
from imagegen_server.catalog_file import CatalogFile
from imagegen_server.costs import CostModel
from imagegen_server.engine import Engine, EngineLimits
from imagegen_server.fetching import Fetcher
from imagegen_server.lifecycle import Event
from imagegen_server.loader import BackgroundLoader
from imagegen_server.models import ModelStore, StoreLimits
from imagegen_server.service import Service
from imagegen_server.sources import Source
from imagegen_server.sources.builtin import BuiltinSource
from imagegen_server.sources.file import FileSource
from imagegen_server.sources.hub import HubSettings, HubSource
from imagegen_web import docs
from imagegen_web.application import web_application
from imagegen_web.docs import About
from imagegen_web.middleware import RequestContext

_LOG = logging.getLogger(__name__)
_IDLE_CHECK_SECONDS = 0.05
_POD_LOOKS_AGAIN_SECONDS = 300.0


class Application:
    """One server: its ASGI applications, and its life from start to stop."""

    def __init__(self, settings: ServerSettings, on_fatal: Callable[[], None] = lambda: None) -> None:
        """Raise CatalogError or UnknownModelError when the catalog or a model of the settings is no good.

        ``on_fatal`` is called when the process has to end.
        """
        path = None if settings.model else _catalog_path(settings)
        specs = (settings.model,) if settings.model else load_catalog(path) if path else ()
        self._load = _wanted(settings, specs)
        limits = EngineLimits(queued_requests=settings.max_queued_requests, queued_seconds=settings.max_queued_seconds)
        engine = Engine(limits, CostModel(), self._device_lost)
        self._loader = BackgroundLoader(settings, engine, self._imports_broken)
        self._catalog = CatalogFile(path, self._accept) if path else None
        hub = HubSource(_hub_settings(settings))
        sources: dict[str, Source] = {"builtin": BuiltinSource(), "file": FileSource(hub.fetch_config), "hf": hub}
        fetcher = Fetcher(sources, half=settings.dtype != "float32")
        waiting = StoreLimits(
            load_timeout=settings.load_timeout,
            waiting_requests=settings.max_queued_requests,
            look_again=_POD_LOOKS_AGAIN_SECONDS if settings.model else None,
        )
        models = ModelStore(specs, fetcher, self._loader, waiting)
        self.service = Service(settings, metadata.version("imagegen"), models, engine)
        self.service.catalog = self._catalog
        self._on_fatal = on_fatal
        self._background: list[asyncio.Task[None]] = []
        both = settings.management_port is None
        public = [*routes.PUBLIC, *docs.ROUTES, *(routes.POD if settings.model else routes.ALONE)]
        self.public = self._asgi([*public, *(routes.MANAGEMENT if both else [])])
        self.management = None if both else self._asgi(routes.MANAGEMENT)

    def start(self) -> None:
        """Start the device thread, load the models in the background, follow the catalog; call on the event loop."""
        self.service.engine.start()
        self.service.lifecycle.fire(Event.LOAD)
        for model_id in self._load:
            self.service.models.load(model_id)
        self._background.append(asyncio.create_task(self._follow_start()))
        if self._catalog is not None:
            self._background.append(asyncio.create_task(self._catalog.follow()))

    async def drain(self) -> None:
        """Take no new work and wait for what was accepted, as long as the settings allow."""
        service = self.service
        service.lifecycle.fire(Event.DRAIN)
        service.engine.drain()
        service.models.drain()
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
        for task in self._background:
            task.cancel()
        self.service.models.stop()
        self.service.engine.stop()

    async def _follow_start(self) -> None:
        """Follow the models of the start until each has been ready once; one that failed may be mended later."""
        service, missing = self.service, set(self._load)
        while missing:
            await service.models.changes.wait()
            service.device = self._loader.device
            states = {status.id: status.state for status in service.models.statuses()}
            missing -= {model_id for model_id in missing if states[model_id] == "ready"}
            if service.lifecycle.state == "loading" and "failed" in {states[model_id] for model_id in missing}:
                service.lifecycle.fire(Event.LOAD_FAILED)
        service.lifecycle.fire(Event.LOADED)

    def _accept(self, specs: Sequence[ImageModelSpec]) -> None:
        """Take an edited catalog; raise CatalogError when this server could not have started with it."""
        try:
            _wanted(self.service.settings, specs)
            resolve(self.service.default_model, specs)
        except UnknownModelError as error:
            problem = (
                f"the models must hold {error.name}, which this server loads at start or makes pictures with by default"
            )
            raise CatalogError([problem]) from None
        self.service.models.update(specs)

    def _device_lost(self, error: BaseException) -> None:
        _LOG.critical("the device is lost", exc_info=error, extra={"cause": str(error)})
        self._end()

    def _imports_broken(self, error: BaseException) -> None:
        _LOG.critical("no model can be loaded by this process", exc_info=error, extra={"cause": str(error)})
        self._end()

    def _end(self) -> None:
        self.service.lifecycle.fire(Event.DEVICE_LOST)
        self._on_fatal()

    def _asgi(self, handlers: list[Any]) -> ASGIApp:
        about = About(
            version=self.service.version,
            manages_models=self.service.settings.model is None,
            management=self.service.settings.management_port is None,
        )
        app = web_application(
            handlers,
            dependencies={"service": self.service, "about": about},
            exception_handlers=routes.EXCEPTION_HANDLERS,
            max_body_bytes=self.service.settings.max_body_bytes,
        )
        return RequestContext(app, self.service.metrics.answered)


def _wanted(settings: ServerSettings, specs: Sequence[ImageModelSpec]) -> list[str]:
    """Return the ids of the models to load at start; raise UnknownModelError."""
    names = settings.load or ((settings.model.id,) if settings.model else (settings.default_model,))
    return [resolve(name, specs).id for name in names]


def _hub_settings(settings: ServerSettings) -> HubSettings:
    return HubSettings(
        endpoint=settings.hub_endpoint or "",
        cache=settings.hub_cache or "",
        token_file=settings.hub_token_file or "",
        offline=settings.hub_offline,
        bar=settings.log_format != "json" and sys.stderr.isatty(),
    )


def _catalog_path(settings: ServerSettings) -> Path:
    if settings.catalog is not None:
        return Path(settings.catalog)
    here = Path("models_info.json")
    packaged = Path(str(resources.files("imagegen_contract") / "models_info.json"))
    return here if here.is_file() else packaged
