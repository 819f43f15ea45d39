"""Takes models onto the device and off it, one at a time, within the memory budget.

Two models never come at once: each needs to know what room the other leaves.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from imagegen_contract.image_model import ImageModelSpec
from imagegen_server.errors import ExceedsBudget
from imagegen_server.load_progress import Teller
from imagegen_server.residency import Room, make_room
from imagegen_server.slots import Changes, LoadedModel, Slot
from imagegen_server.sources import Weights

_LOG = logging.getLogger(__name__)


class Loader(Protocol):
    """Turns weights into a pipeline on the device."""

    @property
    def memory_budget(self) -> int:
        """Bytes that the weights of all models may take together; known once anything was weighed, 0 before."""
        ...

    async def weigh(self, weights: Weights, spec: ImageModelSpec, tell: Teller) -> int:
        """Return the bytes that the weights will take on the device; raise LoadError."""
        ...

    async def load(self, weights: Weights, spec: ImageModelSpec, tell: Teller) -> LoadedModel:
        """Load; raise LoadError."""
        ...

    async def give_back(self) -> None:
        """Free what unloaded models have left behind."""
        ...


class Swapper:
    """Places and evicts models. ``slots`` returns all that may hold memory."""

    def __init__(self, loader: Loader, slots: Callable[[], Sequence[Slot]], changes: Changes) -> None:
        self.unloads = 0
        self._loader = loader
        self._slots = slots
        self._changes = changes
        self._turn = asyncio.Lock()
        self._stopping = False

    async def place(self, slot: Slot, weights: Weights) -> LoadedModel:
        """Load the slot's model when its turn has come and there is room; raise LoadError."""
        tell = Teller(slot, self._changes.notify)
        tell.stage("waiting for its turn")
        async with self._turn:
            tell.stage("weighing")
            await self._reserve(slot, await self._loader.weigh(weights, slot.spec, tell), tell)
            loading = asyncio.ensure_future(self._loader.load(weights, slot.spec, tell))
            try:
                model = await asyncio.shield(loading)
            except asyncio.CancelledError:
                # Nothing stops a thread that reads weights: the next in turn must wait until their memory is free.
                if not self._stopping:
                    await asyncio.gather(loading, return_exceptions=True)
                raise
            return msgspec.structs.replace(model, revision=weights.revision)

    async def evict(self, *slots: Slot) -> None:
        """Take models that nobody uses off the device."""
        for slot in slots:
            slot.emptied()
            self.unloads += 1
            _LOG.info("model unloaded", extra={"model": slot.spec.id})
        await self._loader.give_back()
        self._changes.notify()

    def stop(self) -> None:
        """Wait for no load any more."""
        self._stopping = True

    async def _reserve(self, slot: Slot, need: int, tell: Teller) -> None:
        """Return when ``need`` bytes are free and kept for ``slot``; raise LoadError when they never will be."""
        budget = self._loader.memory_budget
        if need > budget:
            raise ExceedsBudget(need, budget)
        why = f"makes room for {slot.spec.id}"
        try:
            while not (room := self._room(need)).fits or room.unload:
                tell.stage("waiting for memory")
                await self._carry_out(room, why)
            slot.reserved_bytes = need
        finally:
            for other in self._slots():
                if other.closed == why:
                    other.closed = ""
            self._changes.notify()

    def _room(self, need: int) -> Room:
        residents = [slot.resident() for slot in self._slots() if slot.memory_bytes]
        return make_room(need, self._loader.memory_budget, residents, time.monotonic())

    async def _carry_out(self, room: Room, why: str) -> None:
        """Do what was decided, and wait for a change when that was not enough."""
        loaded = [slot for slot in self._slots() if slot.model is not None]
        for slot in loaded:
            if slot.spec.id in room.close and not slot.closed:
                slot.closed = why
                self._changes.notify()
        leaving = [slot for slot in loaded if slot.spec.id in room.unload and not slot.leases]
        if leaving:
            await self.evict(*leaving)
        elif not room.fits:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(room.look_again):
                    await self._changes.wait()
