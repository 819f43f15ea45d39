"""Any schedule of requests, cancels, time-outs and failures: each request gets one answer, and nothing stays behind."""

import asyncio
import itertools
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_scenarios import outcome, run_on_engine, submit, until
from fake_pipelines import CountingPipeline, generation, painted
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.engine import Engine
from imagegen_server.errors import DeviceLostError, OutOfMemory
from imagegen_server.generation import Pictures
from imagegen_web.errors import DeadlineExceeded, Draining, QueueFull
from misbehaving.pipelines import FailsInAdmit, FailsInAdvance, FailsInPicture, SmallDevice

PIPELINES: dict[str, Callable[[], CountingPipeline]] = {
    "works": CountingPipeline,
    "has little memory": lambda: SmallDevice(2 * 128 * 128),
    "has no memory": lambda: SmallDevice(1),
    "fails in admit": lambda: FailsInAdmit(KeyError),
    "fails in the second evaluation": lambda: FailsInAdvance(KeyError, after=1),
    "fails in the second picture": lambda: FailsInPicture(DeviceOutOfMemoryError, after=1),
}


class Step(msgspec.Struct, frozen=True):
    """One request, and what happens around it."""

    pipeline: str
    images: int
    evaluations: int
    timeout: float
    turns: int
    """Turns of the event loop after it, for other work to happen in between."""
    cancel: int | None
    """Which of the requests so far is cancelled then, counted from the newest."""


STEPS = st.builds(
    Step,
    pipeline=st.sampled_from(sorted(PIPELINES)),
    images=st.integers(1, 4),
    evaluations=st.integers(1, 5),
    timeout=st.sampled_from([30.0, 30.0, 30.0, 0.0005]),
    turns=st.integers(0, 20),
    cancel=st.none() | st.integers(0, 3),
)

EXPECTED = (Pictures, KeyError, OutOfMemory, QueueFull, DeadlineExceeded, asyncio.CancelledError, Draining)


async def _play(engine: Engine, steps: Sequence[Step]) -> "list[asyncio.Task[Pictures]]":
    tasks: list[asyncio.Task[Pictures]] = []
    for step in steps:
        work = generation(seeds=range(step.images), steps=step.evaluations)
        tasks.append(submit(engine, PIPELINES[step.pipeline](), work, step.timeout))
        for _ in range(step.turns):
            await asyncio.sleep(0)
        if step.cancel is not None and step.cancel < len(tasks):
            tasks[-1 - step.cancel].cancel()
    return tasks


def _check(step: Step, came: object) -> None:
    assert isinstance(came, EXPECTED), came
    if isinstance(came, Pictures):
        expected = [painted(seed, step.evaluations) for seed in range(step.images)]
        assert np.array_equal(came.images, expected)
        if "fails in the second picture" in step.pipeline:
            assert step.images == 1
        assert step.pipeline not in {"has no memory", "fails in admit"}


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=12))
def test_every_request_of_any_schedule_gets_one_answer(steps: list[Step]) -> None:
    async def scenario(engine: Engine) -> None:
        tasks = await _play(engine, steps)
        for step, task in zip(steps, tasks, strict=True):
            _check(step, await outcome(task))
        assert engine.idle
        assert engine.predicted_seconds() == 0
        await engine.on_device(lambda: None)  # all before it has been received, so the cancelled are dropped next
        await engine.on_device(lambda: None)
        counters = engine.counters
        answered = [task for task in tasks if not task.cancelled() and task.exception() is None]
        assert counters.images >= sum(len(task.result().images) for task in answered)
        assert counters.cancelled_requests <= len(steps)
        # The device is free for whoever comes.
        assert isinstance(await submit(engine, CountingPipeline(), generation()), Pictures)

    run_on_engine(scenario, queued_requests=5)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=12), st.sampled_from(["drain", "cut_off", "stop", "lose"]))
def test_the_end_of_an_engine_leaves_nobody_without_an_answer(steps: list[Step], end: str) -> None:
    def lose() -> None:
        raise DeviceLostError("gone")

    async def scenario(engine: Engine) -> None:
        tasks = await _play(engine, steps)
        if end == "lose":
            tasks_of_device = asyncio.ensure_future(engine.on_device(lose))
            assert isinstance(await outcome(tasks_of_device), DeviceLostError)
        else:
            getattr(engine, end)()
        for task in tasks:
            assert isinstance(await outcome(task), (*EXPECTED, DeviceLostError))
        assert engine.idle
        if end in {"stop", "lose"}:
            await until(lambda: not engine.alive, "the device thread to end")
        # A cut-off is for an engine that drains; alone it ends only what was there.
        assert isinstance(await outcome(submit(engine, CountingPipeline(), generation())), (Draining, Pictures))

    run_on_engine(scenario, queued_requests=8)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=8))
def test_the_counters_are_exact_when_nothing_is_cancelled(shapes: list[tuple[int, int]]) -> None:
    pipeline = CountingPipeline()
    seeds = itertools.count()

    async def scenario(engine: Engine) -> None:
        works = [generation(seeds=[next(seeds) for _ in range(images)], steps=steps) for images, steps in shapes]
        done = await asyncio.gather(*(submit(engine, pipeline, work) for work in works))
        counters = engine.counters
        assert counters.images == sum(images for images, _ in shapes)
        assert counters.evaluations == sum(images * steps for images, steps in shapes)
        assert counters.device_seconds <= sum(each.device_seconds for each in done) * 1.0001
        assert pipeline.calls == [work.seeds for work in works for _ in range(work.steps)]
        assert counters.cancelled_requests == 0

    run_on_engine(scenario)
    assert len(pipeline.rows) == 0
