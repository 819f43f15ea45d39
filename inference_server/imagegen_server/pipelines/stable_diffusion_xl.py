"""Stable Diffusion XL: two text encoders joined, a pooled text vector, and the picture's size as conditioning."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imagegen_contract.image_size import ImageSize
from imagegen_server.generation import Generation
from imagegen_server.pipelines.compatibility import readers_of
from imagegen_server.pipelines.decoding import decode, to_uint8
from imagegen_server.pipelines.denoising import Conditioning, LatentRow, Steering, evaluate, latent_shape
from imagegen_server.pipelines.device import device_errors
from imagegen_server.pipelines.prompts import PromptCache, Windows, shared_length
from imagegen_server.pipelines.samplers import Samplers

_PENULTIMATE = -2
"""SDXL was trained on the hidden states before the text encoders' last layer."""


class StableDiffusionXL:
    """A loaded StableDiffusionXLPipeline, driven row by row. Device thread only, except ``count_tokens``."""

    def __init__(self, pipe: Any) -> None:
        """``pipe`` is the diffusers pipeline, on its device."""
        self.samplers = Samplers(pipe.scheduler)
        readers = [(tokenizer, encoder) for _, tokenizer, encoder in readers_of(pipe)]
        positions = shared_length(readers)
        self._readers = [(Windows(tokenizer, positions), encoder) for tokenizer, encoder in readers]
        self.windows = self._readers[0][0]
        self._pipe = pipe
        self._cache = PromptCache()

    def count_tokens(self, text: str) -> int:
        """Return the text tokens of ``text`` (the larger count of the two tokenizers); from any thread."""
        return max(len(windows.tokens(text)) for windows, _ in self._readers)

    def admit(self, generation: Generation) -> Sequence[LatentRow]:
        """Encode the prompts and draw the noise: one row for each seed."""
        with torch.inference_mode(), device_errors():
            prompt, negative = self._conditioning(generation)
            unet = self._pipe.unet
            shape = latent_shape(unet, generation.size)
            steering = Steering(prompt=prompt, negative=negative, shape=shape, device=unet.device)
            return [LatentRow(generation, seed, self.samplers, steering) for seed in generation.seeds]

    def advance(self, rows: Sequence[LatentRow]) -> None:
        """Run one evaluation for every row, in one call."""
        with torch.inference_mode(), device_errors():
            evaluate(self._pipe.unet, rows)

    def picture(self, row: LatentRow) -> NDArray[np.uint8]:
        """Decode a finished row; there is no safety checker for SDXL."""
        return self.decoded(row)

    def decoded(self, row: LatentRow) -> NDArray[np.uint8]:
        """Decode a finished row."""
        with torch.inference_mode(), device_errors():
            return to_uint8(decode(self._pipe.vae, row.finished_latents()))

    def _conditioning(self, generation: Generation) -> tuple[Conditioning, Conditioning | None]:
        """Return what steers prompt and negative; the shorter of the two is filled with empty windows.

        No negative prompt means zeros where the weights ask for it, which is not the same as an empty one.
        """
        texts = [generation.prompt, generation.negative_prompt or ""] if generation.guided else [generation.prompt]
        count = max(windows.count(text) for windows, _ in self._readers for text in texts)
        time_ids = self._time_ids(generation.size)
        states, pooled = self._encoded(generation.prompt, count)
        prompt = Conditioning(states=states, pooled=pooled, time_ids=time_ids)
        if not generation.guided:
            return prompt, None
        if generation.negative_prompt is None and self._pipe.config.force_zeros_for_empty_prompt:
            negative_states, negative_pooled = torch.zeros_like(states), torch.zeros_like(pooled)
        else:
            negative_states, negative_pooled = self._encoded(texts[1], count)
        return prompt, Conditioning(states=negative_states, pooled=negative_pooled, time_ids=time_ids)

    def _time_ids(self, size: ImageSize) -> torch.Tensor:
        """Original size, crop corner, target size, each as (height, width): a whole picture, not cropped."""
        return torch.tensor([[size.height, size.width, 0, 0, size.height, size.width]], device=self._pipe.unet.device)

    def _encoded(self, text: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._cache.get((text, count), lambda: self._encode(text, count))

    def _encode(self, text: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the joined states [1, sequence, width] and the first window's pooled text [1, width]."""
        outputs = [
            encoder(windows.windows(text, count).to(encoder.device), output_hidden_states=True)
            for windows, encoder in self._readers
        ]
        states = [output.hidden_states[_PENULTIMATE] for output in outputs]
        joined = torch.cat([each.reshape(1, -1, each.shape[-1]) for each in states], dim=-1)
        # The last encoder projects: its output[0] is the pooled text.
        return joined, outputs[-1][0][:1]
