"""The autoencoder: 8x8 pixels become 4 numbers and come back. 0.24 million parameters.

It starts as something that works: channels 0 to 2 carry red, green and blue through every layer, so that the untrained
model already is an 8x8 box average. From random weights so small a model needs many times the steps to find colours.
"""

import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from imagegen_shapes_training.compositions import Composition, Mix, composition
from imagegen_shapes_training.drawing import as_inputs
from imagegen_shapes_training.layout import channels_last
from imagegen_shapes_training.optimiser import Optimiser
from imagegen_shapes_training.precision import mixed_precision
from imagegen_shapes_training.progress import Progress, StageFailedError
from imagegen_shapes_training.recipe import Schedule, VaeRecipe

PIXELS_PER_LATENT = 8

_WIDTH = 24
_AVERAGE = 0.995
_LATENT_SPREAD = 2.8
"""Latents of the box average are this times (colour - 0.5): about the unit variance that diffusion wants."""
_KEPT = 0.1
"""What remains of the random weights, so that they do not drown the picture at the start."""

_EDGE_WEIGHT = 0.5
_SPREAD_WEIGHT = 0.05
_NOISE = {"both": 0.18, "decoder": 0.10}
"""Most noise added to latents, by phase: what the denoiser paints is never exact."""

_MIX = Mix(empty=0.02, pairs=0.2)
_SEED = 11


def build() -> AutoencoderTiny:
    """Return the autoencoder as an 8x8 box average."""
    vae = AutoencoderTiny(
        encoder_block_out_channels=(_WIDTH,) * 4,
        decoder_block_out_channels=(_WIDTH,) * 4,
        num_encoder_blocks=(1, 1, 2, 2),
        num_decoder_blocks=(3, 2, 1, 1),
        latent_channels=4,
        scaling_factor=1.0,
    )
    with torch.no_grad():
        _carry_colours(vae.encoder)
        _carry_colours(vae.decoder)
        _box_average(vae)
    return channels_last(vae)


def train(recipe: VaeRecipe, psnr_above: float) -> AutoencoderTiny:
    """Train encoder and decoder, then the decoder alone.

    Raises:
        StageFailedError: Pictures do not come back better than ``psnr_above`` dB.
    """
    torch.manual_seed(_SEED)
    vae = _phase("both", build(), recipe.both)
    vae.encoder.requires_grad_(False)
    vae = _phase("decoder", vae, recipe.decoder).eval()
    # Not the loss: that of the untrained box average is low already.
    reached = psnr(vae, pixels=128, count=16)
    if not reached > psnr_above:
        raise StageFailedError(f"vae: pictures come back with {reached:.1f} dB and should with more than {psnr_above}")
    return vae


@torch.no_grad()
def encode(vae: AutoencoderTiny, compositions: Sequence[Composition], pixels: int) -> Tensor:
    """Draw ``compositions`` and return their latents."""
    return _encoded(vae, _inputs([each.drawn(pixels) for each in compositions]))


@torch.no_grad()
def restore(vae: AutoencoderTiny, pictures: Tensor) -> Tensor:
    """Return what is left of ``pictures`` (-1 to 1) after encoding and decoding."""
    return _decoded(vae, _encoded(vae, pictures)).clamp(-1, 1)


@torch.no_grad()
def psnr(vae: AutoencoderTiny, pixels: int, count: int) -> float:
    """Return how well pictures that it was not trained on come back, in dB; the scale is 2 (-1 to 1)."""
    pictures = _inputs([composition("vae test", index, _MIX).drawn(pixels) for index in range(count)])
    restored = restore(vae, pictures)
    return 10 * math.log10(4 / functional.mse_loss(restored, pictures).item())


def _phase(name: str, vae: AutoencoderTiny, schedule: Schedule) -> AutoencoderTiny:
    optimiser = Optimiser(vae, schedule, _AVERAGE)
    progress = Progress(f"vae, {name}", schedule.steps)
    for step in range(schedule.steps):
        loss = _loss(vae, _batch(name, step), _NOISE[name])
        optimiser.step(loss)
        progress.note(loss.item())
    return optimiser.average


def _loss(vae: AutoencoderTiny, pictures: Tensor, noise: float) -> Tensor:
    with mixed_precision():
        latents = _encoded(vae, pictures).float()
        amounts = noise * torch.rand(len(latents), 1, 1, 1)
        restored = _decoded(vae, latents + amounts * torch.randn_like(latents)).float()
    error = restored - pictures
    return error.abs().mean() + error.square().mean() + _EDGE_WEIGHT * _edge_error(error) + _spread(latents)


def _encoded(vae: AutoencoderTiny, pictures: Tensor) -> Tensor:
    return vae.encode(pictures, return_dict=False)[0]


def _decoded(vae: AutoencoderTiny, latents: Tensor) -> Tensor:
    return vae.decode(latents, return_dict=False)[0]


def _edge_error(error: Tensor) -> Tensor:
    """Return the mean error of the differences between neighbours: what makes edges sharp."""
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


def _spread(latents: Tensor) -> Tensor:
    """Return the penalty for channels whose mean is not 0 or whose standard deviation is not 1."""
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    return _SPREAD_WEIGHT * (mean.square().mean() + (deviation - 1).square().mean())


def _batch(phase: str, step: int) -> Tensor:
    """Return the pictures of a step: mostly details at 64 px, some whole pictures of 64, 128 and 256 px."""
    lots = random.Random(f"vae {phase} {step}")
    pixels, count, crop = lots.choices(
        ((128, 16, True), (64, 16, False), (128, 4, False), (256, 1, False)), (0.50, 0.22, 0.23, 0.05)
    )[0]
    compositions = [composition(f"vae {phase}", step * 16 + number, _MIX) for number in range(count)]
    pictures = [each.drawn(pixels) for each in compositions]
    if crop:
        pictures = [_detail(picture, each, lots) for picture, each in zip(pictures, compositions, strict=True)]
    return _inputs(pictures)


def _detail(picture: NDArray[np.float32], shown: Composition, lots: random.Random) -> NDArray[np.float32]:
    """Cut half of the side out, near a figure: background alone teaches nothing."""
    side = len(picture) // 2
    centre = lots.choice(shown.figures).centre if shown.figures else (0.5, 0.5)
    left, top = (
        min(max(int(middle * len(picture) - side / 2 + lots.uniform(-side / 2, side / 2)), 0), side)
        for middle in centre
    )
    return picture[top : top + side, left : left + side]


def _inputs(pictures: Sequence[NDArray[np.float32]]) -> Tensor:
    return torch.from_numpy(as_inputs(pictures)).to(memory_format=torch.channels_last)


def _layers(part: nn.Module) -> list[nn.Module]:
    """Return the layers of an encoder or decoder, in order."""
    return list(part.get_submodule("layers").children())


def _convolutions(part: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions between the residual blocks, in order."""
    return [layer for layer in _layers(part) if isinstance(layer, nn.Conv2d)]


def _carry_colours(part: nn.Module) -> None:
    """Let channels 0 to 2 pass every layer of an encoder or decoder unchanged, averaging 2x2 where it shrinks."""
    for block in _layers(part):
        if isinstance(block, AutoencoderTinyBlock):
            *_, weight, bias = block.conv.parameters()
            weight.mul_(_KEPT)
            weight[:3].mul_(_KEPT)
            bias.zero_()
    for convolution in _convolutions(part):
        convolution.weight[:3] = 0
        if convolution.bias is not None:
            convolution.bias[:3] = 0
        for colour in range(3):
            if convolution.stride == (2, 2):
                convolution.weight[colour, colour, 1:, 1:] = 0.25
            else:
                convolution.weight[colour, colour, 1, 1] = 1


def _box_average(vae: AutoencoderTiny) -> None:
    """Scale colours (0 to 1) to latents around 0 and back."""
    out, back = _convolutions(vae.encoder)[-1], _convolutions(vae.decoder)[0]
    for colour in range(3):
        _set(out, colour, _LATENT_SPREAD, -0.5 * _LATENT_SPREAD)
        _set(back, colour, 1 / _LATENT_SPREAD, 0.5)


def _set(convolution: nn.Conv2d, colour: int, factor: float, shift: float) -> None:
    """Let a channel pass, times ``factor`` plus ``shift``."""
    weight, bias = convolution.parameters()
    weight[colour, colour, 1, 1] = factor
    bias[colour] = shift
