"""Pipelines with one fault each; in all else they work."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fake_pipelines import CountingPipeline, CountingRow, Gate
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.generation import Generation

Raise = Callable[[], BaseException]


class FailsInAdmit(CountingPipeline):
    """Cannot encode any prompt."""

    def __init__(self, error: Raise) -> None:
        super().__init__()
        self._error = error

    def admit(self, generation: Generation) -> Sequence[CountingRow]:
        """Take the prompt and fail."""
        self.prompts.append(generation.prompt)
        raise self._error()


class FailsInAdvance(CountingPipeline):
    """Fails in one evaluation, the first unless told (the device stands in the gate before it)."""

    def __init__(self, error: Raise, *, after: int = 0, gate: Gate | None = None) -> None:
        super().__init__(gate)
        self._error = error
        self._after = after

    def advance(self, rows: Sequence[CountingRow]) -> None:
        """Work until it is time to fail."""
        super().advance(rows)
        if len(self.calls) > self._after:
            raise self._error()


class FailsInPicture(CountingPipeline):
    """Makes ``after`` pictures and then no more."""

    def __init__(self, error: Raise, *, after: int = 0) -> None:
        super().__init__()
        self._error = error
        self._after = after

    def picture(self, row: CountingRow) -> NDArray[np.uint8]:
        """Work until it is time to fail."""
        if len(self.decoded) >= self._after:
            raise self._error()
        return super().picture(row)


class SmallDevice(CountingPipeline):
    """Has memory for a number of pixels in one evaluation; ``tried`` has the number of rows of every attempt."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.tried: list[int] = []
        self._pixels = pixels

    def advance(self, rows: Sequence[CountingRow]) -> None:
        """Work if the rows fit."""
        self.tried.append(len(rows))
        if sum(row.key.pixels for row in rows) > self._pixels:
            raise DeviceOutOfMemoryError("out of device memory")
        super().advance(rows)


class BrokenRow(CountingRow):
    """A row that breaks the protocol itself: its key cannot be had."""

    @property
    def key(self) -> object:
        """Fail."""
        raise AttributeError("no key")

    @key.setter
    def key(self, value: object) -> None:
        """Forget it."""


class BreaksTheProtocol(CountingPipeline):
    """Gives rows that the engine cannot look at."""

    def admit(self, generation: Generation) -> Sequence[CountingRow]:
        """Return broken rows."""
        return [BrokenRow(seed, generation.steps, generation.size) for seed in generation.seeds]


class Slow(CountingPipeline):
    """Takes ``seconds`` for every evaluation."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def advance(self, rows: Sequence[CountingRow]) -> None:
        """Work slowly."""
        time.sleep(self.seconds)
        super().advance(rows)
