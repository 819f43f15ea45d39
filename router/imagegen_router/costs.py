"""What a request costs in device seconds, learned from what pods say that others took. Pure.

One row (one picture of one request) costs its steps times its pixels times something that is learned for each model,
kind of device, number of pixels and number of steps. A combination that was not seen yet is scaled from the nearest one
of the same model and kind of device, then of the same model, then from a guess.
"""

import math

import msgspec

_WEIGHT = 0.3
"""Share of the newest measurement: a change of speed shows after a few requests, one outlier does not rule."""

_GUESS_SECONDS_PER_PIXEL_STEP = 2e-6
"""Before anything was measured: 0.1 s a step at 256x256, as a small model takes on a busy CPU core."""


class Shape(msgspec.Struct, frozen=True):
    """What the cost of a picture hangs on."""

    pixels: int
    steps: int

    @property
    def work(self) -> float:
        """Pixels times steps; a picture is also decoded, which costs about one step."""
        return self.pixels * (self.steps + 1)


class CostModel:
    """Learned seconds of one row. Belongs to one event loop."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[Shape, float]] = {}

    def learn(self, model: str, device: str, shape: Shape, seconds: float) -> None:
        """Take in what one row took on a device of that kind."""
        shapes = self._known.setdefault((model, device), {})
        old = shapes.get(shape, seconds)
        shapes[shape] = old + _WEIGHT * (seconds - old)

    def row_seconds(self, model: str, device: str, shape: Shape) -> float:
        """Return the predicted device seconds of one row; ``device`` "" asks for the mean of all that are known."""
        shapes = self._known.get((model, device))
        if shapes:
            return _scaled(shapes, shape)
        others = [_scaled(known, shape) for (name, _), known in self._known.items() if name == model]
        if others:
            return sum(others) / len(others)
        return shape.work * _GUESS_SECONDS_PER_PIXEL_STEP


def _scaled(shapes: dict[Shape, float], shape: Shape) -> float:
    if shape in shapes:
        return shapes[shape]
    nearest = min(shapes, key=lambda known: abs(math.log(known.work / shape.work)))
    return shapes[nearest] * shape.work / nearest.work
