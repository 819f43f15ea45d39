"""Pictures side by side: what the finished model paints."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagegen_shapes_training.painter import Painter

PROMPTS = (
    "a red circle on a blue background",
    "a yellow star on a black background",
    "a green triangle on a white background",
    "a pink heart on a purple background",
    "a large white ring on a red background",
    "a small black square at the top left on a cyan background",
    "an orange moon on a black background",
    "a blue diamond on a yellow background",
    "a photo of a white cross on a green background, 4k",
    "a huge cyan circle on an orange background",
    "a red circle and a blue square on a white background",
    "a yellow star above a green cross on a black background",
)
PIXELS = 128
STEPS = 10
COLUMNS = 6


def painted(painter: Painter, prompts: Sequence[str] = PROMPTS) -> Image.Image:
    """Return a sheet with one picture for each prompt, row by row."""
    return pasted(painter.paint(prompts, PIXELS, STEPS), COLUMNS)


def pasted(pictures: Sequence[NDArray[np.uint8]], columns: int) -> Image.Image:
    """Return square ``pictures`` of one size in rows of ``columns``."""
    side = len(pictures[0])
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (number % columns * side, number // columns * side))
    return sheet


def save(sheet: Image.Image, file: Path) -> None:
    """Write a small PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file, optimize=True)
