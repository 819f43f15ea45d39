"""Who is refused because there is not enough time: learned while the device works, wrong for a minute at most."""

import asyncio
import time

import pytest

from engine_scenarios import arrival, outcome, run_on_engine, submit, until
from fake_pipelines import CountingPipeline, Gate, generation
from imagegen_contract.errors import KINDS, ErrorCode
from imagegen_server.costs import FRESH_SECONDS, CostModel, Kind
from imagegen_server.engine import Engine
from imagegen_server.generation import Measured, Pictures
from imagegen_web.errors import DeadlineExceeded
from misbehaving.pipelines import Slow

MODEL = "fake/counting"
PIXELS = 128 * 128
TICK = 0.05


def believing(seconds: float, age: float = 0.0, rows: int = 1) -> CostModel:
    """Return costs of an evaluation that were measured some seconds ago."""
    costs = CostModel()
    costs.learn_evaluation(MODEL, Kind(PIXELS, guided=False, rows=rows), seconds, time.monotonic() - age)
    costs.learn_decode(MODEL, PIXELS, 0.0, time.monotonic() - age)
    return costs


def test_a_request_that_ran_out_of_time_teaches_and_the_next_one_is_refused_at_once() -> None:
    slow, never = Slow(TICK), CountingPipeline()

    async def scenario(engine: Engine) -> DeadlineExceeded:
        late = await outcome(submit(engine, slow, generation(steps=1000), timeout=6 * TICK))
        assert isinstance(late, DeadlineExceeded)
        assert late.started
        refused = await outcome(submit(engine, never, generation(steps=1000), timeout=6 * TICK))
        assert isinstance(refused, DeadlineExceeded)
        return refused

    refused = run_on_engine(scenario, costs=CostModel())
    assert never.prompts == []
    assert not refused.started
    assert KINDS[refused.code].retry is False
    assert refused.headers["x-should-retry"] == "false"
    assert "(1000 steps at 128x128), and its limit is 0.3 s; about " in refused.message
    assert "steps at 128x128 would fit" in refused.message
    assert "x-request-timeout" in refused.message
    told = float(refused.message.partition("would take about ")[2].partition(" s")[0])
    assert told >= 1000 * TICK


def test_a_cancelled_request_teaches_too() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        task = submit(engine, pipeline, generation(steps=100))
        await arrival(gate)
        gate.let_through()
        await arrival(gate)
        task.cancel()
        await outcome(task)
        gate.open()
        await until(lambda: engine.counters.cancelled_requests == 1, "the request to be dropped")
        [told] = engine.costs()
        assert (told.model, [(cost.pixels, cost.guided, cost.rows) for cost in told.evaluations]) == (
            MODEL,
            [(PIXELS, False, 1)],
        )

    run_on_engine(scenario, costs=CostModel())


def test_costs_are_learned_while_the_request_still_runs() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        task = submit(engine, pipeline, generation(steps=3, seeds=(1, 2)))
        await arrival(gate)
        assert engine.costs() == ()
        gate.let_through()
        await arrival(gate)
        await until(lambda: bool(engine.costs()), "the first evaluation to be learned")
        [cost] = engine.costs()[0].evaluations
        assert (cost.rows, engine.idle) == (2, False)
        gate.open()
        await task
        assert len(engine.costs()[0].decodes) == 1

    run_on_engine(scenario, costs=CostModel())


def test_what_was_measured_before_the_first_request_predicts_and_refuses() -> None:
    async def scenario(engine: Engine) -> None:
        engine.learn(MODEL, [Measured(pixels=PIXELS, guided=False, evaluation=2.0, decode=5.0)])
        refused = await outcome(submit(engine, CountingPipeline(), generation(steps=20), timeout=30.0))
        assert isinstance(refused, DeadlineExceeded)
        assert "would take about 45 s (20 steps at 128x128), and its limit is 30 s" in refused.message
        assert "about 11 steps at 128x128 would fit, or a limit of 51 s would do" in refused.message
        assert isinstance(await submit(engine, CountingPipeline(), generation(steps=5), timeout=30.0), Pictures)

    run_on_engine(scenario, costs=CostModel())


def test_a_refusal_says_how_many_pictures_would_fit() -> None:
    async def scenario(engine: Engine) -> None:
        work = generation(steps=10, seeds=(1, 2, 3, 4))
        refused = await outcome(submit(engine, CountingPipeline(), work, timeout=25.0))
        assert isinstance(refused, DeadlineExceeded)
        assert "would take about 40 s (10 steps at 128x128, n=4), and its limit is 25 s" in refused.message
        assert "about 5 steps at 128x128 or n=2 would fit" in refused.message

    run_on_engine(scenario, costs=believing(1.0, rows=4))


def test_where_no_step_fits_a_smaller_size_is_advised() -> None:
    async def scenario(engine: Engine) -> None:
        refused = await outcome(submit(engine, CountingPipeline(), generation(steps=10), timeout=0.5))
        assert isinstance(refused, DeadlineExceeded)
        assert "a size smaller than 128x128 takes less time" in refused.message

    run_on_engine(scenario, costs=believing(1.0))


def test_nobody_is_refused_for_a_guess() -> None:
    gate = Gate()
    pipeline = CountingPipeline(gate)

    async def scenario(engine: Engine) -> None:
        work = generation(steps=50, seeds=range(10), side=1024)
        tasks = [submit(engine, pipeline, work) for _ in range(4)]
        await arrival(gate)
        assert engine.predicted_seconds() > 100
        assert len(engine.waiting()) == 3, "a cold server refused by the seconds that it only guesses"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gate.open()

    run_on_engine(scenario, costs=CostModel(), queued_seconds=1.0)


def test_a_prediction_that_is_wrong_and_old_lets_a_request_in_and_is_right_after_it() -> None:
    pipeline = CountingPipeline()

    async def scenario(engine: Engine) -> None:
        for _ in range(2):
            assert isinstance(await submit(engine, pipeline, generation(steps=10), timeout=20.0), Pictures)
        predicted = engine.costs()[0].evaluation(PIXELS, 1, guided=False)
        assert predicted is not None
        assert predicted < 1

    run_on_engine(scenario, costs=believing(1000.0, age=FRESH_SECONDS + 1))


@pytest.mark.parametrize(
    "costs",
    [
        pytest.param(lambda: believing(1000.0, age=FRESH_SECONDS + 1), id="old"),
        pytest.param(lambda: believing(1000.0, rows=2), id="of another number of pictures"),
    ],
)
def test_a_doubtful_request_ends_after_two_evaluations_that_prove_it_late(costs: type[CostModel]) -> None:
    slow = Slow(TICK)

    async def scenario(engine: Engine) -> None:
        began = time.monotonic()
        late = await outcome(submit(engine, slow, generation(steps=1000), timeout=20.0))
        assert isinstance(late, DeadlineExceeded)
        assert late.started
        assert "its limit is 20 s" in late.message
        assert time.monotonic() - began < 20

    run_on_engine(scenario, costs=costs())
    assert len(slow.calls) in {2, 3}, "the third may have begun before the loop has judged"


def test_a_request_that_is_not_in_doubt_may_use_all_of_its_time() -> None:
    """Two slow evaluations at the start, as of a model that is being compiled, end nobody."""
    pipeline = Slow(TICK)

    async def scenario(engine: Engine) -> None:
        task = submit(engine, pipeline, generation(steps=200), timeout=8.0)
        await until(lambda: len(pipeline.calls) >= 3, "three evaluations")
        pipeline.seconds = 0.0
        assert isinstance(await outcome(task), Pictures)

    run_on_engine(scenario, costs=CostModel())


def test_a_request_whose_time_runs_away_while_it_waits_is_refused_before_its_turn() -> None:
    slow, never = Slow(TICK), CountingPipeline()

    async def scenario(engine: Engine) -> None:
        running = submit(engine, slow, generation(steps=200, side=256))
        await until(lambda: bool(slow.calls), "the first to run")
        late = await outcome(submit(engine, never, generation(steps=10), timeout=10 + 2 * TICK))
        assert isinstance(late, DeadlineExceeded)
        assert not late.started
        assert "would take about 10 s (10 steps at 128x128), and its limit is 10.1 s" in late.message
        assert not running.done()
        running.cancel()
        await outcome(running)

    run_on_engine(scenario, costs=believing(1.0))
    assert never.prompts == []


def test_the_code_of_a_refusal_is_that_of_a_time_that_is_over() -> None:
    async def scenario(engine: Engine) -> None:
        refused = await outcome(submit(engine, CountingPipeline(), generation(steps=10), timeout=1.0))
        assert isinstance(refused, DeadlineExceeded)
        assert refused.code == ErrorCode.DEADLINE_EXCEEDED

    run_on_engine(scenario, costs=believing(1.0))
