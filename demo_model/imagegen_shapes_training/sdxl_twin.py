"""The same model as a StableDiffusionXLPipeline: test data for everything that SDXL does differently.

It is made out of the finished pipeline, so that a few hundred steps suffice. SDXL has two text encoders, reads each
one's last hidden states but one, and tells the UNet the size by an added embedding:

- the first encoder gets a third layer that nothing reads, so the last but one are the old last hidden states; the
  final norm, which SDXL skips, is folded into the weights that read them;
- the second encoder is 32 wide and new; the weights that read it start at zero;
- the added embedding starts at zero.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from imagegen_shapes_training import denoising, unet
from imagegen_shapes_training.captions import caption
from imagegen_shapes_training.compositions import composition
from imagegen_shapes_training.diffusion import Noised
from imagegen_shapes_training.latents import Pool
from imagegen_shapes_training.recipe import DenoiserRecipe
from imagegen_shapes_training.text_encoder import WIDTH, configuration
from imagegen_shapes_training.tokenizer import token_ids, unknown_words
from imagegen_shapes_training.vae import PIXELS_PER_LATENT

SECOND_WIDTH = 32

_SEED = 14
_TIME_EMBEDDING = 8
_SIZE_NUMBERS = 6
"""Original height and width, crop's top and left, target height and width."""


class Twin(nn.Module):
    """The three networks that are trained together."""

    def __init__(
        self, denoiser: UNet2DConditionModel, first: CLIPTextModel, second: CLIPTextModelWithProjection
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.first = first
        self.second = second

    def predict(self, batch: Noised, captions: Sequence[str]) -> Tensor:
        """Return the velocity for a noised batch, called as the pipeline calls its UNet."""
        ids = token_ids(captions)
        first, second = self.first(ids, output_hidden_states=True), self.second(ids, output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        height, width = (side * PIXELS_PER_LATENT for side in batch.sample.shape[-2:])
        sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(ids), dtype=torch.float32)
        added = {"text_embeds": second.text_embeds, "time_ids": sizes}
        return self.denoiser(batch.sample, batch.timesteps, states, added_cond_kwargs=added).sample


def train(recipe: DenoiserRecipe, folder: Path, checkpoint: Path, loss_below: float) -> Twin:
    """Make the twin of the pipeline in ``folder`` and train it.

    Raises:
        OtherRecipeError: The checkpoint was made with other numbers.
        StageFailedError: The loss did not come below ``loss_below``.
    """
    torch.manual_seed(_SEED)
    original = StableDiffusionPipeline.from_pretrained(str(folder), dtype=torch.float32)
    twin = build(original)
    vae = cast("AutoencoderTiny", original.vae).eval()
    pools = [Pool(each, vae, unet.MIX) for each in recipe.pools]
    trained = denoising.train(denoising.Task("twin", recipe, pools, twin.predict, checkpoint, loss_below), twin)
    unet.finished(trained.denoiser)
    return trained.eval()


def build(original: StableDiffusionPipeline) -> Twin:
    """Return the untrained twin, which nearly is the original already."""
    first = _first_encoder(original.text_encoder)
    second = CLIPTextModelWithProjection(
        configuration(
            hidden_size=SECOND_WIDTH,
            intermediate_size=2 * SECOND_WIDTH,
            projection_dim=SECOND_WIDTH,
            num_attention_heads=2,
        )
    )
    denoiser = unet.build(
        cross_attention_dim=WIDTH + SECOND_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=_TIME_EMBEDDING,
        projection_class_embeddings_input_dim=_TIME_EMBEDDING * _SIZE_NUMBERS + SECOND_WIDTH,
    )
    denoiser.load_state_dict(_widened(original.unet, denoiser, _norm_gain(original.text_encoder, first)))
    return Twin(denoiser, first, second)


def _first_encoder(original: CLIPTextModel) -> CLIPTextModel:
    encoder = CLIPTextModel(configuration(num_hidden_layers=original.config.num_hidden_layers + 1))
    encoder.load_state_dict(original.state_dict(), strict=False)
    return encoder.float()


@torch.no_grad()
def _norm_gain(original: CLIPTextModel, first: CLIPTextModel) -> Tensor:
    """Return what the final norm multiplies each of the 96 numbers by, on average over captions."""
    lots = random.Random("norm gain")
    captions = [caption(composition("norm gain", index, unet.MIX), unknown_words(), lots) for index in range(64)]
    states = first(token_ids(captions), output_hidden_states=True).hidden_states[-2]
    norm = next(weight for name, weight in original.named_parameters() if name.endswith("final_layer_norm.weight"))
    return norm / states.std(-1).mean()


def _widened(source: nn.Module, target: nn.Module, gain: Tensor) -> dict[str, Tensor]:
    """Return weights for ``target``: the source's, zeros where keys and values read the second encoder."""
    weights = target.state_dict()
    for name, weight in source.state_dict().items():
        if weights[name].shape == weight.shape:
            weights[name] = weight
        else:
            weights[name] = torch.zeros_like(weights[name])
            weights[name][:, :WIDTH] = weight * gain
    for name in ("add_embedding.linear_2.weight", "add_embedding.linear_2.bias"):
        weights[name] = torch.zeros_like(weights[name])
    return weights
