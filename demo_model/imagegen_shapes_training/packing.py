"""Pipeline folders as they ship: half-precision files, the frozen tokenizer, readable by everybody."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderTiny,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from imagegen_shapes_training import diffusion, tokenizer
from imagegen_shapes_training.sdxl_twin import Twin

_FOLDER_MODE = 0o755
_FILE_MODE = 0o644


def pack(vae: AutoencoderTiny, encoder: CLIPTextModel, unet: UNet2DConditionModel, folder: Path) -> None:
    """Write the Stable Diffusion pipeline to ``folder``."""
    # Nothing that it can paint needs a checker.
    parts: dict[str, Any] = {
        **_shared(vae),
        "text_encoder": encoder,
        "unet": unet,
        "safety_checker": None,
        "feature_extractor": None,
    }
    _write(StableDiffusionPipeline(**parts, requires_safety_checker=False), folder)


def pack_twin(vae: AutoencoderTiny, twin: Twin, folder: Path) -> None:
    """Write the SDXL pipeline to ``folder``."""
    parts: dict[str, Any] = {
        **_shared(vae),
        "text_encoder": twin.first,
        "text_encoder_2": twin.second,
        "tokenizer_2": tokenizer.tokenizer(),
        "unet": twin.denoiser,
    }
    # It learned the empty caption as a caption, not as zeros.
    _write(StableDiffusionXLPipeline(**parts, force_zeros_for_empty_prompt=False, add_watermarker=False), folder)


def install(packed: Path, target: Path) -> None:
    """Replace ``target`` by a copy of ``packed``."""
    new, old = target.with_name(f"{target.name}.new"), target.with_name(f"{target.name}.old")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(packed, new, ignore=shutil.ignore_patterns("recipe.json"))
    _set_modes(new)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _shared(vae: AutoencoderTiny) -> dict[str, Any]:
    # Untyped: diffusers' annotations know one kind of VAE and of scheduler, its code takes them all.
    return {"vae": vae, "tokenizer": tokenizer.tokenizer(), "scheduler": diffusion.scheduler()}


def _write(pipeline: DiffusionPipeline, folder: Path) -> None:
    pipeline.save_pretrained(str(folder))
    for weights in folder.rglob("*.safetensors"):
        _halve(weights)
    for configuration in folder.glob("*/*config.json"):
        _clean(configuration)
    for copied in folder.glob("tokenizer*"):
        shutil.rmtree(copied)
        shutil.copytree(tokenizer.FOLDER, copied)
    _set_modes(folder)


def _halve(weights: Path) -> None:
    halved = {name: weight.to(torch.float16).contiguous() for name, weight in load_file(weights).items()}
    save_file(halved, weights, metadata={"format": "pt"})


def _clean(configuration: Path) -> None:
    """Remove the path that the part was loaded from, and say that a text encoder works in float32.

    Without the latter it would be loaded as its file is, the other parts as float32, and the first call would fail.
    """
    settings: dict[str, Any] = json.loads(configuration.read_text())
    settings.pop("_name_or_path", None)
    if configuration.parent.name.startswith("text_encoder"):
        settings["dtype"] = "float32"
    configuration.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _set_modes(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(_FOLDER_MODE if path.is_dir() else _FILE_MODE)
