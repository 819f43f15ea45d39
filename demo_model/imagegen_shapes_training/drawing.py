"""Paints coloured shapes on a coloured background, antialiased over one pixel, at any resolution."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imagegen_shapes_training.shapes import SHAPES

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "orange": (255, 140, 0),
    "yellow": (250, 225, 40),
    "green": (30, 160, 60),
    "cyan": (40, 205, 220),
    "blue": (35, 70, 220),
    "purple": (130, 40, 170),
    "pink": (255, 140, 190),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
"""The ten colours that the model knows, in 8-bit RGB."""

REACH = 1.15
"""No shape reaches further than this many radii from its centre (the furthest, the diamond's corner, lies at 1.05)."""


@dataclass(frozen=True)
class Figure:
    """One shape in a picture. ``centre`` (x, y from the top left) and ``radius`` are fractions of the side."""

    shape: str
    colour: str
    centre: tuple[float, float] = (0.5, 0.5)
    radius: float = 0.27


def draw(background: str, figures: Sequence[Figure], pixels: int) -> NDArray[np.float32]:
    """Return RGB of shape (pixels, pixels, 3), 0 to 255 and not rounded; later figures cover earlier ones."""
    picture = np.empty((pixels, pixels, 3), dtype=np.float32)
    picture[:] = PALETTE[background]
    for figure in figures:
        _paint(picture, figure)
    return picture


def as_inputs(pictures: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Stack pictures as the VAE wants them: shape (n, 3, height, width), -1 to 1."""
    return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)) / np.float32(127.5) - np.float32(1)


def _paint(picture: NDArray[np.float32], figure: Figure) -> None:
    """Blend ``figure`` into ``picture``; only the square that it can reach is computed."""
    pixels = len(picture)
    columns, rows = (_reached(middle, figure.radius, pixels) for middle in figure.centre)
    ticks = (np.arange(pixels) + 0.5) / pixels
    x, y = np.meshgrid(
        (ticks[columns] - figure.centre[0]) / figure.radius,
        (ticks[rows] - figure.centre[1]) / figure.radius,
    )
    distance = SHAPES[figure.shape](x, y) * figure.radius * pixels
    cover = np.clip(0.5 - distance, 0, 1)[..., None].astype(np.float32)
    beneath = picture[rows, columns]
    beneath += cover * (np.array(PALETTE[figure.colour], dtype=np.float32) - beneath)


def _reached(middle: float, radius: float, pixels: int) -> slice:
    start = int((middle - REACH * radius) * pixels) - 1
    end = int((middle + REACH * radius) * pixels) + 2
    return slice(max(0, start), min(pixels, end))
