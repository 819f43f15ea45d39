"""Pools of encoded pictures: drawing and encoding once what many steps learn from."""

import random
from collections import deque

from diffusers import AutoencoderTiny
from torch import Tensor, stack

from imagegen_shapes_training import vae
from imagegen_shapes_training.compositions import Composition, Mix, composition
from imagegen_shapes_training.recipe import PoolRecipe

CHUNK = 8
"""Pictures encoded together."""


class Pool:
    """The newest samples of a stream, as latents. What it holds at a step depends on nothing but the step."""

    def __init__(self, recipe: PoolRecipe, encoder: AutoencoderTiny, mix: Mix) -> None:
        self.recipe = recipe
        self._encoder = encoder
        self._mix = mix
        self._samples: deque[tuple[Composition, Tensor]] = deque(maxlen=recipe.capacity)
        self._end = 0

    def move_to(self, step: int) -> None:
        """Encode what is new at ``step``: everything at first, then a chunk now and then."""
        end = self.recipe.capacity + step // self.recipe.refresh * CHUNK
        start = max(self._end, end - self.recipe.capacity)
        for first in range(start, end, CHUNK):
            self._encode(range(first, min(first + CHUNK, end)))
        self._end = end

    def batch(self, lots: random.Random) -> tuple[list[Composition], Tensor]:
        """Return a random batch: compositions, and their latents of shape (n, 4, height, width)."""
        chosen = [self._samples[lots.randrange(len(self._samples))] for _ in range(self.recipe.batch)]
        return [each for each, _ in chosen], stack([latents for _, latents in chosen])

    def _encode(self, indices: range) -> None:
        pixels = self.recipe.pixels
        compositions = [composition(f"pool {pixels}", index, self._mix) for index in indices]
        self._samples.extend(zip(compositions, vae.encode(self._encoder, compositions, pixels), strict=True))
