"""Which models are loaded on this device: load, lease, swap, unload.

A request holds a lease on its model while it runs; requests share it. Loading and unloading are exclusive: one model
is placed at a time, and none is taken away while a lease is held. Fetching weights takes nothing from anyone, so
several models are fetched side by side.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import msgspec

from imagegen_contract.catalog import UnknownModelError, resolve
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.load_failures import MENDED_ELSEWHERE, TRANSIENT, LoadFailure
from imagegen_contract.server_status import FETCHING, Memory, ModelStatus
from imagegen_server.errors import LoadError
from imagegen_server.fetching import Fetcher
from imagegen_server.load_progress import logged
from imagegen_server.slots import Changes, LoadedModel, Slot, not_ready
from imagegen_server.swapping import Loader, Swapper
from imagegen_web.errors import Draining, ModelNotFound, QueueFull

_LOG = logging.getLogger(__name__)

_LONGEST_PAUSE_SECONDS = 300.0
"""Pauses between tries double up to this."""
_SHUTDOWN_RETRY_SECONDS = 5.0


class StoreLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that one try of a load may take, how many requests may wait for models, seconds before a second try.

    ``look_again``: seconds before the next try after a failure that is mended elsewhere; None leaves it to people.
    ``log_seconds``: how often a load under way says in the log what it does.
    """

    load_timeout: float = 3600.0
    waiting_requests: int = 64
    first_pause: float = 2.0
    look_again: float | None = None
    log_seconds: float = 10.0


class StoreCounters:
    """Totals since the start."""

    def __init__(self) -> None:
        self.loads = 0
        self.failures = 0


class ModelStore:
    """The models of this server. Event loop only."""

    def __init__(
        self, specs: Sequence[ImageModelSpec], fetcher: Fetcher, loader: Loader, limits: StoreLimits | None = None
    ) -> None:
        self.counters = StoreCounters()
        self.changes = Changes()
        """Tells of every change of a model's state."""
        self._slots: dict[str, Slot] = {spec.id: Slot(spec) for spec in specs}
        self._leaving: dict[Slot, asyncio.Task[None]] = {}
        """Models that left the catalog; they still serve the requests that began before."""
        self._fetcher = fetcher
        self._loader = loader
        self._limits = limits or StoreLimits()
        self._swapper = Swapper(loader, self._all_slots, self.changes)
        self._draining = False

    @property
    def specs(self) -> tuple[ImageModelSpec, ...]:
        """The catalog."""
        return tuple(slot.spec for slot in self._slots.values())

    @property
    def memory(self) -> Memory:
        """What weights may take on the device, and what those of loaded models take."""
        used = sum(slot.memory_bytes for slot in self._all_slots())
        return Memory(budget_bytes=self._loader.memory_budget, used_bytes=used)

    @property
    def held(self) -> int:
        """Requests that wait for their model."""
        return sum(slot.waiting for slot in self._slots.values())

    @property
    def unloads(self) -> int:
        """Models taken off the device since the start."""
        return self._swapper.unloads

    def find(self, name: str) -> ImageModelSpec:
        """Return the model that ``name`` means; raise ModelNotFound with the names that are near."""
        try:
            return resolve(name, self.specs)
        except UnknownModelError as error:
            raise ModelNotFound(str(error)) from None

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Return the state of every model."""
        return tuple(slot.status() for slot in self._slots.values())

    def loaded(self, model_id: str) -> LoadedModel | None:
        """Return the loaded model, None when it is not."""
        return self._slots[model_id].model

    def load(self, model_id: str) -> bool:
        """Have a model loaded in the background; return whether it can serve already. Tries a failed one again."""
        slot = self._slots[model_id]
        if slot.usable:
            return True
        if slot.task is not None and (slot.next_try_at is not None or slot.state == "failed"):
            slot.task.cancel()  # whoever asks has perhaps mended the cause: why wait for the next try
            slot.task = None
        self._want(slot)
        return False

    async def unload(self, model_id: str) -> None:
        """Take a model off the device once its running requests are done; give up a load that is under way."""
        await self._empty(self._slots[model_id], "is being unloaded")

    @asynccontextmanager
    async def lease(self, spec: ImageModelSpec, patience: float = 0.0) -> AsyncGenerator[LoadedModel]:
        """Hold the model while a request uses it, and have it loaded first if need be.

        Waits at most ``patience`` seconds for that. Raises ModelNotReady when the model cannot serve, ModelNotFound
        when it left the catalog meanwhile, QueueFull when too many requests wait for models, Draining.
        """
        slot, model = await self._usable(spec.id, patience)
        slot.leases += 1
        try:
            yield model
        finally:
            slot.leases -= 1
            slot.last_used = time.monotonic()
            self.changes.notify()

    def update(self, specs: Sequence[ImageModelSpec]) -> None:
        """Take a new catalog. Requests that run keep what they have; models of unchanged weights stay loaded."""
        before = self._slots
        self._slots = {}
        for spec in specs:
            self._slots[spec.id] = self._updated(before.pop(spec.id, None), spec)
        for slot in before.values():
            self._retire(slot, "left the catalog")
        self.changes.notify()

    def drain(self) -> None:
        """Refuse requests that would have to wait for a model, and begin no load."""
        self._draining = True
        self.changes.notify()

    def stop(self) -> None:
        """Forget what is under way."""
        self.drain()
        self._swapper.stop()
        for task in (*self._leaving.values(), *(slot.task for slot in self._all_slots())):
            if task is not None:
                task.cancel()

    async def _usable(self, model_id: str, patience: float) -> tuple[Slot, LoadedModel]:
        found = self._look(model_id)
        if found is not None:
            return found
        slot = self._slot(model_id)
        if self.held >= self._limits.waiting_requests:
            raise QueueFull(f"{self.held} requests wait for models already", not_ready(slot).retry_after or 1.0)
        slot.waiting += 1
        try:
            async with asyncio.timeout(patience):
                while found is None:
                    await self.changes.wait()
                    found = self._look(model_id)
        except TimeoutError:
            raise not_ready(self._slot(model_id)) from None
        finally:
            if model_id in self._slots:
                self._slots[model_id].waiting -= 1
        return found

    def _look(self, model_id: str) -> tuple[Slot, LoadedModel] | None:
        """Return the model if it can serve, None if it is on its way from now on; raise ApiError if it is not."""
        slot = self._slot(model_id)
        if slot.model is not None and slot.usable:
            return slot, slot.model
        if self._draining:
            raise Draining("the server is shutting down", _SHUTDOWN_RETRY_SECONDS)
        if slot.state == "failed" or slot.next_try_at is not None:
            raise not_ready(slot)
        self._want(slot)
        return None

    def _slot(self, model_id: str) -> Slot:
        try:
            return self._slots[model_id]
        except KeyError:
            raise ModelNotFound(f"model {model_id!r} left the catalog while the request waited for it") from None

    def _want(self, slot: Slot) -> None:
        """Begin to load a model, unless that is under way."""
        if slot.task is None and not self._draining:
            if slot.model is None:
                slot.begin("waiting for its turn")
            slot.task = asyncio.create_task(self._keep_trying(slot))
            self.changes.notify()

    async def _keep_trying(self, slot: Slot) -> None:
        """Load, and after a failure that may pass try again, with growing pauses."""
        pause = self._limits.first_pause
        try:
            while slot.model is not None:  # it is leaving, and comes back after that
                if slot.usable:
                    return  # it stays after all
                await self.changes.wait()
            while failure := await self._try(slot):
                transient = failure.reason in TRANSIENT
                slot.failed(failure, pause if transient else None)
                self._note_failure(slot)
                await self._loader.give_back()
                wait = pause if transient else self._look_again(failure)
                if wait is None:
                    return
                await asyncio.sleep(wait)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        finally:
            if slot.task is asyncio.current_task():
                slot.task = None
            self.changes.notify()

    def _look_again(self, failure: LoadError) -> float | None:
        return self._limits.look_again if failure.reason in MENDED_ELSEWHERE else None

    async def _try(self, slot: Slot) -> LoadError | None:
        """Load once; return why it did not work, without the traceback, which would keep tensors alive."""
        started, limit = time.monotonic(), self._limits.load_timeout
        try:
            async with asyncio.timeout(limit), logged(slot, self._limits.log_seconds):
                slot.begin(FETCHING)
                self.changes.notify()
                model = await self._swapper.place(slot, await self._fetcher.fetch(slot))
        except TimeoutError:
            return LoadError(f"loading took longer than {limit:g} s ({slot.stage})", LoadFailure.LOAD_TIMEOUT)
        except LoadError as error:
            return LoadError(str(error), error.reason)
        except Exception as error:  # noqa: BLE001 - a model must never stay "loading" for good
            _LOG.exception("unforeseen failure of a load", extra={"model": slot.spec.id})
            return LoadError(f"{type(error).__name__}: {error}", LoadFailure.INTERNAL_ERROR)
        finally:
            slot.reserved_bytes = 0
        slot.loaded(model, time.monotonic() - started)
        self._note_load(slot, model)
        return None

    async def _empty(self, slot: Slot, why: str) -> None:
        """Return when nothing of the model is on the device and nothing is under way."""
        if slot.task is not None:
            task, slot.task = slot.task, None
            task.cancel()
            await asyncio.wait({task})
            await self._loader.give_back()
        slot.closed = why if slot.model else ""
        self.changes.notify()
        while slot.model is not None and slot.leases:
            await self.changes.wait()
        if slot.model is not None:
            await self._swapper.evict(slot)
        elif slot.task is None:
            slot.emptied()
        self.changes.notify()

    def _updated(self, slot: Slot | None, spec: ImageModelSpec) -> Slot:
        if slot is None or slot.spec == spec:
            return slot or Slot(spec)
        if slot.spec.same_weights(spec) and slot.state != "failed":
            slot.spec = spec
            return slot
        fresh = Slot(spec)
        fresh.waiting = slot.waiting
        in_use = slot.state in {"ready", "loading"}
        self._retire(slot, "its entry in the catalog has changed")
        if in_use:
            self._want(fresh)
        return fresh

    def _retire(self, slot: Slot, why: str) -> None:
        """Let a model go that the catalog no longer has as it was."""
        task = asyncio.create_task(self._empty(slot, why))
        self._leaving[slot] = task
        task.add_done_callback(lambda _: self._leaving.pop(slot))

    def _all_slots(self) -> list[Slot]:
        return [*self._slots.values(), *self._leaving]

    def _note_load(self, slot: Slot, model: LoadedModel) -> None:
        self.counters.loads += 1
        facts = {"model": slot.spec.id, "device": model.facts.device, "memory_bytes": model.facts.memory_bytes}
        times = {"load_seconds": round(slot.load_seconds, 2), "cpu_seconds": round(time.process_time(), 3)}
        _LOG.info("model ready", extra={**facts, **times})
        self.changes.notify()

    def _note_failure(self, slot: Slot) -> None:
        self.counters.failures += 1
        status = slot.status()
        next_try = {} if slot.next_try_at is None else {"next_try_seconds": round(slot.next_try_at - time.monotonic())}
        facts = {"model": slot.spec.id, "reason": status.reason, "cause": status.error, **next_try}
        _LOG.error("model failed to load", extra=facts)
        self.changes.notify()
