"""Whether the components of a pipeline fit together, told from their configurations: what would fail each request.

Each part can be whole and load, and the model still be unable to make a picture, because its parts come from different
models. Refused here, the message names the part; left to a request, it would be an error of matrix shapes.
"""

from typing import Any

import torch

from imagegen_contract.image_size import SIZE_MULTIPLE
from imagegen_server.pipelines.components import WeightsError

_FROM_ONE_MODEL = "take all components from one model"


def check_compatible(pipe: Any) -> None:
    """Raise WeightsError for weights that these pipelines would use wrongly, or that are not whole."""
    _check_latents(pipe)
    _check_inputs(pipe.unet.config, sdxl=_is_sdxl(pipe))
    _check_text(pipe)
    for reader, tokenizer, encoder in readers_of(pipe):
        _check_vocabulary(reader, tokenizer, encoder)
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            # What a file lacks, diffusers leaves without memory.
            check_whole(name, [key for key, tensor in part.state_dict().items() if tensor.is_meta])


def check_whole(component: str, missing: list[str]) -> None:
    """Raise WeightsError when tensors of a component are ``missing``."""
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise WeightsError(
            f"{component}: tensors are missing from the weights: {missing[0]}{more}; download the model again, or save "
            "the whole pipeline"
        )


def readers_of(pipe: Any) -> list[tuple[str, Any, Any]]:
    """Return the text encoders that the pipeline has: name, tokenizer, encoder."""
    pairs = [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")]
    found = [(name, getattr(pipe, tokenizer, None), getattr(pipe, name, None)) for name, tokenizer in pairs]
    return [(name, tokenizer, encoder) for name, tokenizer, encoder in found if encoder is not None]


def _is_sdxl(pipe: Any) -> bool:
    return type(pipe).__name__ == "StableDiffusionXLPipeline"


def _check_latents(pipe: Any) -> None:
    unet, vae = pipe.unet.config, pipe.vae.config
    channels = vae.latent_channels
    if unet.in_channels != channels:
        raise WeightsError(
            f"unet: the UNet takes {unet.in_channels} channels and the latents have {channels}; UNets that also take a "
            "picture (inpainting, editing, upscaling) are not supported, use a text-to-image model"
        )
    if unet.out_channels != channels:
        raise WeightsError(
            f"unet: the UNet gives {unet.out_channels} channels and the latents have {channels}; UNets that also "
            "predict a variance are not supported, use a text-to-image model in latent space"
        )
    if pipe.vae_scale_factor != SIZE_MULTIPLE:
        raise WeightsError(
            f"vae: the VAE shrinks both sides by {pipe.vae_scale_factor}; only {SIZE_MULTIPLE} is supported; "
            f"{_FROM_ONE_MODEL}"
        )
    scale = vae.scaling_factor
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not scale > 0:
        raise WeightsError(
            f"vae: scaling_factor of its config.json is {scale!r}; it must be a number above 0 (0.18215 for Stable "
            "Diffusion 1.x and 2.x, 0.13025 for SDXL)"
        )


def _check_inputs(unet: Any, *, sdxl: bool) -> None:
    """Refuse UNets that want more than latents, timestep, text and (for SDXL) pooled text and sizes."""
    if unet.time_cond_proj_dim is not None:
        raise WeightsError(
            "unet: UNets that take the guidance scale as an embedding (LCM distillations) are not supported; use the "
            "model that it was distilled from"
        )
    if unet.class_embed_type is not None or unet.num_class_embeds is not None:
        raise WeightsError(
            "unet: UNets that take class labels (upscaling, unCLIP) are not supported; use a text-to-image model"
        )
    if unet.encoder_hid_dim_type is not None and unet.encoder_hid_dim_type != "text_proj":
        raise WeightsError(
            f"unet: encoder_hid_dim_type {unet.encoder_hid_dim_type} is not supported, which takes pictures as input; "
            "use a text-to-image model"
        )
    wanted = "text_time" if sdxl else None
    if unet.addition_embed_type != wanted:
        raise WeightsError(
            f"unet: addition_embed_type of its config.json is {unet.addition_embed_type}, and it is {wanted} in models "
            f"of this kind; {_FROM_ONE_MODEL}"
        )


def _check_text(pipe: Any) -> None:
    """Raise WeightsError when the text encoders do not give what the UNet takes."""
    unet, readers = pipe.unet.config, readers_of(pipe)
    names = " and ".join(name for name, _, _ in readers)
    width = sum(encoder.config.hidden_size for _, _, encoder in readers)
    for wanted in _widths(unet):
        if width != wanted:
            raise WeightsError(
                f"{names}: gives text states {width} wide, and the UNet takes {wanted} (cross_attention_dim); "
                f"{_FROM_ONE_MODEL}"
            )
    if not _is_sdxl(pipe):
        return
    pooling = pipe.text_encoder_2
    if type(pooling).__name__ != "CLIPTextModelWithProjection":
        raise WeightsError(
            "text_encoder_2: is a text encoder without a projection, and SDXL takes its pooled text from there; class "
            "CLIPTextModelWithProjection is needed in model_index.json"
        )
    pooled = pooling.config.projection_dim + 6 * (unet.addition_time_embed_dim or 0)
    if pooled != unet.projection_class_embeddings_input_dim:
        raise WeightsError(
            f"text_encoder_2: pooled text and sizes are {pooled} numbers, and the UNet takes "
            f"{unet.projection_class_embeddings_input_dim} (projection_class_embeddings_input_dim); {_FROM_ONE_MODEL}"
        )


def _widths(unet: Any) -> tuple[int, ...]:
    """Return how wide the UNet's blocks want the text states; a projection of its own comes before them."""
    if unet.encoder_hid_dim is not None:
        return (unet.encoder_hid_dim,)
    width = unet.cross_attention_dim
    return (width,) if isinstance(width, int) else tuple(width)


def _check_vocabulary(name: str, tokenizer: Any, encoder: Any) -> None:
    """Raise WeightsError when some word has no row in the encoder's embedding: prompts with it would fail."""
    rows = encoder.get_input_embeddings().num_embeddings
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= rows:
        raise WeightsError(
            f"{name}: its tokenizer has ids up to {highest}, and the encoder has embeddings for {rows}; take both from "
            "one model"
        )
