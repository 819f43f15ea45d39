"""Tiny random pipelines of the kinds that the launch models are: SD 1.4, SDXL, SDXL Turbo.

Same classes, same configuration where it decides how a picture is made (sampler, prediction, text encoders, padding),
a thousandth of the size. The weights mean nothing, yet they are scaled so that every input (prompt, negative prompt,
pooled text, size, timestep, seed) changes the picture visibly: a wrong input would be seen.
"""

from pathlib import Path
from typing import Any

import diffusers as typed_diffusers
import torch
import transformers as typed_transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

from imagegen_shapes import WEIGHTS

# Their annotations tell the types of the defaults (a tuple of one), not what is taken.
diffusers: Any = typed_diffusers
transformers: Any = typed_transformers

_WIDTH = 32
"""Of the text states of the first encoder, and of the pooled text."""
_SECOND_WIDTH = 48
"""Of the text states of SDXL's second encoder: another, as in SDXL, for they are told apart by it."""

_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
"""The noise schedule that all Stable Diffusion models were trained with."""


def stable_diffusion(seed: int = 0, *, flags: bool | None = None) -> Any:
    """Return a pipeline like Stable Diffusion 1.4, native size 64x64.

    ``flags`` gives it a safety checker: one that flags every picture, or none; without it there is no checker.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return diffusers.StableDiffusionPipeline(
            vae=vae(scaling_factor=0.18215),
            text_encoder=_lively(transformers.CLIPTextModel(_text_config(eos_token_id=2))),
            tokenizer=_tokenizer(),
            unet=unet(cross_attention_dim=_WIDTH),
            scheduler=diffusers.PNDMScheduler(**_BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1),
            safety_checker=None if flags is None else safety_checker(flags=flags),
            feature_extractor=None if flags is None else _feature_extractor(),
            requires_safety_checker=flags is not None,
        )


def stable_diffusion_xl(seed: int = 1) -> Any:
    """Return a pipeline like Stable Diffusion XL, native size 64x64: no negative prompt means zeros."""
    return _xl(seed, diffusers.EulerDiscreteScheduler(**_BETAS, steps_offset=1, timestep_spacing="leading"))


def sdxl_turbo(seed: int = 2) -> Any:
    """Return a pipeline like SDXL Turbo, native size 64x64: few steps, trailing timesteps."""
    return _xl(seed, diffusers.EulerAncestralDiscreteScheduler(**_BETAS, steps_offset=1, timestep_spacing="trailing"))


def save(pipe: Any, folder: Path, **options: Any) -> Path:
    """Write ``pipe`` to ``folder`` (safetensors unless the options say otherwise), readable by everyone."""
    pipe.save_pretrained(folder, **options)
    # Published models name the class that needs torchvision; it is found without it, too.
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace('"CLIPImageProcessorPil"', '"CLIPImageProcessor"'))
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def safety_checker(*, flags: bool) -> Any:
    """Return a checker that flags every picture, or none, whatever it sees."""
    vision = {"image_size": 32, "patch_size": 16, "hidden_size": 16, "intermediate_size": 16}
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"hidden_size": 16, "intermediate_size": 16, "projection_dim": 16}
    config = transformers.CLIPConfig(text_config=text | layers, vision_config=vision | layers, projection_dim=16)
    checker: Any = StableDiffusionSafetyChecker(config)
    # A concept is found where the cosine is above its threshold, and no cosine leaves [-1, 1].
    torch.nn.init.constant_(checker.concept_embeds_weights, -2.0 if flags else 2.0)
    torch.nn.init.constant_(checker.special_care_embeds_weights, -2.0 if flags else 2.0)
    return checker


def _xl(seed: int, scheduler: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return diffusers.StableDiffusionXLPipeline(
            vae=vae(scaling_factor=0.13025, force_upcast=True),
            text_encoder=_lively(transformers.CLIPTextModel(_text_config(eos_token_id=2))),
            text_encoder_2=_lively(
                transformers.CLIPTextModelWithProjection(_text_config(_SECOND_WIDTH, eos_token_id=2, hidden_act="gelu"))
            ),
            tokenizer=_tokenizer(),
            # Pads with a token of the vocabulary, so its padding is seen by the text encoder as text.
            tokenizer_2=_tokenizer(pad_token="!"),  # noqa: S106 - a token of text
            unet=unet(
                cross_attention_dim=_WIDTH + _SECOND_WIDTH,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + _WIDTH,
                use_linear_projection=True,
            ),
            scheduler=scheduler,
            force_zeros_for_empty_prompt=True,
            add_watermarker=False,
        )


def text_encoder(width: int, *, projected: bool = False, **options: Any) -> Any:
    """Return a text encoder whose states are ``width`` wide."""
    model = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return _lively(model(_text_config(width, eos_token_id=2, **options)))


def tiny_vae() -> Any:
    """Return a VAE of the small kind, which has no statistics of its latents."""
    return diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )


def _tokenizer(**options: str) -> Any:
    return transformers.CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer", **options)


def _text_config(width: int = _WIDTH, **options: Any) -> Any:
    return transformers.CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=_WIDTH,
        bos_token_id=1534,
        **{"vocab_size": 1536} | options,
    )


def _lively(encoder: Any) -> Any:
    """Make words matter: transformers draws embeddings of 0.02, which a layer without norm would pass on as nothing."""
    for name, weights in encoder.named_parameters():
        if "embedding" in name:
            torch.nn.init.normal_(weights, std=1.0)
        elif weights.ndim == 2:
            torch.nn.init.normal_(weights, std=weights.shape[1] ** -0.5)
    return encoder


def unet(**options: Any) -> Any:
    """Return a UNet in which text matters."""
    made = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        **options,
    )
    for name, weights in made.named_parameters():
        # What the text says would drown in the picture's own noise.
        if "attn2" in name and weights.ndim == 2:
            weights.data *= 3
    return made


def vae(**options: Any) -> Any:
    """Return a VAE that shrinks both sides by 8."""
    made = diffusers.AutoencoderKL(
        sample_size=64,
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        **options,
    )
    # A random last layer paints grey; this one fills most of [-1, 1].
    made.decoder.conv_out.weight.data *= 3
    return made


def _feature_extractor() -> Any:
    return transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
