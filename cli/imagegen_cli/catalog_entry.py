"""Pure: what a Hub says of a model -> an entry of models_info.json. What the metadata does not tell is left out."""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from imagegen_cli.command import CommandError
from imagegen_cli.few_steps import PIPELINES, pace
from imagegen_cli.hub_facts import HubFacts, Json
from imagegen_contract.image_size import MAX_SIDE, MIN_SIDE

_FAMILIES = {"StableDiffusionPipeline": "stable-diffusion", "StableDiffusionXLPipeline": "sdxl"}
_NAME_PREFIXES = {
    "stable-diffusion": ("stable-diffusion-", "sd-"),
    "sdxl": ("stable-diffusion-xl-", "sdxl-", "sd-xl-"),
}
"""Beginnings of repository names that only repeat the family, longest first."""
_LONGEST_NAME = 63
_LATENT_PIXELS = 8
"""Pixels on each side of a latent position: the VAE of SD and SDXL halves the picture three times."""

_LIBRARIES = {"diffusers", "transformers", "stable_diffusion"}
_WITH_WEIGHTS = {"unet", "vae", "text_encoder", "text_encoder_2"}
_PICKLE_SUFFIXES = {".bin", ".ckpt", ".pt", ".pth"}

_CHECKPOINT_UNET = "model.diffusion_model.input_blocks.0.0.weight"
_CHECKPOINT_PARTS = {
    "StableDiffusionXLPipeline": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
    "StableDiffusionPipeline": ("cond_stage_model.",),
}
"""The text encoders of each pipeline in a single-file checkpoint: beginnings of tensor names in the original layout."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An entry, not yet looked at by the catalog, and what people should know of how it came to be."""

    entry: dict[str, Any]
    notes: tuple[str, ...]


def draft(facts: HubFacts) -> Draft:
    """Return the entry of a model; raise CommandError when it is none that a server could load."""
    pipeline = _checkpoint_pipeline(facts) if facts.reference.file else _pipeline(facts)
    family, name = _FAMILIES[pipeline], _name(facts)
    chosen = pace(pipeline, f"{facts.reference.repository.split('/')[1]} {name}", facts.scheduler)
    size = _native_size(facts.unet.get("sample_size"))
    inference = {**chosen.fields, **({"size": size} if size else {})}
    publisher = facts.reference.repository.split("/")[0]
    entry = {
        "publisher": publisher[:_LONGEST_NAME],
        "family": family,
        "version": _version(name, family),
        "id": f"{publisher}/{name}",
        "aliases": [name],
        **({"license": facts.license[:200]} if facts.license else {}),
        "source": facts.reference.source,
        "revision": facts.reference.revision,
        "inference": inference,
    }
    return Draft(entry=entry, notes=(f"steps and guidance: {chosen.why}", *_notes(facts)))


def _notes(facts: HubFacts) -> Iterator[str]:
    if not facts.license:
        yield "license: the model card names none"
    if facts.gated:
        yield "gated: a server needs a token that has access to it (HF_TOKEN)"


def _pipeline(facts: HubFacts) -> str:
    """Return the pipeline class of a repository; raise CommandError when it, or a part of it, is not loadable."""
    name, repository = facts.index.get("_class_name"), facts.reference.repository
    if isinstance(name, list):
        raise CommandError(f"{repository} brings a pipeline as code of its own, which is never run")
    if name not in PIPELINES:
        raise CommandError(f"{repository} is a {name}, which is not supported; supported: {', '.join(PIPELINES)}")
    for part, library in _parts(facts.index):
        if library not in _LIBRARIES:
            raise CommandError(f"{part} of {repository} is code of its own ({library}), which is never run")
        _check_weights(part, facts)
    _check_unet(facts)
    return name


def _parts(index: Json) -> Iterator[tuple[str, str]]:
    """Yield (name, library) of the parts that a pipeline has; one that it goes without stands as [null, null]."""
    for part, kind in index.items():
        match kind:
            case [str(library), str()]:
                yield part, library
            case _:
                pass


def _check_weights(part: str, facts: HubFacts) -> None:
    suffixes = {PurePosixPath(file).suffix for file in facts.files if file.startswith(f"{part}/")}
    if ".safetensors" in suffixes:
        return
    repository = facts.reference.repository
    if suffixes & _PICKLE_SUFFIXES:
        raise CommandError(
            f"{part} of {repository} has only pickled weights, which can run code when they are opened; "
            "look for a revision or a repository with .safetensors files"
        )
    if part in _WITH_WEIGHTS:
        raise CommandError(f"{part} of {repository} has no weights: the repository holds no .safetensors file there")


def _check_unet(facts: HubFacts) -> None:
    channels = facts.unet.get("in_channels", 4)
    if channels != 4:
        raise CommandError(_other_channels(facts, channels))
    if facts.unet.get("time_cond_proj_dim") is not None:
        raise CommandError(
            f"{facts.reference.repository} takes the guidance scale as an embedding (an LCM distillation), which is "
            "not supported"
        )


def _checkpoint_pipeline(facts: HubFacts) -> str:
    """Return the pipeline class that a single-file checkpoint is of; raise CommandError when it is no whole one."""
    where = f"{facts.reference.file} of {facts.reference.repository}"
    if any("lora" in name for name in facts.tensors):
        raise CommandError(f"{where} is a LoRA, which only changes another model; that is not supported")
    for pipeline, parts in _CHECKPOINT_PARTS.items():
        if all(_has(facts.tensors, part) for part in (_CHECKPOINT_UNET, "first_stage_model.", *parts)):
            channels = facts.tensors.get(_CHECKPOINT_UNET, ())[1:2]
            if channels != (4,):
                raise CommandError(_other_channels(facts, *channels))
            return pipeline
    raise CommandError(f"{where} is no whole checkpoint of Stable Diffusion 1, 2 or XL: UNet, VAE and text encoders")


def _has(tensors: Mapping[str, tuple[int, ...]], beginning: str) -> bool:
    return any(name.startswith(beginning) for name in tensors)


def _other_channels(facts: HubFacts, channels: object = "other") -> str:
    return (
        f"{facts.reference.repository} is not for text alone: its UNet reads {channels} channels instead of 4, as "
        "models for inpainting do"
    )


def _name(facts: HubFacts) -> str:
    """Return the last segment of the model's id: that of the repository, or of the checkpoint in it."""
    if not facts.reference.file:
        return facts.reference.repository.split("/")[1]
    stem = PurePosixPath(facts.reference.file).stem
    return re.sub(r"[^A-Za-z0-9._-]", "-", stem).lstrip("._-")


def _version(name: str, family: str) -> str:
    """Return what a name says besides its family: ``v1-4`` of stable-diffusion-v1-4, all of it when that is nothing."""
    spelled = name.lower().replace("_", "-")
    prefix = next((prefix for prefix in _NAME_PREFIXES[family] if spelled.startswith(prefix)), "")
    return (name[len(prefix) :] or name)[:_LONGEST_NAME]


def _native_size(sample_size: object) -> str | None:
    """Return the size that the UNet was trained at; ``sample_size`` is one side or [height, width] in latents."""
    match sample_size:
        case int(side):
            sides = (side, side)
        case [int(height), int(width)]:
            sides = (width, height)
        case _:
            return None
    width, height = (side * _LATENT_PIXELS for side in sides)
    return f"{width}x{height}" if all(MIN_SIDE <= side <= MAX_SIDE for side in (width, height)) else None
