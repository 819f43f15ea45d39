"""Tells how a load goes: in the model's slot for whoever asks, and in the log every few seconds."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from imagegen_server.slots import Slot
from imagegen_server.sources.hub_progress import Rate, progress

_LOG = logging.getLogger(__name__)

_RATE_SECONDS = 600.0
"""Components differ in size a thousandfold: the rate of a load is that of all that was read so far."""

Report = Callable[[int, int], None]
"""Takes note of the bytes that are done, and of all there are; from any thread."""


class Teller:
    """Keeps stage and progress of one load up to date. ``changed`` is called when a stage begins."""

    def __init__(self, slot: Slot, changed: Callable[[], None]) -> None:
        self._slot = slot
        self._changed = changed

    @property
    def doing(self) -> str:
        """What is being done now."""
        return self._slot.stage

    def stage(self, words: str) -> Report:
        """Say what is being done from now on; the result takes its progress, where there is one."""
        self._slot.stage, self._slot.progress = words, None
        self._changed()
        rate = Rate(_RATE_SECONDS)

        def report(done: int, total: int) -> None:
            if self._slot.stage == words and total:
                self._slot.progress = progress(done, total, rate.add(time.monotonic(), done))

        return report


@asynccontextmanager
async def logged(slot: Slot, every_seconds: float) -> AsyncGenerator[None]:
    """Write what the slot's load is doing to the log while the block runs."""

    async def write() -> None:
        while True:
            await asyncio.sleep(every_seconds)
            done: dict[str, Any] = msgspec.structs.asdict(slot.progress) if slot.progress else {}
            _LOG.info("loading", extra={"model": slot.spec.id, "stage": slot.stage, **done})

    writer = asyncio.create_task(write())
    try:
        yield
    finally:
        writer.cancel()
