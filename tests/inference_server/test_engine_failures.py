"""What a failure touches: its own request, never the thread; and what a lost device means for everyone."""

import asyncio
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from engine_scenarios import arrival, outcome, run_on_engine, submit
from fake_pipelines import CountingPipeline, CountingRow, Gate, generation, painted
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.engine import Engine
from imagegen_server.errors import DeviceLostError, NonFiniteOutput, OutOfMemory
from imagegen_web.errors import Draining
from misbehaving.pipelines import BreaksTheProtocol, FailsInAdmit, FailsInAdvance, FailsInPicture, Raise, SmallDevice

FAULTY: dict[str, Callable[[Raise], CountingPipeline]] = {
    "encoding the prompt": FailsInAdmit,
    "the first evaluation": FailsInAdvance,
    "a later evaluation": lambda error: FailsInAdvance(error, after=2),
    "the first picture": FailsInPicture,
    "a later picture": lambda error: FailsInPicture(error, after=1),
}


@pytest.mark.parametrize("faulty", FAULTY.values(), ids=FAULTY)
@pytest.mark.parametrize("error", [KeyError, NonFiniteOutput, MemoryError])
def test_a_pipeline_that_raises_fails_its_own_request_alone(
    faulty: Callable[[Raise], CountingPipeline], error: type[Exception]
) -> None:
    pipeline, good = faulty(error), CountingPipeline()

    async def scenario(engine: Engine) -> None:
        tasks = [submit(engine, which, generation(seeds=(1, 2))) for which in (good, pipeline, good)]
        outcomes = [await outcome(task) for task in tasks]
        assert [type(each).__name__ for each in outcomes] == ["Pictures", error.__name__, "Pictures"]
        assert (engine.counters.images, engine.idle, engine.alive) == (4, True, True)

    run_on_engine(scenario)
    assert len(pipeline.rows) == 0


@pytest.mark.parametrize("faulty", FAULTY.values(), ids=FAULTY)
def test_an_exception_that_no_future_can_hold_is_an_answer_too(faulty: Callable[[Raise], CountingPipeline]) -> None:
    async def scenario(engine: Engine) -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await submit(engine, faulty(StopIteration), generation(seeds=(1, 2)))

    run_on_engine(scenario)


def test_what_a_failed_call_held_is_freed_while_its_error_lives_on() -> None:
    tensors: list[weakref.ref[CountingRow]] = []

    class HoldsMuch(CountingPipeline):
        def advance(self, rows: Sequence[CountingRow]) -> None:
            activations = CountingRow(0, 0, rows[0].key)
            tensors.append(weakref.ref(activations))
            raise KeyError(activations.seed)

    pipeline = HoldsMuch()

    async def scenario(engine: Engine) -> None:
        failed = await outcome(submit(engine, pipeline, generation()))
        assert isinstance(failed, KeyError)
        assert failed.__traceback__ is not None
        # Without the collector: a GPU's memory is short before it runs.
        assert [tensor() for tensor in tensors] == [None]
        assert len(pipeline.rows) == 0

    run_on_engine(scenario)


def test_what_ran_out_of_memory_is_freed_before_the_next_attempt() -> None:
    tensors: list[weakref.ref[CountingRow]] = []
    held: list[bool] = []

    class HoldsMuch(SmallDevice):
        def advance(self, rows: Sequence[CountingRow]) -> None:
            held.append(any(tensor() is not None for tensor in tensors))
            activations = CountingRow(0, 0, rows[0].key)
            tensors.append(weakref.ref(activations))
            super().advance(rows)
            del activations

    async def scenario(engine: Engine) -> None:
        await submit(engine, HoldsMuch(pixels=128 * 128), generation(seeds=range(4), steps=1))

    run_on_engine(scenario)
    assert held == [False] * 6  # of 4, 2 and then 1 row


def test_a_request_that_failed_after_its_cancel_is_one_answer() -> None:
    gate = Gate()
    pipeline = FailsInAdvance(KeyError, gate=gate)

    async def scenario(engine: Engine) -> None:
        task = submit(engine, pipeline, generation())
        await arrival(gate)
        task.cancel()
        gate.open()
        assert isinstance(await outcome(task), asyncio.CancelledError)
        assert np.array_equal((await submit(engine, CountingPipeline(), generation())).images[0], painted(1, 3))

    run_on_engine(scenario)


def test_out_of_memory_halves_the_batch_until_it_fits_and_is_remembered() -> None:
    pipeline = SmallDevice(pixels=3 * 128 * 128)

    async def scenario(engine: Engine) -> None:
        pictures = await submit(engine, pipeline, generation(seeds=range(10), steps=2))
        assert np.array_equal(pictures.images, [painted(seed, 2) for seed in range(10)])
        assert pipeline.tried[:3] == [10, 5, 2]
        assert pipeline.calls == [(row, row + 1) for row in range(0, 10, 2) for _ in range(2)]
        assert engine.counters.evaluations == 20
        pipeline.tried.clear()
        await submit(engine, pipeline, generation(seeds=range(4), steps=1))
        assert pipeline.tried == [2, 2]

    run_on_engine(scenario)


def test_out_of_memory_at_one_size_does_not_slow_down_another() -> None:
    pipeline = SmallDevice(pixels=4 * 128 * 128)

    async def scenario(engine: Engine) -> None:
        with pytest.raises(OutOfMemory):
            await submit(engine, pipeline, generation(seeds=(1, 2), side=512))
        pipeline.tried.clear()
        await submit(engine, pipeline, generation(seeds=range(4), steps=1))
        assert pipeline.tried == [4]

    run_on_engine(scenario)


def test_out_of_memory_with_a_single_row_fails_that_request_alone() -> None:
    pipeline = SmallDevice(pixels=128 * 128)

    async def scenario(engine: Engine) -> None:
        large = submit(engine, pipeline, generation(side=256))
        small = submit(engine, pipeline, generation(seeds=(3,)))
        failed = await outcome(large)
        assert isinstance(failed, OutOfMemory)
        assert failed.started
        assert np.array_equal((await small).images, [painted(3, 3)])

    run_on_engine(scenario)
    assert pipeline.tried == [1, 1, 1, 1]


@pytest.mark.parametrize("pipeline", [FailsInAdmit(DeviceOutOfMemoryError), FailsInPicture(DeviceOutOfMemoryError)])
def test_out_of_memory_outside_an_evaluation_fails_the_request_in_words(pipeline: CountingPipeline) -> None:
    async def scenario(engine: Engine) -> None:
        with pytest.raises(OutOfMemory, match="not enough memory for this request; ask for less"):
            await submit(engine, pipeline, generation())
        await submit(engine, CountingPipeline(), generation())

    run_on_engine(scenario)


def test_progress_counts_while_a_split_batch_runs_one_part_after_the_other() -> None:
    class Watched(SmallDevice):
        def advance(self, rows: Sequence[CountingRow]) -> None:
            seen.append(engines[0].predicted_seconds())
            super().advance(rows)

    seen: list[float] = []
    engines: list[Engine] = []

    async def scenario(engine: Engine) -> None:
        engines.append(engine)
        await submit(engine, Watched(pixels=128 * 128), generation(seeds=(1, 2), steps=2))

    run_on_engine(scenario)
    assert seen == [4.0, 4.0, 3.5, 3.0, 2.5]  # the first attempt ran out of memory; each row costs 0.5


def test_a_lost_device_ends_the_engine_and_answers_everyone() -> None:
    gate = Gate()
    pipeline, never = (
        FailsInAdvance(lambda: DeviceLostError("the GPU fell off"), after=1, gate=gate),
        CountingPipeline(),
    )
    told: list[str] = []

    async def scenario(engine: Engine) -> None:
        running = submit(engine, pipeline, generation(steps=100))
        received = submit(engine, never, generation())
        await arrival(gate)
        gate.let_through()
        await arrival(gate)
        in_flight = submit(engine, never, generation())
        loading = asyncio.ensure_future(engine.on_device(lambda: None))
        await asyncio.sleep(0)
        gate.open()
        errors = [await outcome(task) for task in (running, received, in_flight, loading)]
        assert [type(error) for error in errors] == [DeviceLostError, Draining, Draining, DeviceLostError]
        assert "the GPU fell off" in str(errors[0])
        assert [error.started for error in errors if isinstance(error, Draining)] == [False, False]
        assert told == ["the GPU fell off"]
        assert engine.idle
        assert isinstance(await outcome(submit(engine, never, generation())), Draining)
        with pytest.raises(DeviceLostError, match="the GPU fell off"):
            await engine.on_device(lambda: None)

    run_on_engine(scenario, on_device_lost=lambda error: told.append(str(error)))
    assert never.prompts == []


def test_a_device_lost_while_it_loads_a_model_ends_the_engine() -> None:
    told: list[str] = []

    async def scenario(engine: Engine) -> None:
        def place() -> None:
            raise DeviceLostError("the GPU fell off")

        with pytest.raises(DeviceLostError, match="fell off"):
            await engine.on_device(place)
        assert told == ["the GPU fell off"]

    run_on_engine(scenario, on_device_lost=lambda error: told.append(str(error)))


@pytest.mark.parametrize("pipeline", [BreaksTheProtocol(), FailsInAdvance(SystemExit), FailsInAdmit(SystemExit)])
def test_an_error_that_ends_the_device_thread_leaves_nobody_waiting(pipeline: CountingPipeline) -> None:
    told: list[BaseException] = []

    async def scenario(engine: Engine) -> None:
        tasks = [submit(engine, pipeline, generation()), submit(engine, CountingPipeline(), generation())]
        assert [type(await outcome(task)) for task in tasks] == [DeviceLostError, Draining]

    run_on_engine(scenario, on_device_lost=told.append)
    assert len(told) == 1
