"""What was not measured is derived from what was: by rows, by size, by guidance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract.device_costs import DecodeCost, EvaluationCost, ModelCosts

SMALL, LARGE = 128 * 128, 512 * 512

PIXELS = st.integers(64 * 64, 4096 * 4096)
SECONDS = st.floats(1e-6, 1000)
EVALUATIONS = st.builds(EvaluationCost, pixels=PIXELS, guided=st.booleans(), rows=st.integers(1, 10), seconds=SECONDS)
DECODES = st.builds(DecodeCost, pixels=PIXELS, seconds=SECONDS)


def known(*evaluations: tuple[int, bool, int, float], decodes: tuple[tuple[int, float], ...] = ()) -> ModelCosts:
    """Return costs of (pixels, guided, rows, seconds) and (pixels, seconds)."""
    return ModelCosts(
        model="a",
        evaluations=tuple(
            EvaluationCost(pixels=pixels, guided=guided, rows=rows, seconds=seconds)
            for pixels, guided, rows, seconds in evaluations
        ),
        decodes=tuple(DecodeCost(pixels=pixels, seconds=seconds) for pixels, seconds in decodes),
    )


def test_a_picture_costs_its_evaluations_and_its_decoding() -> None:
    costs = known((SMALL, True, 1, 0.5), decodes=((SMALL, 2.0),))
    assert costs.picture(SMALL, 10, 1, guided=True) == pytest.approx(7.0)


def test_nothing_is_said_of_what_was_never_measured() -> None:
    assert known().picture(SMALL, 10, 1, guided=True) is None
    assert known(decodes=((SMALL, 1.0),)).evaluation(SMALL, 1, guided=True) is None


def test_guidance_costs_up_to_twice_as_much_until_it_was_seen() -> None:
    plain = known((SMALL, False, 1, 1.0))
    assert plain.evaluation(SMALL, 1, guided=True) == pytest.approx(1.5)
    assert known((4 * LARGE, False, 1, 1.0)).evaluation(4 * LARGE, 1, guided=True) == pytest.approx(2.0, rel=0.02)
    both = known((SMALL, False, 1, 1.0), (SMALL, True, 1, 1.7))
    assert both.evaluation(SMALL, 1, guided=True) == pytest.approx(1.7)
    assert both.evaluation(SMALL, 1, guided=False) == pytest.approx(1.0)


def test_a_number_of_pictures_that_was_not_seen_costs_as_the_nearest_one() -> None:
    costs = known((SMALL, True, 1, 1.0), (SMALL, True, 8, 0.4))
    assert [costs.evaluation(SMALL, rows, guided=True) for rows in (1, 2, 7, 10)] == [1.0, 1.0, 0.4, 0.4]


def test_a_size_between_two_known_ones_is_on_their_line() -> None:
    costs = known((SMALL, True, 1, 1.0), (LARGE, True, 1, 7.0))
    middle = (SMALL + LARGE) // 2
    assert costs.evaluation(middle, 1, guided=True) == pytest.approx(4.0)


def test_a_size_beyond_one_known_size_is_in_proportion_to_it_with_an_overhead() -> None:
    costs = known((SMALL, True, 1, 1.0))
    assert costs.evaluation(LARGE, 1, guided=True) == pytest.approx(11.0)
    assert costs.evaluation(SMALL // 4, 1, guided=True) == pytest.approx(0.5)
    assert known((LARGE, True, 1, 1.0)).evaluation(4 * LARGE, 1, guided=True) == pytest.approx(4.0, rel=0.1)


def test_a_decoding_is_in_proportion_without_an_overhead() -> None:
    assert known((SMALL, True, 1, 1.0), decodes=((SMALL, 1.0),)).decode(LARGE) == pytest.approx(16.0)


def test_the_overhead_of_small_sizes_is_seen_when_two_sizes_are_far_apart() -> None:
    # One second of overhead and one for each 128x128.
    costs = known((SMALL, True, 1, 2.0), (4 * SMALL, True, 1, 5.0))
    assert costs.evaluation(16 * SMALL, 1, guided=True) == pytest.approx(17.0)
    assert costs.evaluation(SMALL // 2, 1, guided=True) == pytest.approx(1.5)


def test_noise_between_two_near_sizes_does_not_tilt_what_is_far_beyond_them() -> None:
    costs = known((LARGE, True, 1, 10.0), (LARGE + 8192, True, 1, 8.0))  # the larger one took less
    assert costs.evaluation(4 * LARGE, 1, guided=True) == pytest.approx(32, rel=0.1)


def test_a_decoding_that_was_not_seen_is_taken_for_a_guided_evaluation() -> None:
    assert known((SMALL, True, 1, 2.0)).decode(SMALL) == pytest.approx(2.0)


@given(st.lists(EVALUATIONS, max_size=6), st.lists(DECODES, max_size=4), PIXELS, st.integers(1, 999), st.booleans())
def test_what_is_derived_is_a_time_and_grows_with_the_evaluations(
    evaluations: list[EvaluationCost], decodes: list[DecodeCost], pixels: int, count: int, guided: bool
) -> None:
    costs = ModelCosts(model="a", evaluations=tuple(evaluations), decodes=tuple(decodes))
    seconds = costs.picture(pixels, count, 1, guided=guided)
    if not evaluations:
        assert seconds is None
    else:
        more = costs.picture(pixels, count + 1, 1, guided=guided)
        assert seconds is not None
        assert more is not None
        assert 0 < seconds < more
