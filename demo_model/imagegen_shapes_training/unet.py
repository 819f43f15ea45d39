"""The denoiser: a UNet over latents that reads the text by cross-attention. 2.98 million parameters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch import Tensor
from transformers import CLIPTextModel

from imagegen_shapes_training import denoising, text_encoder
from imagegen_shapes_training.compositions import Mix
from imagegen_shapes_training.diffusion import Noised
from imagegen_shapes_training.latents import Pool
from imagegen_shapes_training.layout import channels_last
from imagegen_shapes_training.recipe import DenoiserRecipe

MIX = Mix(empty=0.01, pairs=0.10)

_SEED = 13

CONFIGURATION: dict[str, Any] = {
    "sample_size": 16,  # 128 pixels
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (48, 64, 96),
    "layers_per_block": 1,
    "cross_attention_dim": text_encoder.WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}


def build(**changes: Any) -> UNet2DConditionModel:
    """Return an untrained UNet of :data:`CONFIGURATION` with ``changes``, ready for training on a CPU."""
    unet = UNet2DConditionModel(**(CONFIGURATION | changes))
    # Plain matrix products: the backward pass of the fused attention is several times slower in bfloat16 on a CPU.
    unet.set_attn_processor(AttnProcessor())
    return channels_last(unet)


def finished(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return ``unet`` ready for painting."""
    unet.set_attn_processor(AttnProcessor2_0())
    return unet.eval()


def train(
    recipe: DenoiserRecipe, vae: AutoencoderTiny, encoder: CLIPTextModel, checkpoint: Path, loss_below: float
) -> UNet2DConditionModel:
    """Train on what ``vae`` and ``encoder``, both left as they are, make of pictures and captions.

    Raises:
        OtherRecipeError: The checkpoint was made with other numbers.
        StageFailedError: The loss did not come below ``loss_below``.
    """
    torch.manual_seed(_SEED)
    unet = build()

    def predict(batch: Noised, captions: Sequence[str]) -> Tensor:
        return unet(batch.sample, batch.timesteps, text_encoder.hidden_states(encoder, captions)).sample

    pools = [Pool(each, vae, MIX) for each in recipe.pools]
    return finished(denoising.train(denoising.Task("unet", recipe, pools, predict, checkpoint, loss_below), unet))
