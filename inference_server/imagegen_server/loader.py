"""Weights to a loaded model: reads in a worker thread, places on the device's own.

torch and diffusers are imported here, when the first model is loaded, so that the server listens long before.
"""

import asyncio
import gc
import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_settings import ServerSettings
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.engine import Engine
from imagegen_server.errors import LoadError
from imagegen_server.load_progress import Report, Teller
from imagegen_server.slots import LoadedModel
from imagegen_server.sources import Weights
from imagegen_server.weighing import check_budget

_MIB = 2**20


class BackgroundLoader:
    """Drives ``pipelines.loading`` for the model store. Event loop only."""

    def __init__(self, settings: ServerSettings, engine: Engine) -> None:
        self.device = ""
        """The device's name for people, "" until torch is imported."""
        self.memory_budget = settings.memory_budget_mib * _MIB
        self._settings = settings
        self._engine = engine
        self._pipelines: Any = None
        # A thread of its own: reading takes minutes for large models, and other work waits in the common ones.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")

    async def weigh(self, weights: Weights, spec: ImageModelSpec, tell: Teller) -> int:
        """Return the bytes that the weights will take on the device; raise LoadError."""
        if self._pipelines is None:
            await self._in_thread(check_budget, weights, spec, self._settings)
            tell.stage("importing torch and diffusers")
            self._pipelines = await self._in_thread(self._import)
            self.device = self._pipelines.device
            self.memory_budget = self.memory_budget or self._pipelines.memory_budget()
        tell.stage("weighing")
        return await self._in_thread(self._pipelines.weigh, weights, spec)

    async def load(self, weights: Weights, spec: ImageModelSpec, tell: Teller) -> LoadedModel:
        """Read the weights and place them, a component at a time: running requests take turns with that."""
        pipe = await self._in_thread(self._pipelines.read, weights, spec, tell.stage("reading weights"))
        try:
            await self._place(pipe, tell.stage("placing weights"))
            pipeline = await self._in_thread(self._pipelines.finish, pipe)
            tell.stage("making a first picture")
            for prove in self._pipelines.proving(pipe, pipeline, spec):
                await self._engine.on_device(prove)
        except DeviceOutOfMemoryError:
            raise LoadError(
                f"the device has no memory for the model ({tell.doing}), although the budget allows its weights; "
                "something else on the device takes it, or memory_budget_mib is too large",
                LoadFailure.OUT_OF_MEMORY,
            ) from None
        facts = self._pipelines.facts(pipe, pipeline)
        self._engine.learn(spec.id, facts.measured)
        return LoadedModel(facts=facts, pipeline=pipeline)

    async def give_back(self) -> None:
        """Free what unloaded models have left behind."""
        if self._pipelines is not None:
            await self._engine.on_device(self._pipelines.give_back)

    async def _place(self, pipe: Any, report: Report) -> None:
        sizes = self._pipelines.placed_bytes(pipe)
        report(0, sum(sizes))
        for count, place in enumerate(self._pipelines.placing(pipe), start=1):
            await self._engine.on_device(place)
            report(sum(sizes[:count]), sum(sizes))

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _import(self) -> Any:
        settings = self._settings
        # Imports make millions of objects and no garbage: the collector would only look for it in vain.
        gc.disable()
        try:
            loading = importlib.import_module("imagegen_server.pipelines.loading")
            importlib.import_module("imagegen_server.encoding")
            return loading.PipelineLoader(settings.device, settings.dtype, settings.cpu_threads)
        except OSError as error:
            # Some libraries make their cache folders when they are imported.
            message = f"torch and diffusers cannot be imported: {error}; their cache folders must be writable"
            raise LoadError(message, LoadFailure.DISK_FULL) from None
        finally:
            gc.enable()
