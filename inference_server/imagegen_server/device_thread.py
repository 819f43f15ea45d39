"""The only thread that touches the device: receive, admit, one evaluation, deliver.

Jobs and other device work come in through a queue; answers go back to the event loop of whoever asked. A failure
fails the request that it belongs to, never the thread; only a lost device ends it, and then the engine answers all.
"""

import asyncio
import contextlib
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from imagegen_server import batching
from imagegen_server.errors import DeviceLostError, OutOfMemory
from imagegen_server.generation import Generation, Pictures
from imagegen_server.jobs import Job, Row

_UNLIMITED_ROWS = 1 << 16


class DeviceOutOfMemoryError(RuntimeError):
    """Raised by a pipeline when the device has no memory for a call; the engine tries again with fewer rows."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What the device took for an evaluation of ``rows`` pictures of a request; without rows, for decoding one.

    It names its job by number: a job would keep its model alive.
    """

    number: int
    generation: Generation
    seconds: float
    rows: int = 0


class EngineCounters:
    """Totals since the start. Written by the device thread, read by anyone."""

    def __init__(self) -> None:
        self.evaluations = 0
        self.images = 0
        self.device_seconds = 0.0
        self.cancelled_requests = 0
        self.last_step_at: float | None = None
        self.busy_since: float | None = None


class DeviceThread(threading.Thread):
    """The loop of the device: receive, admit, one evaluation, deliver."""

    def __init__(
        self,
        counters: EngineCounters,
        on_measured: Callable[[Measurement], None],
        on_lost: Callable[[BaseException], None],
    ) -> None:
        """``on_measured`` and ``on_lost`` are called on this thread."""
        super().__init__(name="device", daemon=True)
        self._inbox: queue.SimpleQueue[Job | Callable[[], None]] = queue.SimpleQueue()
        self._counters = counters
        self._on_measured = on_measured
        self._on_lost = on_lost
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._most_rows: dict[Hashable, int] = {}
        """What the device has shown to hold of rows of one key; one large request must not slow down the small."""
        self._stopping = False

    def submit(self, arrival: "Job | Callable[[], None]") -> None:
        """Hand over a job, or work to be done between two evaluations; from any thread."""
        self._inbox.put(arrival)

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopping = True
        self.submit(lambda: None)

    def run(self) -> None:
        """Work until stopped, or until the device is lost; an error that is no request's own counts as that too."""
        try:
            while not self._stopping:
                self._receive()
                self._drop_cancelled()
                self._admit()
                self._evaluate()
        except BaseException as error:  # noqa: BLE001 - no thread is left to answer: the engine must hear of it
            self._on_lost(error)

    def _receive(self) -> None:
        block = not (self._running or self._waiting)
        while True:
            try:
                arrival = self._inbox.get(block=block)
            except queue.Empty:
                return
            block = False
            if isinstance(arrival, Job):
                self._waiting.append(arrival)
            else:
                # What was cancelled must not keep a model alive that this work unloads.
                self._drop_cancelled()
                self._busy(arrival)

    def _drop_cancelled(self) -> None:
        for job in [*self._running, *self._waiting]:
            if job.cancelled:
                self._counters.cancelled_requests += 1
                self._remove(job)

    def _admit(self) -> None:
        by_number = {job.number: job for job in self._waiting}
        for number in batching.joining(self._views(), list(by_number)):
            job = by_number[number]
            self._waiting.remove(job)
            job.started, job.started_at = True, time.monotonic()
            self._running.append(job)
            if self._guarded(job, lambda job=job: job.rows.extend(job.pipeline.admit(job.generation))):
                self._deliver(job)  # a row without evaluations is done already

    def _evaluate(self) -> None:
        views = self._views()
        if not views:
            return
        job, key = self._unfinished()[0][0], views[0].key
        batch = batching.next_batch(views, self._most_rows.get(key, _UNLIMITED_ROWS))
        started = time.monotonic()
        failure = self._attempt(lambda: self._advance(job, batch))
        if failure is None:
            self._account(job, time.monotonic() - started, len(batch))
            self._deliver(job)
        elif isinstance(failure, DeviceOutOfMemoryError) and len(batch) > 1:
            self._most_rows[key] = len(batch) // 2
        else:
            self._fail(job, failure)

    def _advance(self, job: Job, batch: list[int]) -> None:
        rows = self._unfinished()
        job.pipeline.advance([rows[index][1] for index in batch])

    def _account(self, job: Job, seconds: float, rows: int) -> None:
        job.denoise_seconds += seconds
        job.row_evaluations += rows
        self._counters.evaluations += rows
        self._counters.device_seconds += seconds
        self._counters.last_step_at = time.monotonic()
        self._on_measured(Measurement(number=job.number, generation=job.generation, seconds=seconds, rows=rows))

    def _deliver(self, job: Job) -> None:
        """Decode what is denoised, a picture at a time, so that a cancel is seen between two of them."""
        if any(row.evaluations_left for row in job.rows):
            return
        for index in range(job.images):
            if job.cancelled:
                return
            if not self._guarded(job, lambda index=index: self._decode(job, index)):
                return
        self._finish(job)

    def _decode(self, job: Job, index: int) -> None:
        started = time.monotonic()
        job.pictures[index] = job.pipeline.picture(job.rows[index])
        seconds = time.monotonic() - started
        job.decode_seconds += seconds
        self._counters.device_seconds += seconds
        self._on_measured(Measurement(number=job.number, generation=job.generation, seconds=seconds))

    def _guarded(self, job: Job, work: Callable[[], None]) -> bool:
        """Run device work of one job; a failure fails that job alone. Return whether it went well."""
        failure = self._attempt(work)
        if failure is not None:
            self._fail(job, failure)
        return failure is None

    def _attempt(self, work: Callable[[], None]) -> Exception | None:
        """Run device work and return what it raised; only a lost device passes.

        An error keeps the frames of its traceback and of their callers. Those below this one are cleared, so that the
        tensors of a failed call are free before the next; this one and those above hold no rows.
        """
        try:
            self._busy(work)
        except DeviceLostError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a pipeline raises belongs to its request
            traceback.clear_frames(error.__traceback__)
            return error
        return None

    def _busy(self, work: Callable[[], None]) -> None:
        self._counters.busy_since = time.monotonic()
        try:
            work()
        finally:
            self._counters.busy_since = None

    def _unfinished(self) -> list[tuple[Job, Row]]:
        return [(job, row) for job in self._running for row in job.rows if row.evaluations_left]

    def _views(self) -> list[batching.RowView]:
        return [batching.RowView(job.number, (id(job.pipeline), row.key)) for job, row in self._unfinished()]

    def _remove(self, job: Job) -> None:
        if job in self._running:
            self._running.remove(job)
        if job in self._waiting:
            self._waiting.remove(job)
        job.rows.clear()

    def _fail(self, job: Job, error: Exception) -> None:
        self._remove(job)
        settle(job.answer, error=OutOfMemory() if isinstance(error, DeviceOutOfMemoryError) else error)

    def _finish(self, job: Job) -> None:
        self._remove(job)
        self._counters.images += job.images
        pictures = Pictures(
            images=tuple(job.pictures[index] for index in range(job.images)),
            queue_seconds=job.started_at - job.submitted_at,
            device_seconds=job.device_seconds,
        )
        settle(job.answer, pictures)


def settle(future: "asyncio.Future[Any]", outcome: object = None, error: BaseException | None = None) -> None:
    """Give ``future`` its outcome or error, from any thread; nothing happens when nobody waits any more."""
    if isinstance(error, StopIteration):  # the one exception that a future refuses to hold
        error = RuntimeError("StopIteration was raised")

    def on_loop() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(outcome)
        else:
            future.set_exception(error)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        future.get_loop().call_soon_threadsafe(on_loop)
