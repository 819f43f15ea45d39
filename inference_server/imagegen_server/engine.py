"""The engine: the only thread that touches the device, and the bounded queue in front of it.

The event loop decides (admission, cancel), the device thread works, and nothing but frozen messages, jobs and flags
passes between them. Before every evaluation the thread drops what was cancelled or is out of time, so the device is
free within one denoising step of a client's leaving.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from imagegen_server.costs import Cost, CostModel
from imagegen_server.device_thread import DeviceThread, EngineCounters, settle
from imagegen_server.errors import DeviceLostError
from imagegen_server.generation import Generation, Pictures
from imagegen_server.jobs import Job, Pipeline
from imagegen_web.errors import ApiError, DeadlineExceeded, Draining, QueueFull

Result = TypeVar("Result")

_SHUTDOWN_RETRY_SECONDS = 5.0


class EngineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the queue: requests that wait, and seconds of predicted work before a new one would start."""

    queued_requests: int
    queued_seconds: float


class Engine:
    """Runs generations one after another on one device. Public methods belong to the event loop."""

    def __init__(
        self, limits: EngineLimits, costs: CostModel, on_device_lost: Callable[[BaseException], None] | None = None
    ) -> None:
        self.counters = EngineCounters()
        self._limits = limits
        self._costs = costs
        self._on_device_lost = on_device_lost
        self._jobs: dict[int, Job] = {}
        self._device_work: set[asyncio.Future[Any]] = set()
        self._numbers = 0
        self._promised_at = 0.0
        self._draining = False
        self._lost: str | None = None
        self._device = DeviceThread(self.counters, self._device_lost)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the device thread; call once, on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._device.start()

    async def on_device(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` on the device thread, between evaluations; return or raise what it does.

        Raises DeviceLostError when the device is or gets lost.
        """
        if self._lost is not None:
            raise DeviceLostError(self._lost)
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def run() -> None:
            try:
                outcome = work()
            except DeviceLostError:
                raise  # Ends the thread; the engine tells everyone who waits.
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to the caller
                settle(done, error=error)
            else:
                settle(done, outcome)

        self._device_work.add(done)
        done.add_done_callback(self._device_work.discard)
        self._device.submit(run)
        return await done

    async def generate(
        self, pipeline: Pipeline, generation: Generation, evaluations: int, timeout: float, waited: float = 0.0
    ) -> Pictures:
        """Queue a generation and return its pictures.

        ``evaluations`` are the expected UNet calls of one image, for the cost. Cancelling this call frees the device
        within one evaluation. Raises QueueFull or Draining at once, DeadlineExceeded after ``timeout`` seconds, of
        which ``waited`` are over already, and whatever the pipeline raises.
        """
        if self._draining:
            raise Draining("the server is shutting down", _SHUTDOWN_RETRY_SECONDS)
        self._check_room()
        self._numbers += 1
        job = Job(self._numbers, generation, pipeline, evaluations)
        job.submitted_at = time.monotonic()
        self._jobs[job.number] = job
        self._device.submit(job)
        try:
            pictures = await self._answer(job, timeout, waited)
        except ApiError as error:
            error.started = job.started
            raise
        finally:
            job.cancelled = True  # A no-op when the answer is there.
            del self._jobs[job.number]
        self._learn(job)
        return pictures

    def drain(self) -> None:
        """Take no new work; what was accepted goes on."""
        self._draining = True

    def cut_off(self) -> None:
        """Fail everything that is still here, as the drain's time is over."""
        for job in self._jobs.values():
            _end(job, Draining("the server shut down before it was done", _SHUTDOWN_RETRY_SECONDS))

    def stop(self) -> None:
        """End the device thread after what it does now; what is still here fails."""
        self.drain()
        self.cut_off()
        self._device.stop()

    @property
    def idle(self) -> bool:
        """Whether no request is here."""
        return not self._jobs

    @property
    def alive(self) -> bool:
        """Whether the device thread runs."""
        return self._device.is_alive()

    def running(self) -> list[Job]:
        """Return the jobs that the device works on."""
        return [job for job in self._jobs.values() if job.started]

    def waiting(self) -> list[Job]:
        """Return the jobs that have not started."""
        return [job for job in self._jobs.values() if not job.started]

    def predicted_seconds(self) -> float:
        """Return the predicted device seconds of all work that is here."""
        return sum(self._remaining(job) for job in self._jobs.values())

    async def _answer(self, job: Job, timeout: float, waited: float) -> Pictures:
        try:
            async with asyncio.timeout(timeout - waited):
                return await job.answer
        except TimeoutError:
            raise DeadlineExceeded(f"the request took longer than {timeout:g} s") from None

    def _check_room(self) -> None:
        if not self._jobs:
            return
        # One request runs at a time, so all but one wait (a job that has just come may not have started yet).
        waiting, seconds = len(self._jobs) - 1, self.predicted_seconds()
        too_many = waiting >= self._limits.queued_requests
        if not too_many and seconds <= self._limits.queued_seconds:
            return
        message = (
            f"the queue is full: {waiting} requests wait (at most {self._limits.queued_requests}), "
            f"{seconds:.1f} s of work (at most {self._limits.queued_seconds:g} s)"
        )
        # When the oldest request is done the next one starts, and its place in the queue is free.
        oldest = self._remaining(next(iter(self._jobs.values()))) if too_many else 0.0
        raise QueueFull(message, self._next_place(max(oldest, seconds - self._limits.queued_seconds), seconds))

    def _next_place(self, soonest: float, all_done: float) -> float:
        """Return the seconds until there is a place for one more request.

        Each refused client is told the place after the last one's, so that a crowd does not come back for one and the
        same; nobody is sent beyond the end of all work that is here.
        """
        now, each = time.monotonic(), all_done / len(self._jobs)
        latest = now + max(soonest, all_done)
        self._promised_at = min(max(now + soonest, self._promised_at + each), latest)
        return self._promised_at - now

    def _remaining(self, job: Job) -> float:
        generation = job.generation
        left = max(0, job.evaluations * job.images - job.row_evaluations)
        return self._costs.seconds(generation.model_id, generation.size.pixels, left, job.images)

    def _learn(self, job: Job) -> None:
        if job.row_evaluations:
            cost = Cost(evaluation=job.denoise_seconds / job.row_evaluations, decode=job.decode_seconds / job.images)
            self._costs.learn(job.generation.model_id, job.generation.size.pixels, cost)

    def _device_lost(self, error: BaseException) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._lose_device, error)

    def _lose_device(self, error: BaseException) -> None:
        """Answer everyone who waits: a request that has not started may run elsewhere."""
        self._lost = str(error) or type(error).__name__
        self.drain()
        for job in self._jobs.values():
            restarts = Draining("the device stopped working and the server restarts", _SHUTDOWN_RETRY_SECONDS)
            _end(job, DeviceLostError(self._lost) if job.started else restarts)
        for done in self._device_work:
            if not done.done():
                done.set_exception(DeviceLostError(self._lost))
        if self._on_device_lost is not None:
            self._on_device_lost(error)


def _end(job: Job, error: Exception) -> None:
    """Fail a job from the event loop; the device drops it before its next evaluation."""
    job.cancelled = True
    if not job.answer.done():
        job.answer.set_exception(error)
