"""One request on its way through the engine.

The event loop makes a job and may cancel it; the device thread runs it and answers. Each attribute has one writer.
"""

import asyncio
import math
import time
from collections.abc import Hashable, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from imagegen_server.generation import Generation, Pictures


@runtime_checkable
class Row(Protocol):
    """One image of one request while it is denoised; what is in it is the pipeline's business."""

    @property
    def key(self) -> Hashable:
        """Rows with equal keys can run in one call."""
        ...

    @property
    def evaluations_left(self) -> int:
        """UNet calls until the picture can be decoded."""
        ...


@runtime_checkable
class Pipeline(Protocol):
    """A loaded model. Every method runs on the device thread; the rows it takes are those that it gave."""

    def admit(self, generation: Generation) -> Sequence[Any]:
        """Encode the prompt, draw the noise: one row for each seed."""
        ...

    def advance(self, rows: Sequence[Any]) -> None:
        """Run one evaluation of the UNet for every row, in one call."""
        ...

    def picture(self, row: Any) -> Any:
        """Decode a finished row to uint8 of shape (height, width, 3)."""
        ...


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How long a request may take, in seconds, and when that is over (of the monotonic clock)."""

    seconds: float
    ends_at: float


class Job:
    """A request in the engine: its rows, its times, its answer."""

    def __init__(self, number: int, generation: Generation, pipeline: Pipeline, evaluations: int, limit: Limit) -> None:
        self.number = number
        self.generation = generation
        self.pipeline = pipeline
        self.evaluations = evaluations
        self.answer: asyncio.Future[Pictures] = asyncio.get_running_loop().create_future()
        self.limit = limit
        # Written by the event loop, read by the device thread before every evaluation.
        self.cancelled = False
        # Touched by the event loop only.
        self.doubtful = False
        """Whether it is predicted to be too late, by what is not certain enough to refuse it."""
        self.calls = 0
        """Evaluations that were measured, whatever their rows."""
        self.fastest = math.inf
        """Seconds of one row in the fastest of them."""
        # Written by the device thread, read by the event loop: a number or flag each, so never half-written.
        self.started = False
        self.submitted_at = time.monotonic()
        self.started_at = 0.0
        self.row_evaluations = 0
        self.denoise_seconds = 0.0
        self.decode_seconds = 0.0
        # Touched by the device thread only.
        self.rows: list[Row] = []
        self.pictures: dict[int, Any] = {}

    @property
    def images(self) -> int:
        """How many pictures the request asks for."""
        return len(self.generation.seeds)

    @property
    def evaluations_left(self) -> int:
        """Evaluations of single pictures that are still to be done."""
        return max(0, self.evaluations * self.images - self.row_evaluations)

    @property
    def device_seconds(self) -> float:
        """What the job has cost so far."""
        return self.denoise_seconds + self.decode_seconds
