"""Stable Diffusion 1.x and 2.x: a CLIP text encoder, a UNet, a VAE, and a safety checker where there is one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from imagegen_server.errors import ContentPolicy
from imagegen_server.generation import Generation
from imagegen_server.pipelines.decoding import decode, to_uint8
from imagegen_server.pipelines.denoising import Conditioning, LatentRow, Steering, evaluate, latent_shape
from imagegen_server.pipelines.device import device_errors
from imagegen_server.pipelines.prompts import PromptCache, Windows
from imagegen_server.pipelines.samplers import Samplers


class StableDiffusion:
    """A loaded StableDiffusionPipeline, driven row by row. Device thread only, except ``count_tokens``."""

    def __init__(self, pipe: Any) -> None:
        """``pipe`` is the diffusers pipeline, on its device."""
        self.samplers = Samplers(pipe.scheduler)
        self.windows = Windows(pipe.tokenizer, pipe.text_encoder.config.max_position_embeddings)
        self._pipe = pipe
        self._cache = PromptCache()

    def count_tokens(self, text: str) -> int:
        """Return the text tokens of ``text``; from any thread."""
        return len(self.windows.tokens(text))

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
        """Decode a finished row; raise ContentPolicy when the safety checker flags it."""
        picture = self.decoded(row)
        with torch.inference_mode(), device_errors():
            if self._pipe.safety_checker is not None and self._flagged(picture):
                raise ContentPolicy
            return picture

    def decoded(self, row: LatentRow) -> NDArray[np.uint8]:
        """Decode a finished row, which no safety checker has seen: never to be shown to anybody."""
        with torch.inference_mode(), device_errors():
            return to_uint8(decode(self._pipe.vae, row.finished_latents()))

    def _conditioning(self, generation: Generation) -> tuple[Conditioning, Conditioning | None]:
        """Return what steers prompt and negative; the shorter of the two is filled with empty windows."""
        texts = [generation.prompt, generation.negative_prompt or ""] if generation.guided else [generation.prompt]
        count = max(self.windows.count(text) for text in texts)
        steering = [Conditioning(states=self._states(text, count)) for text in texts]
        return steering[0], steering[1] if generation.guided else None

    def _states(self, text: str, count: int) -> torch.Tensor:
        return self._cache.get((text, count), lambda: self._encode(self.windows.windows(text, count)))

    def _encode(self, windows: torch.Tensor) -> torch.Tensor:
        encoder = self._pipe.text_encoder
        states = encoder(windows.to(encoder.device)).last_hidden_state
        return states.reshape(1, -1, states.shape[-1])

    def _flagged(self, picture: NDArray[np.uint8]) -> bool:
        pipe = self._pipe
        inputs = pipe.feature_extractor([Image.fromarray(picture)], return_tensors="pt")
        pixels = inputs.pixel_values.to(pipe.safety_checker.device, pipe.safety_checker.dtype)
        # The checker blacks out what it flags; it gets a throw-away array, since only its verdict is wanted.
        _, flags = pipe.safety_checker(images=np.zeros((1, 1)), clip_input=pixels)
        return bool(flags[0])
