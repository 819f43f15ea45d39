"""Runs a scenario on a real engine: event loop, device thread and all, without a server around it."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fake_pipelines import Gate
from imagegen_server.costs import FRESH_SECONDS, CostModel, Kind
from imagegen_server.engine import Engine, EngineLimits
from imagegen_server.generation import Generation, Pictures
from imagegen_server.jobs import Pipeline
from server_process import wait_until

Result = TypeVar("Result")

SECONDS = 30.0
"""No scenario takes a second; one that hangs ends here."""

EVALUATION, DECODE = 0.5, 1.0
"""Seconds that the engine believes a row at 128x128 to take in ``run_on_engine``."""


class SettledCosts(CostModel):
    """Costs that were learned long ago, so that they refuse nobody; nothing is learned any more."""

    def __init__(self) -> None:
        super().__init__()
        long_ago = time.monotonic() - 2 * FRESH_SECONDS
        super().learn_evaluation("fake/counting", Kind(128 * 128, guided=False, rows=1), EVALUATION, long_ago)
        super().learn_decode("fake/counting", 128 * 128, DECODE, long_ago)

    def learn_evaluation(self, model_id: str, kind: Kind, seconds: float, now: float) -> None:
        """Forget it."""

    def learn_decode(self, model_id: str, pixels: int, seconds: float, now: float) -> None:
        """Forget it."""


def run_on_engine(
    scenario: Callable[[Engine], Coroutine[Any, Any, Result]],
    *,
    costs: CostModel | None = None,
    queued_requests: int = 64,
    queued_seconds: float = 1000.0,
    on_device_lost: Callable[[BaseException], None] | None = None,
) -> Result:
    """Run ``scenario`` and end the engine; fail when it hangs or an exception is left that nobody looked at.

    Its predictions are known numbers unless ``costs`` are given.
    """
    unseen: list[dict[str, Any]] = []

    async def run() -> Result:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        limits = EngineLimits(queued_requests=queued_requests, queued_seconds=queued_seconds)
        engine = Engine(limits, costs or SettledCosts(), on_device_lost)
        engine.start()
        try:
            async with asyncio.timeout(SECONDS):
                return await scenario(engine)
        finally:
            engine.stop()
            await asyncio.to_thread(wait_until, lambda: not engine.alive, SECONDS, "the device thread to end")
            gc.collect(1)  # a failed future complains when it is freed

    result = asyncio.run(run())
    gc.collect(1)
    assert unseen == []
    return result


def submit(engine: Engine, pipeline: Pipeline, work: Generation, timeout: float = SECONDS) -> "asyncio.Task[Pictures]":
    """Start a request."""
    return asyncio.ensure_future(engine.generate(pipeline, work, work.steps, timeout))


async def arrival(gate: Gate) -> None:
    """Wait until the device stands in ``gate``."""
    await asyncio.to_thread(gate.wait_for_arrival)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what the device thread does."""
    await asyncio.to_thread(wait_until, condition, SECONDS, what, 0.001)


async def outcome(task: "asyncio.Task[Result]") -> "Result | BaseException":
    """Return what a task came to: its result, or the exception that ended it."""
    return (await asyncio.gather(task, return_exceptions=True))[0]
