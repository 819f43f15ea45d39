"""Paints with a finished pipeline folder, as any user of diffusers would."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray

from imagegen_shapes_training.progress import StageFailedError

GUIDANCE = 3.0
"""The model obeys best at 3; more bends shapes."""

_BATCH = 10


class Painter:
    """The pipeline in ``folder``, whatever its kind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The class is in the folder; its base, which loads it, has no call of its own.
        self._pipeline: Any = DiffusionPipeline.from_pretrained(str(folder), dtype=torch.float32)
        self._pipeline.set_progress_bar_config(disable=True)

    def paint(self, prompts: Sequence[str], pixels: int, steps: int) -> list[NDArray[np.uint8]]:
        """Return one square picture for each prompt, of seeds 0, 1, 2 ...; uint8 of shape (pixels, pixels, 3).

        Raises:
            StageFailedError: A picture holds values that are not finite.
        """
        pictures: list[NDArray[np.uint8]] = []
        for start in range(0, len(prompts), _BATCH):
            seeds = range(start, min(start + _BATCH, len(prompts)))
            painted = self._batch([prompts[number] for number in seeds], seeds, (pixels, steps))
            pictures.extend(np.rint(painted * 255).astype(np.uint8))
        return pictures

    def _batch(self, prompts: list[str], seeds: range, setting: tuple[int, int]) -> NDArray[np.float32]:
        pixels, steps = setting
        painted = self._pipeline(
            prompts,
            height=pixels,
            width=pixels,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
        ).images
        if not np.isfinite(painted).all():
            raise StageFailedError(f"{self._folder} paints values that are not finite; a weight has overflowed")
        return painted
