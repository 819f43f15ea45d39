"""Predicted device seconds: learned from what requests took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_server.costs import Cost, CostModel

SMALL, LARGE = 128 * 128, 512 * 512

PIXELS = st.integers(64 * 64, 4096 * 4096)
SECONDS = st.floats(0, 1000)
COSTS = st.builds(Cost, evaluation=SECONDS, decode=SECONDS)


def test_a_picture_costs_its_evaluations_and_its_decoding() -> None:
    costs = CostModel()
    costs.learn("a", SMALL, Cost(evaluation=0.5, decode=2.0))
    assert costs.seconds("a", SMALL, row_evaluations=10, images=1) == pytest.approx(7.0)
    assert costs.seconds("a", SMALL, row_evaluations=40, images=4) == pytest.approx(28.0)
    assert costs.seconds("a", SMALL, row_evaluations=0, images=1) == pytest.approx(2.0)


def test_an_unknown_size_is_scaled_by_pixels_from_the_nearest_known() -> None:
    costs = CostModel()
    costs.learn("a", SMALL, Cost(evaluation=1.0, decode=1.0))
    costs.learn("a", LARGE, Cost(evaluation=100.0, decode=100.0))
    assert costs.seconds("a", 2 * SMALL, 10, 1) == pytest.approx(22.0)
    assert costs.seconds("a", 2 * LARGE, 10, 1) == pytest.approx(2200.0)
    assert costs.seconds("a", LARGE // 2, 10, 1) == pytest.approx(8 * 11.0)  # nearer to the small one


def test_what_one_model_took_says_nothing_of_another() -> None:
    costs = CostModel()
    unknown = costs.seconds("b", SMALL, 10, 1)
    costs.learn("a", SMALL, Cost(evaluation=100.0, decode=100.0))
    assert costs.seconds("b", SMALL, 10, 1) == unknown > 0


@given(COSTS, COSTS, st.integers(1, 60))
def test_predictions_converge_to_what_requests_take(first: Cost, then: Cost, times: int) -> None:
    costs = CostModel()
    costs.learn("a", SMALL, first)
    for _ in range(times):
        costs.learn("a", SMALL, then)
    predicted, truth, start = (
        costs.seconds("a", SMALL, 10, 1),
        10 * then.evaluation + then.decode,
        10 * first.evaluation + first.decode,
    )
    assert abs(predicted - truth) == pytest.approx(abs(start - truth) * 0.7**times, rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(PIXELS, COSTS), max_size=5), PIXELS, st.integers(0, 5000), st.integers(0, 10))
def test_predictions_are_never_negative_and_grow_with_the_work(
    learned: list[tuple[int, Cost]], pixels: int, evaluations: int, images: int
) -> None:
    costs = CostModel()
    for size, cost in learned:
        costs.learn("a", size, cost)
    predicted = costs.seconds("a", pixels, evaluations, images)
    assert predicted >= 0
    assert costs.seconds("a", pixels, evaluations + 1, images) >= predicted
    assert costs.seconds("a", pixels, evaluations, images + 1) >= predicted
