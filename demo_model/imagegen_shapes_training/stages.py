"""The stages from nothing to pipeline folders. Each writes its folder below ``out`` and is skipped when that is there.

    vae  ->  text_encoder  ->  unet  ->  shapes (packed)  ->  shapes-xl (trained and packed)

The order is fixed but for the text encoder, which needs nothing. The UNet and the twin leave checkpoints on their way.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel

from imagegen_shapes_training import packing, sdxl_twin, text_encoder, unet, vae
from imagegen_shapes_training.checkpoints import once
from imagegen_shapes_training.layout import channels_last
from imagegen_shapes_training.recipe import Recipe

PIPELINE = "shapes"
TWIN = "shapes-xl"


def train(recipe: Recipe, out: Path) -> None:
    """Run what is not done yet.

    Raises:
        OtherRecipeError: A folder in ``out`` was made with other numbers.
        StageFailedError: A stage did not learn.
    """
    Stages(recipe, out).run()


class Stages:
    """The stages of one recipe in one folder; each method fills the folder of its stage."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self._recipe = recipe
        self._out = out

    def run(self) -> None:
        """Run the stages in order. The numbers of a stage are its own and those of the stages that it builds on."""
        numbers: dict[str, Any] = asdict(self._recipe)
        base = {name: numbers[name] for name in ("vae", "text", "unet")}
        once(self._out / "vae", {"vae": numbers["vae"]}, self._vae)
        once(self._out / "text_encoder", {"text": numbers["text"]}, self._text_encoder)
        once(self._out / "unet", base, self._unet)
        once(self._out / PIPELINE, base, self._pipeline)
        once(self._out / TWIN, base | {"twin": numbers["twin"]}, self._twin)

    def _vae(self, folder: Path) -> None:
        vae.train(self._recipe.vae, self._recipe.bounds.vae_psnr).save_pretrained(str(folder))

    def _text_encoder(self, folder: Path) -> None:
        encoder, right = text_encoder.train(self._recipe.text, self._recipe.bounds.text)
        encoder.save_pretrained(str(folder))
        (folder / "right.json").write_text(json.dumps(right, indent=1))

    def _unet(self, folder: Path) -> None:
        checkpoint = self._out / "unet.checkpoint"
        parts = self._trained_vae(), self._trained_text_encoder()
        trained = unet.train(self._recipe.unet, *parts, checkpoint, self._recipe.bounds.unet)
        trained.save_pretrained(str(folder))

    def _pipeline(self, folder: Path) -> None:
        trained = UNet2DConditionModel.from_pretrained(str(self._out / "unet"))
        packing.pack(self._trained_vae(), self._trained_text_encoder(), trained, folder)

    def _twin(self, folder: Path) -> None:
        checkpoint = self._out / "twin.checkpoint"
        twin = sdxl_twin.train(self._recipe.twin, self._out / PIPELINE, checkpoint, self._recipe.bounds.twin)
        packing.pack_twin(self._trained_vae(), twin, folder)

    def _trained_vae(self) -> AutoencoderTiny:
        trained = AutoencoderTiny.from_pretrained(str(self._out / "vae"), dtype=torch.float32)
        return channels_last(trained.eval())

    def _trained_text_encoder(self) -> CLIPTextModel:
        return CLIPTextModel.from_pretrained(str(self._out / "text_encoder"), dtype=torch.float32).eval()
