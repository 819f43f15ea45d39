"""What work costs in device seconds, learned from what it took. Pure: durations come in as arguments.

A picture costs its evaluations times the seconds of one row in one evaluation, and its decoding. Both are learned for
each model and number of pixels; a size not seen yet is scaled from the nearest one that was.
"""

import msgspec

_WEIGHT = 0.3
"""Share of the newest measurement: a change of speed shows after a few requests, one outlier does not rule."""

_GUESS_SECONDS_PER_PIXEL = 2e-6
"""Before anything was measured: 0.1 s a step at 256x256, as a small model takes on a busy CPU core."""


class Cost(msgspec.Struct, frozen=True):
    """Device seconds of one row in one evaluation, and of decoding one picture."""

    evaluation: float
    decode: float


class CostModel:
    """Learned costs by (model, pixels). Used on the event loop only."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Cost] = {}

    def learn(self, model_id: str, pixels: int, measured: Cost) -> None:
        """Take in what one request took."""
        old = self._known.get((model_id, pixels), measured)
        self._known[model_id, pixels] = Cost(
            evaluation=old.evaluation + _WEIGHT * (measured.evaluation - old.evaluation),
            decode=old.decode + _WEIGHT * (measured.decode - old.decode),
        )

    def seconds(self, model_id: str, pixels: int, row_evaluations: int, images: int) -> float:
        """Return the predicted device seconds of evaluating so many image rows and decoding ``images`` pictures."""
        cost = self._cost(model_id, pixels)
        return row_evaluations * cost.evaluation + images * cost.decode

    def _cost(self, model_id: str, pixels: int) -> Cost:
        sizes = [known for model, known in self._known if model == model_id]
        if not sizes:
            guess = pixels * _GUESS_SECONDS_PER_PIXEL
            return Cost(guess, guess)
        nearest = min(sizes, key=lambda known: abs(known - pixels))
        cost, scale = self._known[model_id, nearest], pixels / nearest
        return Cost(cost.evaluation * scale, cost.decode * scale)
