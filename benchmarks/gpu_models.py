"""Models of random weights with the shapes of published ones, made in memory from their configurations.

Speed and memory depend on the shapes alone, so nothing needs to be downloaded. The numbers of parameters are those of
Stable Diffusion 1.5 and Stable Diffusion XL.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import diffusers as typed_diffusers
import torch
import transformers as typed_transformers

import tiny_pipelines
from imagegen_shapes import WEIGHTS

# Their annotations tell the types of the defaults (a tuple of one), not what is taken.
diffusers: Any = typed_diffusers
transformers: Any = typed_transformers

_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_SEED = 5

_CLIP_L: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "eos_token_id": 2,
}
_CLIP_BIG_G: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
    "eos_token_id": 2,
}
_SD_UNET: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
_XL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}


def sd_15(device: str, dtype: torch.dtype) -> Any:
    """Return a diffusers pipeline with the shapes of Stable Diffusion 1.5."""
    return diffusers.StableDiffusionPipeline(
        unet=_made(lambda: diffusers.UNet2DConditionModel(**_SD_UNET), device, dtype),
        vae=_made(lambda: diffusers.AutoencoderKL(**_VAE, scaling_factor=0.18215), device, torch.float32),
        text_encoder=_made(lambda: transformers.CLIPTextModel(_text(_CLIP_L)), device, dtype),
        tokenizer=_tokenizer(),
        scheduler=diffusers.PNDMScheduler(**_BETAS, skip_prk_steps=True, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(device: str, dtype: torch.dtype) -> Any:
    """Return a diffusers pipeline with the shapes of Stable Diffusion XL's base."""
    vae = _VAE | {"scaling_factor": 0.13025, "sample_size": 1024, "force_upcast": True}
    return diffusers.StableDiffusionXLPipeline(
        unet=_made(lambda: diffusers.UNet2DConditionModel(**_XL_UNET), device, dtype),
        vae=_made(lambda: diffusers.AutoencoderKL(**vae), device, torch.float32),
        text_encoder=_made(lambda: transformers.CLIPTextModel(_text(_CLIP_L)), device, dtype),
        text_encoder_2=_made(lambda: transformers.CLIPTextModelWithProjection(_text(_CLIP_BIG_G)), device, dtype),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        scheduler=diffusers.EulerDiscreteScheduler(**_BETAS),
        add_watermarker=False,
    )


def _tiny(make: Callable[[], Any], device: str, dtype: torch.dtype) -> Any:
    pipe = make()
    pipe.to(device, dtype)
    pipe.vae.to(torch.float32)
    return pipe


BUILDERS: dict[str, Callable[[str, torch.dtype], Any]] = {
    "SD 1.5": sd_15,
    "SDXL": sdxl,
    "tiny SD": lambda device, dtype: _tiny(tiny_pipelines.stable_diffusion, device, dtype),
    "tiny SDXL": lambda device, dtype: _tiny(tiny_pipelines.stable_diffusion_xl, device, dtype),
}
"""By name: (device, number format) to a diffusers pipeline there; the VAE is in float32, as the server keeps it."""


def _made(make: Callable[[], Any], device: str, dtype: torch.dtype) -> Any:
    """Make one part on its device in its number format, so that no second copy of SDXL has to fit beside it."""
    with torch.random.fork_rng(devices=[]), torch.device(device), _default(dtype):
        torch.manual_seed(_SEED)
        return make().to(device, dtype).eval()


@contextmanager
def _default(dtype: torch.dtype) -> Generator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _text(config: dict[str, Any]) -> Any:
    return transformers.CLIPTextConfig(**config)


def _tokenizer() -> Any:
    # Any tokenizer will do: random text encoders read nothing, and all its ids are within their vocabulary.
    return transformers.CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer")
