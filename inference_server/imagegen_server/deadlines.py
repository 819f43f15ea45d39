"""Whether a request can be done in time, and what could be instead. Pure.

The rules:

1. Nobody is refused for a guess, nor for what was measured of other sizes, other guidance or other numbers of pictures.
2. A request is refused unstarted when its own evaluations would take longer than is left even at the fastest pace that
   was seen in the last minute (`costs.FRESH_SECONDS`).
3. One that is only predicted to be late, by older measurements or those of other kinds, begins. Its first two
   evaluations are measured, and it ends when the rest would be late even at the faster pace of these.

So a wrong prediction cannot last: refused requests measure nothing, but after a minute without a measurement the next
one is let in by rule 3, and its evaluations replace what was known. And what cannot be done costs the device two or
three evaluations a minute.
"""

import math

import msgspec

from imagegen_contract.names import REQUEST_TIMEOUT_HEADER
from imagegen_server.costs import Prediction
from imagegen_server.generation import Generation

PROBE_EVALUATIONS = 2
"""Evaluations by which a doubtful request is judged: the first of a size often takes longer than all others."""

_SPARE = 0.9
"""What is said to fit takes this part of the time: predictions are not that exact."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What would fit into a request's time: steps of all its pictures, or pictures of all its steps; 0 for none."""

    steps: int
    images: int


def is_hopeless(prediction: Prediction, left: float) -> bool:
    """Return whether work cannot be done in ``left`` seconds by what its own kind was seen to take lately."""
    return prediction.least is not None and prediction.least > left


def is_doubtful(prediction: Prediction, left: float) -> bool:
    """Return whether work is predicted to take longer than ``left`` seconds, however well that is known."""
    return prediction.measured and prediction.seconds > left


def offer(generation: Generation, whole: float, decoding: float, left: float) -> Offer:
    """Return what fits into ``left`` seconds of a request that takes ``whole``, of which ``decoding`` for decoding."""
    a_step = (whole - decoding) / max(1, generation.steps)
    steps = math.floor(_SPARE * (left - decoding) / a_step) if a_step else 0
    images = math.floor(_SPARE * left * len(generation.seeds) / whole) if whole else 0
    return Offer(steps=max(0, min(steps, generation.steps - 1)), images=max(0, min(images, len(generation.seeds) - 1)))


def too_late(generation: Generation, seconds: float, times: tuple[float, float], fits: Offer) -> str:
    """Say that a request takes longer than it may: ``times`` are its limit and what is left of it, in seconds."""
    limit, left = times
    images = len(generation.seeds)
    what = f"{generation.steps} steps at {generation.size}" + (f", n={images}" if images > 1 else "")
    spent = "" if limit - left < 1 else f", of which {_seconds(left)} are left"
    enough = math.ceil((seconds + limit - left) / _SPARE)
    return (
        f"the request would take about {_seconds(seconds)} ({what}), and its limit is {_seconds(limit)}{spent}; "
        f"{_alternatives(generation, fits)}a limit of {_seconds(enough)} would do (header {REQUEST_TIMEOUT_HEADER}, "
        "at most what the server's setting request_timeout allows)"
    )


def _alternatives(generation: Generation, fits: Offer) -> str:
    steps = f"about {fits.steps} steps at {generation.size}" if fits.steps else ""
    images = f"n={fits.images}" if fits.images else ""
    found = " or ".join(filter(None, [steps, images]))
    return f"{found} would fit, or " if found else f"a size smaller than {generation.size} takes less time, or "


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1000 else f"{seconds:.3g} s"
