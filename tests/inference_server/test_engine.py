"""The engine in order: who runs when, who may wait, who is freed when, and what is predicted."""

import asyncio
import math
from collections.abc import Callable

import numpy as np
import pytest

from engine_scenarios import DECODE, EVALUATION, arrival, outcome, run_on_engine, submit, until
from fake_pipelines import CountingPipeline, Gate, generation, painted
from imagegen_server.engine import Engine
from imagegen_server.generation import Pictures
from imagegen_web.errors import ApiError, DeadlineExceeded, Draining, QueueFull


def test_pictures_come_in_the_order_of_the_seeds_and_count_what_they_cost() -> None:
    pipeline = CountingPipeline()

    async def scenario(engine: Engine) -> None:
        pictures = await submit(engine, pipeline, generation(seeds=(9, 2, 7), steps=4))
        assert np.array_equal(pictures.images, [painted(seed, 4) for seed in (9, 2, 7)])
        assert pictures.device_seconds > 0
        assert pictures.queue_seconds >= 0
        counters = engine.counters
        assert (counters.evaluations, counters.images, counters.cancelled_requests) == (12, 3, 0)
        assert counters.device_seconds == pytest.approx(pictures.device_seconds)
        assert counters.busy_since is None

    run_on_engine(scenario)
    assert pipeline.calls == [(9, 2, 7)] * 4


def test_a_request_without_evaluations_is_done_at_once_and_holds_nobody_up() -> None:
    pipeline = CountingPipeline()

    async def scenario(engine: Engine) -> None:
        nothing, next_one = await asyncio.gather(
            submit(engine, pipeline, generation(seeds=(4,), steps=0)), submit(engine, pipeline, generation(seeds=(5,)))
        )
        assert np.array_equal(nothing.images, [painted(4, 0)])
        assert np.array_equal(next_one.images, [painted(5, 3)])

    run_on_engine(scenario)
    assert pipeline.calls == [(5,)] * 3


def test_requests_run_one_at_a_time_in_order_of_arrival() -> None:
    gate = Gate()
    pipeline, other = CountingPipeline(gate), CountingPipeline()

    async def scenario(engine: Engine) -> None:
        tasks = [
            submit(engine, pipeline, generation("first", seeds=(1, 2))),
            submit(engine, other, generation("other model", seeds=(5,))),
            submit(engine, pipeline, generation("third", seeds=(3,))),
        ]
        await arrival(gate)
        assert [job.generation.prompt for job in engine.running()] == ["first"]
        assert [job.generation.prompt for job in engine.waiting()] == ["other model", "third"]
        assert (pipeline.prompts, other.prompts) == (["first"], [])
        gate.open()
        await asyncio.gather(*tasks)
        assert engine.idle

    run_on_engine(scenario)
    assert pipeline.calls == [(1, 2)] * 3 + [(3,)] * 3
    assert other.calls == [(5,)] * 3


def test_a_cancelled_request_frees_the_device_after_the_evaluation_it_is_in() -> None:
    gate = Gate()
    pipeline, next_one = CountingPipeline(gate), CountingPipeline()

    async def scenario(engine: Engine) -> None:
        task = submit(engine, pipeline, generation(steps=100, seeds=(1, 2)))
        for _ in range(3):
            await arrival(gate)
            gate.let_through()
        await arrival(gate)  # in its fourth evaluation
        waiting = submit(engine, next_one, generation(seeds=(5,)))
        task.cancel()
        assert isinstance(await outcome(task), asyncio.CancelledError)
        gate.let_through()
        await waiting
        assert engine.counters.evaluations == 4 * 2 + 3
        assert engine.counters.cancelled_requests == 1

    run_on_engine(scenario)
    assert pipeline.calls == [(1, 2)] * 4
    assert pipeline.decoded == []


def test_a_request_cancelled_while_it_waits_never_starts() -> None:
    gate = Gate()
    pipeline, never = CountingPipeline(gate), CountingPipeline()

    async def scenario(engine: Engine) -> None:
        running = submit(engine, pipeline, generation())
        await arrival(gate)
        waiting = submit(engine, never, generation())
        await asyncio.sleep(0)
        waiting.cancel()
        assert isinstance(await outcome(waiting), asyncio.CancelledError)
        assert len(engine.waiting()) == 0
        gate.open()
        await running
        await until(lambda: engine.counters.cancelled_requests == 1, "the request to be dropped")
        assert engine.counters.evaluations == 3

    run_on_engine(scenario)
    assert (never.prompts, never.calls) == ([], [])


def test_a_request_cancelled_between_two_pictures_decodes_no_more() -> None:
    gate = Gate()
    pipeline = CountingPipeline(picture_gate=gate)

    async def scenario(engine: Engine) -> None:
        task = submit(engine, pipeline, generation(seeds=(1, 2, 3)))
        await arrival(gate)
        task.cancel()
        await outcome(task)
        gate.open()
        await until(lambda: engine.counters.cancelled_requests == 1, "the request to be dropped")

    run_on_engine(scenario)
    assert pipeline.decoded == [1]


def test_a_cancel_that_comes_with_the_answer_is_one_answer() -> None:
    gate = Gate()
    pipeline = CountingPipeline(picture_gate=gate)

    async def scenario(engine: Engine) -> None:
        task = submit(engine, pipeline, generation())
        await arrival(gate)
        gate.let_through()
        # The loop is held here until the answer stands in its queue; then the cancel comes first.
        assert _spin(lambda: engine.counters.images == 1)
        task.cancel()
        assert isinstance(await outcome(task), asyncio.CancelledError)
        assert engine.idle
        assert engine.counters.cancelled_requests == 0

    run_on_engine(scenario)


def _spin(condition: Callable[[], bool]) -> bool:
    return any(condition() for _ in range(10_000_000))


def test_a_running_request_whose_time_is_over_frees_the_device() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        task = submit(engine, pipeline, generation(steps=100), timeout=1.0)
        await arrival(gate)
        late = await outcome(task)
        assert isinstance(late, DeadlineExceeded)
        assert "longer than 1 s" in late.message
        assert late.started
        gate.open()
        await until(lambda: engine.counters.cancelled_requests == 1, "the request to be dropped")

    run_on_engine(scenario)
    assert len(pipeline.calls) == 1


def test_a_waiting_request_whose_time_is_over_says_that_it_never_started() -> None:
    gate = Gate()
    pipeline, never = CountingPipeline(gate), CountingPipeline()

    async def scenario(engine: Engine) -> None:
        running = submit(engine, pipeline, generation())
        await arrival(gate)
        late = await outcome(submit(engine, never, generation(), timeout=0.05))
        assert isinstance(late, DeadlineExceeded)
        assert not late.started
        gate.open()
        await running

    run_on_engine(scenario)
    assert never.prompts == []


def test_the_queue_is_bounded_by_count_and_says_when_its_place_is_free() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        tasks = [submit(engine, pipeline, generation(steps=10)) for _ in range(3)]
        await arrival(gate)
        refused = await outcome(submit(engine, pipeline, generation(steps=10)))
        assert isinstance(refused, QueueFull)
        assert "2 requests wait (at most 2)" in refused.message
        assert refused.retry_after == pytest.approx(10 * EVALUATION + DECODE)
        assert not refused.started
        gate.open()
        await tasks[0]
        await asyncio.gather(submit(engine, pipeline, generation()), *tasks[1:])

    run_on_engine(scenario, queued_requests=2)


def test_a_crowd_that_is_refused_is_told_one_place_after_another_but_none_after_the_end_of_all_work() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)
    each = 10 * EVALUATION + DECODE

    async def scenario(engine: Engine) -> None:
        tasks = [submit(engine, pipeline, generation(steps=10)) for _ in range(3)]
        await arrival(gate)
        crowd = [await outcome(submit(engine, pipeline, generation(steps=10))) for _ in range(5)]
        told = [refused.retry_after for refused in crowd if isinstance(refused, QueueFull)]
        assert told == pytest.approx([each, 2 * each, 3 * each, 3 * each, 3 * each], abs=0.5)
        gate.open()
        await asyncio.gather(*tasks)

    run_on_engine(scenario, queued_requests=2)


def test_the_queue_is_bounded_by_predicted_seconds_and_says_when_they_are_worked_off() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)
    each = 10 * EVALUATION + DECODE

    async def scenario(engine: Engine) -> None:
        tasks = [submit(engine, pipeline, generation(steps=10)) for _ in range(2)]
        await arrival(gate)
        refused = await outcome(submit(engine, pipeline, generation()))
        assert isinstance(refused, QueueFull)
        assert "12.0 s of work (at most 7 s)" in refused.message
        assert refused.retry_after == pytest.approx(2 * each - 7.0)
        gate.open()
        await asyncio.gather(*tasks)

    run_on_engine(scenario, queued_seconds=7.0)


def test_an_idle_device_takes_any_request_and_no_queue_means_one_at_a_time() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        task = submit(engine, pipeline, generation(steps=100))
        await arrival(gate)
        assert isinstance(await outcome(submit(engine, pipeline, generation())), QueueFull)
        gate.open()
        await task
        assert isinstance(await submit(engine, pipeline, generation()), Pictures)

    run_on_engine(scenario, queued_requests=0, queued_seconds=0.001)


def test_a_cancelled_request_gives_its_place_in_the_queue_back_at_once() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        tasks = [submit(engine, pipeline, generation()) for _ in range(2)]
        await arrival(gate)
        assert isinstance(await outcome(submit(engine, pipeline, generation())), QueueFull)
        tasks[1].cancel()
        await outcome(tasks[1])
        another = submit(engine, pipeline, generation())
        gate.open()
        assert isinstance(await another, Pictures)
        await tasks[0]

    run_on_engine(scenario, queued_requests=1)


def test_predicted_seconds_fall_with_every_evaluation() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)
    seen: list[float] = []

    async def scenario(engine: Engine) -> None:
        assert engine.predicted_seconds() == 0
        task = submit(engine, pipeline, generation(steps=4, seeds=(1, 2)))
        for _ in range(4):
            await arrival(gate)
            seen.append(engine.predicted_seconds())
            gate.let_through()
        await task
        assert engine.predicted_seconds() == 0

    run_on_engine(scenario)
    assert seen == pytest.approx([2 * (left * EVALUATION + DECODE) for left in (4, 3, 2, 1)])


def test_device_work_runs_between_two_evaluations() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        task = submit(engine, pipeline, generation(steps=3))
        await arrival(gate)
        work = asyncio.ensure_future(engine.on_device(lambda: len(pipeline.calls)))
        await asyncio.sleep(0)  # it stands in line while the device is in its first evaluation
        gate.let_through()
        assert await work == 1
        gate.open()
        await task

    run_on_engine(scenario)


def test_device_work_that_fails_fails_its_caller_alone() -> None:
    async def scenario(engine: Engine) -> None:
        with pytest.raises(ZeroDivisionError):
            await engine.on_device(lambda: 1 / 0)
        assert await engine.on_device(lambda: "next") == "next"

    run_on_engine(scenario)


def test_draining_takes_nothing_new_and_completes_what_runs_and_what_waits() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        tasks = [submit(engine, pipeline, generation(seeds=(seed,))) for seed in (1, 2)]
        await arrival(gate)
        engine.drain()
        refused = await outcome(submit(engine, pipeline, generation()))
        assert isinstance(refused, Draining)
        assert not refused.started
        assert refused.retry_after is not None
        assert 0 < refused.retry_after < math.inf
        assert not engine.idle
        gate.open()
        pictures = await asyncio.gather(*tasks)
        assert np.array_equal([each.images[0] for each in pictures], [painted(1, 3), painted(2, 3)])
        assert engine.idle

    run_on_engine(scenario)


@pytest.mark.parametrize("end", [Engine.cut_off, Engine.stop])
def test_a_cut_off_answers_everybody_at_once_and_says_who_had_started(end: Callable[[Engine], None]) -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        tasks = [submit(engine, pipeline, generation(steps=100)) for _ in range(3)]
        await arrival(gate)
        end(engine)
        errors = [await outcome(task) for task in tasks]  # while the device still stands in its evaluation
        assert [type(error) for error in errors] == [Draining] * 3
        assert [error.started for error in errors if isinstance(error, ApiError)] == [True, False, False]
        assert engine.idle
        gate.open()

    run_on_engine(scenario)
    assert len(pipeline.calls) == 1


def test_a_cut_off_of_a_request_that_is_cancelled_in_the_same_moment_is_one_answer() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        first, second = (submit(engine, pipeline, generation()) for _ in range(2))
        await arrival(gate)
        first.cancel()
        engine.cut_off()
        second.cancel()
        assert isinstance(await outcome(first), asyncio.CancelledError)
        assert isinstance(await outcome(second), asyncio.CancelledError)
        gate.open()

    run_on_engine(scenario)
