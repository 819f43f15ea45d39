"""The composition root: builds one router out of its settings. Nothing else knows which parts there are."""

import asyncio
import logging
import random
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from imagegen_kube.connection import Connection
from imagegen_router import routes
from imagegen_router.costs import CostModel
from imagegen_router.demand import Demand
from imagegen_router.directory import Directory, Model
from imagegen_router.discovery.in_cluster import InCluster
from imagegen_router.discovery.static import StaticList
from imagegen_router.dispatch import Dispatcher
from imagegen_router.endpoints import Address, Endpoints
from imagegen_router.forwarder import Forwarder
from imagegen_router.generations import PATH, Generations
from imagegen_router.keys import Keys
from imagegen_router.polling import Poller
from imagegen_router.queueing import Limits
from imagegen_router.service import Service
from imagegen_router.settings import RouterSettings
from imagegen_web import docs
from imagegen_web.application import web_application
from imagegen_web.docs import About
from imagegen_web.middleware import RequestContext
from imagegen_web.responses import EXCEPTION_HANDLERS

_LOG = logging.getLogger(__name__)
_IDLE_CHECK_SECONDS = 0.05


class Application:
    """One router: its ASGI applications, and its life from start to stop."""

    def __init__(self, settings: RouterSettings, connection: Connection | None) -> None:
        """Raise SettingsError or KeysError when a file of the settings is no good.

        ``connection`` is the way to the API server, None where the list is static.
        """
        self._settings = settings
        keys = Keys(Path(settings.keys_file)) if settings.keys_file else None
        costs = CostModel()
        endpoints = Endpoints(settings.connect_timeout, self._changed)
        directory = Directory(settings.default_model, self._awaited, endpoints.reports)
        limits = Limits(
            requests=settings.max_waiting_requests,
            bytes=settings.max_waiting_mib * 2**20,
            seconds=settings.max_waiting_seconds,
            share=settings.client_share,
        )
        # Which of several equal pods gets a request is no secret.
        dispatcher = Dispatcher(endpoints, costs, directory, limits, random.Random())  # noqa: S311
        self.service = Service(metadata.version("imagegen"), endpoints, directory, dispatcher, keys)
        self.service.demand = Demand(directory.model_keys, self.service.measure_demand, settings.demand_seconds)
        dispatcher.news = self.service.demand.note
        self._poller = Poller(endpoints, directory, self._changed, settings.poll_seconds, settings.silence_seconds)
        self._discovery = (
            InCluster(connection, settings.namespace or connection.namespace, self._found)
            if connection
            else StaticList(settings.endpoint, settings.endpoints_file, self._found)
        )
        self._generations = Generations(settings, keys, directory, Forwarder(dispatcher, costs))
        self._background: list[asyncio.Task[None]] = []
        both = settings.management_port is None
        self.public = self._asgi([*routes.PUBLIC, *docs.ROUTES, *(routes.MANAGEMENT if both else [])], pictures=True)
        self.management = None if both else self._asgi(routes.MANAGEMENT, pictures=False)

    def start(self) -> None:
        """Discover, poll and look after time limits in the background; call on the event loop."""
        keys = self.service.keys
        work = [self._discovery.run(), self._poller.run(), self.service.dispatcher.sweep()]
        work += [keys.follow()] if keys else []
        self._background = [asyncio.create_task(each) for each in work]

    def begin_drain(self) -> None:
        """Be ready no longer; what is here, and what still comes on kept connections, is served."""
        self.service.draining = True
        _LOG.info("draining", extra={"requests": self._generations.active})

    async def drained(self) -> None:
        """Wait for what is here, as long as the settings allow."""
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                while self._generations.active:  # noqa: ASYNC110 - only while shutting down, 20 times a second
                    await asyncio.sleep(_IDLE_CHECK_SECONDS)
        except TimeoutError:
            _LOG.warning("cutting off what is still here", extra={"after_seconds": self._settings.drain_seconds})

    def stop(self) -> None:
        """End what runs in the background."""
        for task in self._background:
            task.cancel()

    def _found(self, models: Sequence[Model], addresses: Sequence[Address]) -> None:
        self.service.discovered = True
        self.service.directory.replace(models)
        self.service.endpoints.replace(addresses)
        for model in models:
            self._changed(model.key)

    def _awaited(self) -> bool:
        return self.service.demand.awaited()

    def _changed(self, model: str) -> None:
        self.service.dispatcher.pump(model)

    def _asgi(self, handlers: list[Any], *, pictures: bool) -> ASGIApp:
        about = About(
            version=self.service.version, manages_models=False, management=self._settings.management_port is None
        )
        app = web_application(
            handlers,
            dependencies={"service": self.service, "about": about},
            exception_handlers=EXCEPTION_HANDLERS,
            max_body_bytes=self._settings.max_body_bytes,
        )
        return RequestContext(_Split(self._generations, app) if pictures else app, self.service.metrics.answered)


class _Split:
    """Sends the one route that is worth it past Litestar."""

    def __init__(self, generations: Generations, rest: ASGIApp) -> None:
        self._generations = generations
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"] == PATH:
            await self._generations(scope, receive, send)
        else:
            await self._rest(scope, receive, send)
