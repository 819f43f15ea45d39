"""What a picture costs in device seconds: what its pods say that they have measured, else learned from replies. Pure.

Pods measure each evaluation, also of requests that end early, and tell it in `/status`; so no prediction stays wrong
because nothing succeeds. One that tells nothing, because it is of an older version, is learned from what its replies
say that pictures took: a picture costs its evaluations times its pixels times something that is learned for each model,
kind of device, number of pixels and number of evaluations. A combination that was not seen yet is scaled from the
nearest one of the same model and kind of device, then of the same model. Then there is a guess, by which nobody is
refused.
"""

import math
from collections.abc import Sequence

import msgspec

_WEIGHT = 0.3
"""Share of the newest measurement: a change of speed shows after a few requests, one outlier does not rule."""

_MOST_SHAPES = 256
"""Shapes remembered of a model on one kind of device, the latest: clients choose them, and there are millions."""

_GUESS_SECONDS_PER_PIXEL_STEP = 2e-6
"""Before anything was measured: 0.1 s a step at 256x256, as a small model takes on a busy CPU core."""


class Shape(msgspec.Struct, frozen=True):
    """What the cost of a picture hangs on: pixels, evaluations, and whether it is guided."""

    pixels: int
    steps: int
    guided: bool = True

    @property
    def work(self) -> float:
        """Pixels times steps; a picture is also decoded, which costs about one step."""
        return self.pixels * (self.steps + 1)


class RowCost(msgspec.Struct, frozen=True):
    """Predicted device seconds of one picture. ``measured`` says whether they are more than a guess."""

    seconds: float
    measured: bool


class CostModel:
    """Learned seconds of one row. Belongs to one event loop."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[Shape, float]] = {}

    def learn(self, model: str, device: str, shape: Shape, seconds: float) -> None:
        """Take in what one row took on a device of that kind."""
        shapes = self._known.setdefault((model, device), {})
        old = shapes.pop(shape, seconds)
        shapes[shape] = old + _WEIGHT * (seconds - old)
        if len(shapes) > _MOST_SHAPES:
            del shapes[next(iter(shapes))]

    def row(self, model: str, device: str, shape: Shape, told: Sequence[float]) -> RowCost:
        """Return what one row costs.

        ``told`` is what pods say of it: their mean is taken. ``device`` "" asks for the mean of all kinds.
        """
        if told:
            return RowCost(sum(told) / len(told), measured=True)
        shapes = self._known.get((model, device))
        if shapes:
            return RowCost(_scaled(shapes, shape), measured=True)
        others = [_scaled(known, shape) for (name, _), known in self._known.items() if name == model]
        if others:
            return RowCost(sum(others) / len(others), measured=True)
        return RowCost(shape.work * _GUESS_SECONDS_PER_PIXEL_STEP, measured=False)


def _scaled(shapes: dict[Shape, float], shape: Shape) -> float:
    if shape in shapes:
        return shapes[shape]
    nearest = min(shapes, key=lambda known: abs(math.log(known.work / shape.work)))
    return shapes[nearest] * shape.work / nearest.work
