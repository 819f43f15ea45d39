"""What is wanted of each model: waiting and running requests, and the device seconds that they are predicted to take.

An autoscaler reads it; that somebody does is also what holding requests for a model without pods hangs on.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

_LONGEST_WAIT_SECONDS = 60.0


class ModelDemand(msgspec.Struct, frozen=True, kw_only=True):
    """One model."""

    model: str
    """Object name of its ImageModel; the id in a static list."""
    waiting_requests: int
    running_requests: int
    waiting_seconds: float
    """Predicted device seconds of what waits."""
    running_seconds: float
    """Predicted device seconds that are left of what runs: this router's own part of its pods' work."""


class DemandReport(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of GET /internal/demand: this router's own; a reader of several adds them up."""

    version: int
    """Grows with every change; what a long poll compares."""
    models: tuple[ModelDemand, ...]


class Demand:
    """Counts changes and reads. ``models`` are what there is, ``measure`` gives the figures of one at the moment."""

    def __init__(
        self, models: Callable[[], Iterable[str]], measure: Callable[[str], ModelDemand], awaited_seconds: float
    ) -> None:
        self._models = models
        self._measure = measure
        self._awaited_seconds = awaited_seconds
        self._version = 0
        self._changed = asyncio.Event()
        self._polls = 0
        """Readers that wait for a change."""
        self._read_at: float | None = None

    def awaited(self) -> bool:
        """Return whether somebody reads the demand, and so may start pods."""
        return self._read_at is not None and _now() - self._read_at < self._awaited_seconds

    def note(self) -> None:
        """Note that a request has come, was sent to a pod, or is over; predicted seconds change all the time."""
        self._version += 1
        if self._polls:
            self._changed.set()
            self._changed = asyncio.Event()

    async def read(self, known: int | None, wait: float) -> DemandReport:
        """Return the demand, at once; when ``known`` is the newest version, at its next change or after ``wait``."""
        self._read_at = _now()
        if known == self._version and wait > 0:
            self._polls += 1
            try:
                async with asyncio.timeout(min(wait, _LONGEST_WAIT_SECONDS)):
                    await self._changed.wait()
            except TimeoutError:
                pass
            finally:
                self._polls -= 1
            self._read_at = _now()
        return DemandReport(version=self._version, models=tuple(map(self._measure, self._models())))


def _now() -> float:
    return asyncio.get_running_loop().time()
