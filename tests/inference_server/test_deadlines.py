"""What is offered in place of a request that takes too long, and whom a prediction lets in."""

from hypothesis import given
from hypothesis import strategies as st

from fake_pipelines import generation
from imagegen_server.costs import Prediction
from imagegen_server.deadlines import is_doubtful, is_hopeless, offer

SECONDS = st.floats(0.01, 1e5)


@given(st.integers(0, 200), st.integers(1, 10), SECONDS, SECONDS, SECONDS)
def test_what_is_offered_fits_and_is_less_than_was_asked(
    steps: int, images: int, step: float, decode: float, left: float
) -> None:
    def seconds(steps: int, images: int) -> float:
        return images * (steps * step + decode)

    work = generation(seeds=range(images), steps=steps)
    fits = offer(work, seconds(steps, images), images * decode, left)
    assert 0 <= fits.steps < max(1, steps)
    assert 0 <= fits.images < images
    assert not fits.steps or seconds(fits.steps, images) <= left
    assert not fits.images or seconds(steps, fits.images) <= left


@given(SECONDS, SECONDS, SECONDS)
def test_a_guess_and_what_has_no_lower_bound_refuse_nobody(seconds: float, least: float, left: float) -> None:
    guess = Prediction(seconds=seconds, measured=False)
    assert not is_hopeless(guess, left)
    assert not is_doubtful(guess, left)
    assert not is_hopeless(Prediction(seconds=seconds), left)
    assert is_hopeless(Prediction(seconds=seconds, least=least), left) == (least > left)
