"""The nine shapes that the model knows, each as a signed distance.

A shape has about unit radius; x points right, y points down; the distance is negative inside.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]


def _circle(x: Field, y: Field) -> Field:
    return np.hypot(x, y) - 0.95


def _square(x: Field, y: Field) -> Field:
    return np.maximum(np.abs(x), np.abs(y)) - 0.82


def _triangle(x: Field, y: Field) -> Field:
    lowered = y - 0.18
    return np.maximum(lowered - 0.58, 0.866 * np.abs(x) - 0.5 * lowered - 0.58)


def _star(x: Field, y: Field) -> Field:
    """Five points of radius 1.08: every angle is folded onto half a point, which has one straight edge."""
    lowered = y - 0.05
    radius = np.hypot(x, lowered)
    point, inner, sector = 1.08, 0.42 * 1.08, 2 * math.pi / 5
    angle = np.abs(np.arctan2(x, -lowered))
    folded = np.abs(angle - np.rint(angle / sector) * sector)
    edge_x, edge_y = inner * math.cos(sector / 2) - point, inner * math.sin(sector / 2)
    along, across = radius * np.cos(folded) - point, radius * np.sin(folded)
    return (along * edge_y - across * edge_x) / math.hypot(edge_x, edge_y)


def _heart(x: Field, y: Field) -> Field:
    """A square on its corner and a half disc on each of its upper sides."""
    lowered, side = y - 0.08, 0.8
    corner = (np.abs(x) + np.abs(lowered) - side) / math.sqrt(2)
    discs = np.hypot(np.abs(x) - side / 2, lowered + side / 2) - side / math.sqrt(2)
    return np.minimum(corner, discs)


def _ring(x: Field, y: Field) -> Field:
    return np.abs(np.hypot(x, y) - 0.72) - 0.23


def _cross(x: Field, y: Field) -> Field:
    across, down = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(across - 0.3, down - 0.95), np.maximum(down - 0.3, across - 0.95))


def _diamond(x: Field, y: Field) -> Field:
    return (np.abs(x) * 1.35 + np.abs(y) - 1.05) / 1.68


def _moon(x: Field, y: Field) -> Field:
    return np.maximum(np.hypot(x, y) - 0.95, 0.82 - np.hypot(x - 0.48, y + 0.08))


SHAPES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "ring": _ring,
    "cross": _cross,
    "diamond": _diamond,
    "moon": _moon,
}
"""Signed distance by name, in the order of the text encoder's labels."""
