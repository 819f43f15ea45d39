"""Rows of latents and one evaluation of a UNet for many of them: what SD and SDXL share.

Latents, guidance and samplers are float32 whatever the UNet's format; only the UNet's inputs are cast. The order of a
batch is all unconditional rows, then all conditional ones, as in diffusers.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import torch

from imagegen_contract.image_size import ImageSize
from imagegen_server.errors import NonFiniteOutput
from imagegen_server.generation import Generation
from imagegen_server.pipelines.samplers import Samplers, step_arguments


class Conditioning(msgspec.Struct, frozen=True, kw_only=True):
    """What steers one row: text states [1, sequence, width], and SDXL's pooled text [1, width] and time ids [1, 6]."""

    states: Any
    pooled: Any = None
    time_ids: Any = None


class Steering(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows of one request share. ``negative`` is None without guidance."""

    prompt: Conditioning
    negative: Conditioning | None
    shape: tuple[int, int, int, int]
    """Of one row's latents: 1, channels, height / 8, width / 8."""
    device: Any


class LatentRow:
    """One image while it is denoised: its own sampler, noise generator and latents [1, channels, height/8, width/8]."""

    def __init__(self, generation: Generation, seed: int, samplers: Samplers, steering: Steering) -> None:
        self.guidance_scale = generation.guidance_scale
        self.sampler = samplers.fresh(generation.scheduler, generation.steps)
        # One generator a row, on the CPU: the draws are the same whatever the device and the neighbours.
        generator = torch.Generator("cpu").manual_seed(seed)
        noise = torch.randn(steering.shape, generator=generator, dtype=torch.float32)
        self.latents = (noise * self.sampler.init_noise_sigma).to(steering.device)
        self.prompt, self.negative = steering.prompt, steering.negative
        self.key = (steering.shape, steering.prompt.states.shape[1])
        self._timesteps = list(self.sampler.timesteps)
        self._step_arguments = step_arguments(self.sampler, generator)
        self._done = 0

    @property
    def evaluations_left(self) -> int:
        """UNet calls until the picture can be decoded."""
        return len(self._timesteps) - self._done

    @property
    def timestep(self) -> torch.Tensor:
        """The timestep of the next evaluation, a scalar on the CPU exactly as the sampler holds it."""
        return self._timesteps[self._done]

    def scaled(self) -> torch.Tensor:
        """Return the UNet's input; call once an evaluation."""
        return self.sampler.scale_model_input(self.latents, self.timestep)

    def step(self, output: torch.Tensor) -> None:
        """Take the model's (guided) output [1, channels, h, w] and move on to the next timestep."""
        sample = self.sampler.step(output, self.timestep, self.latents, **self._step_arguments, return_dict=False)[0]
        self.latents = sample.float()
        self._done += 1

    def finished_latents(self) -> torch.Tensor:
        """Return the denoised latents; raise NonFiniteOutput when they hold NaN or infinity."""
        if not bool(torch.isfinite(self.latents).all()):
            raise NonFiniteOutput
        return self.latents


def evaluate(unet: Any, rows: Sequence[LatentRow]) -> None:
    """Run one call of ``unet`` for all rows and step each row's sampler.

    Nothing of a row changes before the call came back, so after running out of memory the same rows can be tried
    again in smaller batches.
    """
    guided = [row for row in rows if row.negative is not None]
    inputs = {id(row): row.scaled() for row in rows}
    steering = [row.negative for row in rows if row.negative is not None] + [row.prompt for row in rows]
    order = [*guided, *rows]
    device, dtype = rows[0].latents.device, unet.dtype
    output = unet(
        torch.cat([inputs[id(row)] for row in order]).to(dtype),
        # float32: in 16 bit neighbouring timesteps fall together (bfloat16 has 8 bits for 0..999).
        torch.stack([row.timestep.to(torch.float32) for row in order]).to(device),
        encoder_hidden_states=torch.cat([conditioning.states for conditioning in steering]).to(dtype),
        added_cond_kwargs=_added(steering, dtype),
        return_dict=False,
    )[0].float()
    unconditional, conditional = output[: len(guided)], output[len(guided) :]
    position = {id(row): index for index, row in enumerate(guided)}
    for index, row in enumerate(rows):
        prediction = conditional[index : index + 1]
        if id(row) in position:
            base = unconditional[position[id(row)] : position[id(row)] + 1]
            prediction = base + row.guidance_scale * (prediction - base)
        row.step(prediction)


def _added(steering: Sequence[Any], dtype: torch.dtype) -> dict[str, torch.Tensor] | None:
    if steering[0].pooled is None:
        return None
    return {
        "text_embeds": torch.cat([conditioning.pooled for conditioning in steering]).to(dtype),
        "time_ids": torch.cat([conditioning.time_ids for conditioning in steering]).to(dtype),
    }


def latent_shape(unet: Any, size: ImageSize) -> tuple[int, int, int, int]:
    """Return the shape of one row's latents; the VAEs of SD and SDXL shrink both sides by 8."""
    return (1, unet.config.in_channels, size.height // 8, size.width // 8)
