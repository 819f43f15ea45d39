"""Says what a picture of the embedded model shows, from its pixels alone: background, colour, shape.

The model paints one coloured shape on a coloured background, so whether a prompt was obeyed can be measured:

- background: the median of the border's pixels, as the nearest of ten colours;
- object: every pixel further than 45 (RGB distance) from that median;
- colour: the median of the eroded object, which leaves out its blended edge, as the nearest of ten colours;
- shape: the drawn template that covers the object best, both scaled to 32x32 by their bounding boxes.

The same formulas drew the pictures that the model was trained on: this measures obedience, not taste.
"""

import random
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagegen_shapes_training.captions import with_article
from imagegen_shapes_training.drawing import PALETTE, Figure, draw
from imagegen_shapes_training.shapes import SHAPES

OBJECT_DISTANCE = 45.0
"""RGB distance from the background at which a pixel is the object: above what the VAE smears over flat areas, below
half of the distance between the nearest two colours of the palette (orange and yellow are 94 apart)."""

LEAST_OBJECT_PIXELS = 12
"""Fewer pixels than this are specks, not a shape."""

TEMPLATE_SIDE = 32
_TEMPLATE_PIXELS = 256
_TEMPLATE_RADIUS = 0.4
_BOX_MARGIN = 1.06  # a template has 3 % of air on each side, so that rounding does not cut its edge off

Field = NDArray[np.float64]
Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """One coloured shape on a background of another colour."""

    background: str
    colour: str
    shape: str

    @property
    def prompt(self) -> str:
        """The sentence that asks for this scene: ``a red circle on a blue background``."""
        return f"{with_article(self.colour)} {self.shape} on {with_article(self.background)} background"


@dataclass(frozen=True)
class Seen:
    """What a picture shows. ``colour`` and ``shape`` are None when there is nothing on the background.

    ``iou`` (0 to 1) is how well the best template covers the object: above 0.75 for every clean shape, even of 35 px.
    """

    background: str
    colour: str | None
    shape: str | None
    iou: float

    def matches(self, scene: Scene) -> bool:
        """Return whether background, colour and shape are all those of ``scene``."""
        return (self.background, self.colour, self.shape) == (scene.background, scene.colour, scene.shape)


def random_scenes(seed: int, count: int) -> list[Scene]:
    """Return ``count`` scenes, always the same ones for a seed; object and background differ in colour."""
    generator = random.Random(seed)
    scenes: list[Scene] = []
    for _ in range(count):
        colour, background = generator.sample(list(PALETTE), 2)
        scenes.append(Scene(background=background, colour=colour, shape=generator.choice(list(SHAPES))))
    return scenes


def render(
    scene: Scene, pixels: int, *, radius: float = 0.27, centre: tuple[float, float] = (0.5, 0.5)
) -> NDArray[np.uint8]:
    """Draw ``scene``: RGB of shape (pixels, pixels, 3), antialiased over one pixel.

    ``radius`` and ``centre`` (x, y from the top left) are fractions of the side.
    """
    painted = draw(scene.background, [Figure(scene.shape, scene.colour, centre, radius)], pixels)
    return np.rint(painted).astype(np.uint8)


def classify(image: Image.Image | Pixels) -> Seen:
    """Return what ``image`` (a PIL picture, or uint8 of shape height x width x 3) shows."""
    rgb = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image, dtype=np.float64)
    ground = np.median(_border(rgb), axis=0)
    mask: Mask = np.sqrt(((rgb - ground) ** 2).sum(axis=2)) > OBJECT_DISTANCE
    if mask.sum() < LEAST_OBJECT_PIXELS:
        return Seen(background=_nearest_colour(ground), colour=None, shape=None, iou=0.0)
    inside = _eroded(mask, max(1, len(rgb) // 64))
    object_colour = np.median(rgb[inside if inside.sum() >= LEAST_OBJECT_PIXELS else mask], axis=0)
    shape, iou = _best_shape(mask)
    return Seen(background=_nearest_colour(ground), colour=_nearest_colour(object_colour), shape=shape, iou=iou)


def _border(rgb: Field) -> Field:
    width = max(1, len(rgb) // 32)
    sides = (rgb[:width], rgb[-width:], rgb[:, :width], rgb[:, -width:])
    return np.concatenate([side.reshape(-1, 3) for side in sides])


def _nearest_colour(rgb: Field) -> str:
    distances = ((np.array(list(PALETTE.values())) - rgb) ** 2).sum(axis=1)
    return list(PALETTE)[int(distances.argmin())]


def _eroded(mask: Mask, pixels: int) -> Mask:
    inside = mask.copy()
    for axis in (0, 1):
        for shift in (-pixels, pixels):
            inside &= np.roll(mask, shift, axis)
    return inside


def _best_shape(mask: Mask) -> tuple[str, float]:
    found = _normalised(mask)
    scores = {shape: _overlap(found, template) for shape, template in _templates().items()}
    best = max(scores, key=lambda shape: scores[shape])
    return best, scores[best]


@cache
def _templates() -> dict[str, Mask]:
    drawn = {
        shape: render(Scene("white", "black", shape), _TEMPLATE_PIXELS, radius=_TEMPLATE_RADIUS) for shape in SHAPES
    }
    return {shape: _normalised(picture.mean(axis=2) < 127.5) for shape, picture in drawn.items()}


def _overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _normalised(mask: Mask) -> Mask:
    """Scale the bounding box of ``mask`` to 32x32, proportions kept; half a percent of stray pixels is ignored."""
    rows, columns = np.nonzero(mask)
    (top, bottom), (left, right) = np.percentile(rows, [0.5, 99.5]), np.percentile(columns, [0.5, 99.5])
    side = (max(bottom - top, right - left) + 1) * _BOX_MARGIN
    offsets = ((np.arange(TEMPLATE_SIDE) + 0.5) / TEMPLATE_SIDE - 0.5) * side
    y, y_inside = _sampled((top + bottom) / 2 + offsets, mask.shape[0])
    x, x_inside = _sampled((left + right) / 2 + offsets, mask.shape[1])
    return mask[np.ix_(y, x)] & y_inside[:, None] & x_inside[None, :]


def _sampled(positions: Field, length: int) -> tuple[NDArray[np.intp], Mask]:
    """Return the nearest index of each position, and which positions lie within the picture at all."""
    inside = (positions >= -0.5) & (positions <= length - 0.5)
    return np.clip(np.rint(positions), 0, length - 1).astype(np.intp), inside
