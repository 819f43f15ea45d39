"""Predicted device seconds: learned from every evaluation and every decoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_pipelines import generation
from imagegen_server.costs import FRESH_SECONDS, CostModel, Kind, Left, Prediction

MODEL = "fake/counting"
PIXELS = 128 * 128
ONE = Kind(PIXELS, guided=False, rows=1)

SECONDS = st.floats(0, 1000)


def predicted(costs: CostModel, *, steps: int = 10, images: int = 1, now: float = 0.0, side: int = 128) -> Prediction:
    """Return the prediction for a whole request."""
    work = generation(seeds=range(images), steps=steps, side=side)
    return costs.predict(work, Left(evaluations=steps * images, images=images), now)


def test_a_request_costs_its_evaluations_and_its_decoding() -> None:
    costs = CostModel()
    costs.learn_evaluation(MODEL, ONE, 0.5, 0.0)
    costs.learn_decode(MODEL, PIXELS, 2.0, 0.0)
    assert predicted(costs).seconds == pytest.approx(7.0)
    assert predicted(costs, images=4).seconds == pytest.approx(28.0)
    assert predicted(costs, steps=0).seconds == pytest.approx(2.0)


def test_evaluations_of_different_numbers_of_pictures_are_told_apart() -> None:
    costs = CostModel()
    costs.learn_evaluation(MODEL, ONE, 1.0, 0.0)
    costs.learn_evaluation(MODEL, Kind(PIXELS, guided=False, rows=4), 0.4, 0.0)
    costs.learn_decode(MODEL, PIXELS, 0.0, 0.0)
    assert predicted(costs).seconds == pytest.approx(10.0)
    assert predicted(costs, images=4).seconds == pytest.approx(16.0)


def test_what_one_model_took_says_nothing_of_another() -> None:
    costs = CostModel()
    guess = predicted(costs)
    costs.learn_evaluation("another", ONE, 100.0, 0.0)
    assert predicted(costs) == guess
    assert guess.seconds > 0


def test_a_guess_says_that_it_is_one_and_has_no_lower_bound() -> None:
    guess = predicted(CostModel())
    assert not guess.measured
    assert guess.least is None


def test_the_first_measurements_of_a_kind_count_alike_and_later_ones_a_tenth() -> None:
    costs = CostModel()
    for seconds in (3.0, 1.0, 2.0):
        costs.learn_evaluation(MODEL, ONE, seconds, 0.0)
    assert costs.of(MODEL).evaluation(PIXELS, 1, guided=False) == pytest.approx(2.0)
    for _ in range(100):
        costs.learn_evaluation(MODEL, ONE, 1.0, 0.0)
    costs.learn_evaluation(MODEL, ONE, 11.0, 0.0)
    assert costs.of(MODEL).evaluation(PIXELS, 1, guided=False) == pytest.approx(2.0, abs=0.01)


def test_a_slow_moment_does_not_move_the_least_that_a_request_takes() -> None:
    costs = CostModel()
    for seconds in (1.0, 20.0, 30.0):
        costs.learn_evaluation(MODEL, ONE, seconds, 0.0)
    costs.learn_evaluation(MODEL, ONE, 1.0, 0.0)
    assert predicted(costs).least == pytest.approx(10.0)
    assert predicted(costs).seconds > 100


def test_a_machine_that_stays_slow_moves_it() -> None:
    costs = CostModel()
    costs.learn_evaluation(MODEL, ONE, 1.0, 0.0)
    for _ in range(60):
        costs.learn_evaluation(MODEL, ONE, 5.0, 0.0)
    assert predicted(costs).least == pytest.approx(50.0, rel=0.02)


def test_the_least_is_known_of_the_very_kind_only() -> None:
    costs = CostModel()
    costs.learn_evaluation(MODEL, ONE, 1.0, 0.0)
    assert predicted(costs).least is not None
    for other in (predicted(costs, images=2), predicted(costs, side=256)):
        assert other.measured
        assert other.least is None


@given(st.lists(SECONDS, min_size=1, max_size=20), st.floats(0.01, 1e6))
def test_nothing_measured_bounds_anything_after_a_minute_and_the_next_measurement_replaces_it(
    measured: list[float], later: float
) -> None:
    costs = CostModel()
    for second, seconds in enumerate(measured):
        costs.learn_evaluation(MODEL, ONE, seconds, float(second))
        costs.learn_decode(MODEL, PIXELS, seconds, float(second))
    now = len(measured) - 1 + FRESH_SECONDS + later
    assert predicted(costs, now=now).least is None
    costs.learn_evaluation(MODEL, ONE, 0.25, now)
    costs.learn_decode(MODEL, PIXELS, 0.5, now)
    assert predicted(costs, now=now).seconds == pytest.approx(3.0)


@given(st.lists(SECONDS, min_size=1, max_size=30))
def test_the_least_is_never_more_than_what_is_predicted(measured: list[float]) -> None:
    costs = CostModel()
    for seconds in measured:
        costs.learn_evaluation(MODEL, ONE, seconds, 0.0)
    prediction = predicted(costs)
    assert prediction.least is not None
    assert prediction.least <= prediction.seconds + 1e-9


def test_a_client_who_tries_every_size_fills_no_memory() -> None:
    costs = CostModel()
    for pixels in range(64, 64 + 1000):
        costs.learn_evaluation(MODEL, Kind(pixels, guided=False, rows=1), 1.0, 0.0)
        costs.learn_decode(MODEL, pixels, 1.0, 0.0)
    told = costs.of(MODEL)
    assert len(told.evaluations) == len(told.decodes) == 32
    assert max(cost.pixels for cost in told.evaluations) == 1063, "the latest are kept"
