"""Runs a scenario on a real engine: event loop, device thread and all, without a server around it."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fake_pipelines import Gate
from imagegen_server.costs import Cost, CostModel
from imagegen_server.engine import Engine, EngineLimits
from imagegen_server.generation import Generation, Pictures
from imagegen_server.jobs import Pipeline
from server_process import wait_until

Result = TypeVar("Result")

SECONDS = 30.0
"""No scenario takes a second; one that hangs ends here."""

COST = Cost(evaluation=0.5, decode=1.0)
"""What the engine believes of a row at 128x128 in ``run_on_engine``, so that predictions are known numbers."""


def run_on_engine(
    scenario: Callable[[Engine], Coroutine[Any, Any, Result]],
    *,
    queued_requests: int = 64,
    queued_seconds: float = 1000.0,
    on_device_lost: Callable[[BaseException], None] | None = None,
) -> Result:
    """Run ``scenario`` and end the engine; fail when it hangs or an exception is left that nobody looked at."""
    unseen: list[dict[str, Any]] = []

    async def run() -> Result:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        costs = CostModel()
        costs.learn("fake/counting", 128 * 128, COST)
        limits = EngineLimits(queued_requests=queued_requests, queued_seconds=queued_seconds)
        engine = Engine(limits, costs, on_device_lost)
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
