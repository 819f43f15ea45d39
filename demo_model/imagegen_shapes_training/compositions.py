"""What a training picture holds and where: drawn by lot, the same for an index on every machine and in every run."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imagegen_shapes_training.drawing import PALETTE, Figure, draw
from imagegen_shapes_training.shapes import SHAPES

COLOURS = tuple(PALETTE)
NAMES = tuple(SHAPES)

SIZES = {"small": (0.13, 0.16), "medium": (0.22, 0.26), "large": (0.33, 0.38)}
"""Range of the radius, as a fraction of the side, of an object whose size the caption names."""

POSITIONS = {
    "center": (0.5, 0.5),
    "left": (0.26, 0.5),
    "right": (0.74, 0.5),
    "top": (0.5, 0.26),
    "bottom": (0.5, 0.74),
    "top left": (0.26, 0.26),
    "top right": (0.74, 0.26),
    "bottom left": (0.26, 0.74),
    "bottom right": (0.74, 0.74),
}
"""Centre of an object, x and y from the top left, as fractions of the side."""

_UNNAMED_RADIUS = (0.25, 0.29)
_UNNAMED_RADIUS_ASIDE = (0.18, 0.21)  # off the centre there is less room
_NAMED_RADIUS_ASIDE = (0.20, 0.22)
_PAIR_RADIUS = (0.17, 0.20)
_JITTER = 0.015


@dataclass(frozen=True)
class Composition:
    """Background and up to two figures, with the words that a caption may use.

    ``position`` is where the only figure stands. Of two figures it tells how they lie: "left" when the first is left
    of the second, "top" when it is above.
    """

    background: str
    figures: tuple[Figure, ...] = ()
    size: str | None = None
    position: str = "center"

    def drawn(self, pixels: int) -> NDArray[np.float32]:
        """Return the picture: see :func:`imagegen_shapes_training.drawing.draw`."""
        return draw(self.background, self.figures, pixels)


@dataclass(frozen=True)
class Mix:
    """Shares (0 to 1) of the compositions without a figure and with two; the rest has one."""

    empty: float = 0.01
    pairs: float = 0.10


def composition(stream: str, index: int, mix: Mix) -> Composition:
    """Return number ``index`` of a stream. Streams of different names have nothing in common."""
    # A generator for each index, so that no sample depends on how many were drawn before it.
    lots = random.Random(f"composition {stream} {index}")
    background = lots.choice(COLOURS)
    others = [colour for colour in COLOURS if colour != background]
    kind = lots.random()
    if kind < mix.empty:
        return Composition(background)
    if kind < mix.empty + mix.pairs:
        return _pair(lots, background, others)
    return _single(lots, background, others)


def _single(lots: random.Random, background: str, colours: Sequence[str]) -> Composition:
    size = lots.choice([None, None, None, *SIZES])
    position = "center"
    if size != "large" and lots.random() < 0.5:
        position = lots.choice(list(POSITIONS)[1:])
    radius = lots.uniform(*_radius_range(size, aside=position != "center"))
    figure = Figure(lots.choice(NAMES), lots.choice(colours), _near(lots, POSITIONS[position]), radius)
    return Composition(background, (figure,), size, position)


def _radius_range(size: str | None, *, aside: bool) -> tuple[float, float]:
    if size is None:
        return _UNNAMED_RADIUS_ASIDE if aside else _UNNAMED_RADIUS
    return _NAMED_RADIUS_ASIDE if aside and size == "medium" else SIZES[size]


def _pair(lots: random.Random, background: str, colours: Sequence[str]) -> Composition:
    position = lots.choices(("left", "top"), (0.6, 0.4))[0]
    centres = ((0.27, 0.5), (0.73, 0.5)) if position == "left" else ((0.5, 0.27), (0.5, 0.73))
    figures = tuple(
        Figure(lots.choice(NAMES), lots.choice(colours), _near(lots, centre), lots.uniform(*_PAIR_RADIUS))
        for centre in centres
    )
    return Composition(background, figures, None, position)


def _near(lots: random.Random, centre: tuple[float, float]) -> tuple[float, float]:
    return centre[0] + lots.uniform(-_JITTER, _JITTER), centre[1] + lots.uniform(-_JITTER, _JITTER)
