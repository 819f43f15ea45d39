"""The engine: the only thread that touches the device, and the bounded queue in front of it.

The event loop decides (admission, cancel), the device thread works, and nothing but frozen messages, jobs and flags
passes between them. Before every evaluation the thread drops what was cancelled or is out of time, so the device is
free within one denoising step of a client's leaving.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from imagegen_contract.device_costs import ModelCosts
from imagegen_server import deadlines
from imagegen_server.costs import CostModel, Kind, Left, Prediction
from imagegen_server.device_thread import DeviceThread, EngineCounters, Measurement, settle
from imagegen_server.errors import DeviceLostError
from imagegen_server.generation import Generation, Measured, Pictures
from imagegen_server.jobs import Job, Limit, Pipeline
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
        self._device = DeviceThread(self.counters, self._measured_there, self._device_lost)
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
        which ``waited`` are over already, or at once when that is sure to come, and whatever the pipeline raises.
        """
        if self._draining:
            raise Draining("the server is shutting down", _SHUTDOWN_RETRY_SECONDS)
        self._numbers += 1
        limit = Limit(seconds=timeout, ends_at=time.monotonic() + timeout - waited)
        job = Job(self._numbers, generation, pipeline, evaluations, limit)
        if (failure := self._too_late(job)) is not None:
            raise failure
        self._check_room()
        self._jobs[job.number] = job
        self._device.submit(job)
        try:
            return await self._answer(job)
        except ApiError as error:
            error.started = job.started
            raise
        finally:
            job.cancelled = True  # A no-op when the answer is there.
            del self._jobs[job.number]

    def learn(self, model_id: str, measured: Sequence[Measured]) -> None:
        """Take in what a model took before its first request."""
        now = time.monotonic()
        for each in measured:
            self._costs.learn_evaluation(model_id, Kind(each.pixels, each.guided, 1), each.evaluation, now)
            self._costs.learn_decode(model_id, each.pixels, each.decode, now)

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
        return sum(self._remaining(job).seconds for job in self._jobs.values())

    def costs(self) -> tuple[ModelCosts, ...]:
        """Return what was learned of every model."""
        return self._costs.all()

    async def _answer(self, job: Job) -> Pictures:
        try:
            async with asyncio.timeout(job.limit.ends_at - time.monotonic()):
                return await job.answer
        except TimeoutError:
            raise DeadlineExceeded(f"the request took longer than {job.limit.seconds:g} s") from None

    def _check_room(self) -> None:
        if not self._jobs:
            return
        # One request runs at a time, so all but one wait (a job that has just come may not have started yet).
        # What is only guessed keeps nobody out.
        predictions = [self._remaining(job) for job in self._jobs.values()]
        waiting, seconds = len(predictions) - 1, sum(each.seconds for each in predictions if each.measured)
        too_many = waiting >= self._limits.queued_requests
        if not too_many and seconds <= self._limits.queued_seconds:
            return
        message = (
            f"the queue is full: {waiting} requests wait (at most {self._limits.queued_requests}), "
            f"{seconds:.1f} s of work (at most {self._limits.queued_seconds:g} s)"
        )
        # When the oldest request is done the next one starts, and its place in the queue is free.
        oldest, everything = predictions[0].seconds if too_many else 0.0, sum(each.seconds for each in predictions)
        raise QueueFull(message, self._next_place(max(oldest, seconds - self._limits.queued_seconds), everything))

    def _next_place(self, soonest: float, all_done: float) -> float:
        """Return the seconds until there is a place for one more request.

        Each refused client is told the place after the last one's, so that a crowd does not come back for one and the
        same; nobody is sent beyond the end of all work that is here.
        """
        now, each = time.monotonic(), all_done / len(self._jobs)
        latest = now + max(soonest, all_done)
        self._promised_at = min(max(now + soonest, self._promised_at + each), latest)
        return self._promised_at - now

    def _remaining(self, job: Job) -> Prediction:
        left = Left(evaluations=job.evaluations_left, images=job.images)
        return self._costs.predict(job.generation, left, time.monotonic())

    def _too_late(self, job: Job) -> DeadlineExceeded | None:
        """Return the refusal of a request that has not started and cannot be done in time; see `deadlines`."""
        prediction, left = self._remaining(job), job.limit.ends_at - time.monotonic()
        job.doubtful = deadlines.is_doubtful(prediction, left)
        return self._late(job, prediction.seconds, left) if deadlines.is_hopeless(prediction, left) else None

    def _too_slow(self, job: Job) -> DeadlineExceeded | None:
        """Return the end of a request that began in doubt, and whose own evaluations show that it will be late."""
        left, rest = job.limit.ends_at - time.monotonic(), job.evaluations_left * job.fastest
        if not job.doubtful or job.calls != deadlines.PROBE_EVALUATIONS or rest <= left:
            return None
        return self._late(job, job.evaluations * job.images * job.fastest, job.limit.seconds)

    def _late(self, job: Job, seconds: float, left: float) -> DeadlineExceeded:
        decoding = self._costs.predict(job.generation, Left(evaluations=0, images=job.images), time.monotonic()).seconds
        fits = deadlines.offer(job.generation, max(seconds, decoding), decoding, left)
        return DeadlineExceeded(deadlines.too_late(job.generation, seconds, (job.limit.seconds, left), fits))

    def _measured_there(self, measurement: Measurement) -> None:
        """Called on the device thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody learns any more
                self._loop.call_soon_threadsafe(self._measured, measurement)

    def _measured(self, measurement: Measurement) -> None:
        """Learn from what the device has just done, and look at everybody's time again."""
        generation, now = measurement.generation, time.monotonic()
        if not measurement.rows:
            self._costs.learn_decode(generation.model_id, generation.size.pixels, measurement.seconds, now)
            return
        of_one = measurement.seconds / measurement.rows
        kind = Kind(generation.size.pixels, generation.guided, measurement.rows)
        self._costs.learn_evaluation(generation.model_id, kind, of_one, now)
        if (job := self._jobs.get(measurement.number)) is not None:
            job.calls, job.fastest = job.calls + 1, min(job.fastest, of_one)
        for each in self._jobs.values():
            if (failure := self._too_slow(each) if each.started else self._too_late(each)) is not None:
                _end(each, failure)

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
