"""Latents to pictures: the VAE's last step, shared by SD and SDXL."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imagegen_server.errors import NonFiniteOutput


def decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode latents [1, channels, h, w] to a picture [1, 3, 8h, 8w], float32 in [0, 1].

    The VAE's own statistics are undone first where its configuration has them, as SDXL's pipeline does. Raises
    NonFiniteOutput for a picture with NaN or infinity, which as a file would be black.
    """
    config = vae.config
    scaled = latents / config.scaling_factor
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and std is not None:
        scaled = scaled * _per_channel(std, latents) + _per_channel(mean, latents)
    decoded = vae.decode(scaled.to(vae.dtype), return_dict=False)[0]
    if not bool(torch.isfinite(decoded).all()):
        raise NonFiniteOutput
    return (decoded.float() * 0.5 + 0.5).clamp(0, 1)


def to_uint8(picture: torch.Tensor) -> NDArray[np.uint8]:
    """Return a picture [1, 3, height, width] in [0, 1] as uint8 of shape (height, width, 3)."""
    rounded = (picture[0] * 255).round().to(torch.uint8)
    return rounded.permute(1, 2, 0).contiguous().cpu().numpy()


def _per_channel(values: Any, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, 1, 1)
