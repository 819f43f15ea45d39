"""What the denoiser learns: the noise schedule, how latents are noised, and what counts how much.

The scheduler is DDIM with v-prediction and linear betas. At its last step hardly any signal is left (signal-to-noise
ratio 4e-5), so sampling may start from pure noise, and flat bright or dark backgrounds come out right. Velocity is
defined there, where predicting noise would teach nothing.
"""

from typing import NamedTuple

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from torch.nn import functional

TRAINING_STEPS = 1000

_MIDDLE_SHARE = 0.6
_MIDDLE = (250, 870)
"""Most timesteps are drawn from the middle: there shapes and colours are decided."""

_OBJECT_WEIGHT = 2.0
_EDGE_WEIGHT = 5.0
_OBJECT_CONTRAST = 0.4
_EDGE_CONTRAST = 1.0
"""Differences of latents, summed over channels, from which a place counts as object or edge."""


class Noised(NamedTuple):
    """A batch between picture and noise: what the denoiser sees, when, and what it should answer."""

    sample: Tensor
    timesteps: Tensor
    velocity: Tensor
    weights: Tensor


def scheduler() -> DDIMScheduler:
    """Return the scheduler that the pipelines ship with."""
    return DDIMScheduler(
        num_train_timesteps=TRAINING_STEPS,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,  # unused with trailing spacing, but the pipelines complain about any other value
    )


def noised(latents: Tensor, lots: torch.Generator) -> Noised:
    """Mix each of ``latents`` (n, 4, height, width) with noise of its own amount."""
    timesteps = _timesteps(len(latents), lots)
    signal_share = scheduler().alphas_cumprod[timesteps][:, None, None, None]
    signal, noise_share = signal_share.sqrt(), (1 - signal_share).sqrt()
    noise = torch.randn(latents.shape, generator=lots)
    return Noised(
        sample=(signal * latents + noise_share * noise).to(memory_format=torch.channels_last),
        timesteps=timesteps,
        velocity=signal * noise - noise_share * latents,
        weights=_weights(latents),
    )


def loss(predicted: Tensor, batch: Noised) -> Tensor:
    """Return the weighted mean squared error of the predicted velocity."""
    return (batch.weights * (predicted.float() - batch.velocity) ** 2).mean()


def _timesteps(count: int, lots: torch.Generator) -> Tensor:
    """Return one timestep out of each of ``count`` equal parts, most of them squeezed into the middle."""
    even = (torch.arange(count) + torch.rand(count, generator=lots)) / count * TRAINING_STEPS
    first, last = _MIDDLE
    squeezed = first + even * (last - first) / TRAINING_STEPS
    middle = torch.rand(count, generator=lots) < _MIDDLE_SHARE
    return torch.where(middle, squeezed, even).long().clamp(0, TRAINING_STEPS - 1)


def _weights(latents: Tensor) -> Tensor:
    """Return 1 for background, 3 for objects and 5 more on edges, scaled to mean 1.

    Most of a picture is flat background: unweighted, the loss is small long before shapes are right.
    """
    corner = latents[:, :, :1, :1]
    objects = ((latents - corner).abs().sum(1, keepdim=True) > _OBJECT_CONTRAST).float()
    largest, smallest = _grown(latents), -_grown(-latents)
    edges = ((largest - smallest).sum(1, keepdim=True) > _EDGE_CONTRAST).float()
    weights = 1 + _OBJECT_WEIGHT * _grown(objects) + _EDGE_WEIGHT * edges
    return weights / weights.mean()


def _grown(field: Tensor) -> Tensor:
    return functional.max_pool2d(field, kernel_size=3, stride=1, padding=1)
