"""Weights to a loaded model: reads in a worker thread, places on the device's own.

torch and diffusers are imported here, when the first model is loaded, so that the server listens long before.
"""

import asyncio
import gc
import importlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_settings import ServerSettings
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.engine import Engine
from imagegen_server.errors import BrokenImportError, LoadError
from imagegen_server.load_progress import Report, Teller
from imagegen_server.slots import LoadedModel
from imagegen_server.sources import Weights
from imagegen_server.weighing import check_budget

_MIB = 2**20


class BackgroundLoader:
    """Drives ``pipelines.loading`` for the model store. Event loop only."""

    def __init__(
        self, settings: ServerSettings, engine: Engine, on_fatal: Callable[[BaseException], None] = lambda _: None
    ) -> None:
        """``on_fatal`` is called when this process can load no model any more."""
        self.device = ""
        """The device's name for people, "" until torch is imported."""
        self.memory_budget = settings.memory_budget_mib * _MIB
        self._settings = settings
        self._engine = engine
        self._on_fatal = on_fatal
        self._pipelines: Any = None
        # A thread of its own: reading takes minutes for large models, and other work waits in the common ones.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")

    async def weigh(self, weights: Weights, spec: ImageModelSpec, tell: Teller) -> int:
        """Return the bytes that the weights will take on the device; raise LoadError."""
        if self._pipelines is None:
            await self._in_thread(check_budget, weights, spec, self._settings)
            tell.stage("importing torch and diffusers")
            self._pipelines = await self._imported()
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

    async def _imported(self) -> Any:
        try:
            return await self._in_thread(self._import)
        except BrokenImportError as error:
            self._on_fatal(error)
            message = f"{error}; the server ends, and starts anew where something restarts it"
            raise LoadError(message, LoadFailure.INTERNAL_ERROR) from error

    async def _place(self, pipe: Any, report: Report) -> None:
        sizes = self._pipelines.placed_bytes(pipe)
        report(0, sum(sizes))
        for count, place in enumerate(self._pipelines.placing(pipe), start=1):
            await self._engine.on_device(place)
            report(sum(sizes[:count]), sum(sizes))

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _import(self) -> Any:
        """Import torch and diffusers; raise LoadError for a cause that passes, BrokenImportError for any other.

        What was imported in part cannot be imported again in the same process: torch registers what it has only once.
        """
        settings = self._settings
        _check_temporary_folder()
        # Imports make millions of objects and no garbage: the collector would only look for it in vain.
        gc.disable()
        try:
            loading = importlib.import_module("imagegen_server.pipelines.loading")
            importlib.import_module("imagegen_server.encoding")
        except Exception as error:
            raise BrokenImportError(
                f"torch and diffusers cannot be imported: {type(error).__name__}: {error}"
            ) from error
        finally:
            gc.enable()
        return loading.PipelineLoader(settings.device, settings.dtype, settings.cpu_threads)


def _check_temporary_folder() -> None:
    """Raise LoadError when torch would fail in the middle of its import, for want of a place for temporary files."""
    try:
        tempfile.gettempdir()
    except OSError:
        raise LoadError(
            "no folder for temporary files can be written to, and torch needs one; make /tmp writable, or set TMPDIR "
            "to a folder that is",
            LoadFailure.DISK_FULL,
        ) from None
