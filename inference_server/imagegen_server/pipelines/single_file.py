"""Single-file checkpoints to diffusers pipelines: the weights of one file, the rest of a configuration's folder."""

from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.pipelines.components import (
    Component,
    Plan,
    WeightsError,
    check_tokenizers,
    pipeline_arguments,
    read_index,
)
from imagegen_server.pipelines.declarations import check_file
from imagegen_server.pipelines.library_errors import load_errors
from imagegen_server.pipelines.own_scheduler import read_own_scheduler
from imagegen_server.sources.checkpoints import UNET, VAE, Family, checkpoint_header, family_in
from imagegen_server.sources.safetensors_header import Header

_UNUSED = ("cond_stage_model.model.transformer.resblocks.23.", "cond_stage_model.model.text_projection")
"""The last layer of the text encoder of Stable Diffusion 2.x, which is not used: the one before it is what is read."""


def plan_checkpoint(file: Path, config: Path) -> Plan:
    """Return what to load of a checkpoint; raise LoadError for what is not whole or not supported."""
    header = checkpoint_header(file)
    family = family_in(header, file.name)
    pipeline, classes = read_index(config)
    if pipeline != family.pipeline:
        raise WeightsError(
            f"{file.name} is of {family.name}, and its configuration is of a {pipeline}; field config of the model's "
            f"entry must name one of a {family.pipeline}"
        )
    if classes["vae"] != "AutoencoderKL":
        raise WeightsError(f"vae: class {classes['vae']} of the configuration cannot be loaded from a single file")
    check_tokenizers(config, classes)
    check_file(file, config, file.name)
    return Plan(
        pipeline=pipeline,
        scheduler=classes["scheduler"],
        components=tuple(_components(header, family, classes)),
        extras={},
        arguments=pipeline_arguments(pipeline, safety_checker=False),
    )


def read_checkpoint(file: Path, config: Path, plan: Plan, dtype: torch.dtype) -> Any:
    """Return the pipeline; its VAE is float32, whatever the number format of the rest. Raises WeightsError.

    Text encoders are not checked: they are left without memory where the file lacks a tensor.
    """
    read = partial(_read_component, file, config)
    unet = read(diffusers.UNet2DConditionModel, "unet", dtype)
    _check_fits(file, unet, plan)
    vae = read(diffusers.AutoencoderKL, "vae", torch.float32)
    pipeline: Any = getattr(diffusers, plan.pipeline)
    parts = {"unet": unet, "vae": vae, "scheduler": read_own_scheduler(config, plan.scheduler)}
    with load_errors(file.name):
        return pipeline.from_single_file(
            str(file), config=str(config), dtype=dtype, local_files_only=True, **parts, **plan.arguments
        )


def _read_component(file: Path, config: Path, model: Any, name: str, dtype: torch.dtype) -> Any:
    try:
        with load_errors(name):
            return model.from_single_file(
                str(file), config=str(config), subfolder=name, dtype=dtype, local_files_only=True
            )
    except WeightsError as error:
        if isinstance(error.__cause__, NotImplementedError):
            # diffusers leaves what the file lacks without memory, and torch cannot move that.
            message = f"{name}: tensors are missing from {file.name}; download it again, or use a whole model"
            raise WeightsError(message) from None
        if error.reason is LoadFailure.OUT_OF_MEMORY:
            raise
        raise WeightsError(f"{error}; field config of the model's entry must name a configuration that fits") from None


def _check_fits(file: Path, unet: torch.nn.Module, plan: Plan) -> None:
    """Raise WeightsError when the configuration has no place for all of the UNet: diffusers drops the rest."""
    (planned,) = [component for component in plan.components if component.name == "unet"]
    there = sum(tensor.elements for tensor in planned.tensors)
    used = sum(tensor.numel() for tensor in unet.parameters())
    if there != used:
        raise WeightsError(
            f"unet: {file.name} has {there} numbers, and the configuration is of a UNet with {used}; field config of "
            "the model's entry must name one that fits"
        )


def _components(header: Header, family: Family, classes: dict[str, str]) -> list[Component]:
    prefixes = {"unet": UNET, "vae": VAE}
    prefixes |= dict(zip(("text_encoder", "text_encoder_2"), family.text_encoders, strict=False))
    return [
        Component(
            name=name,
            class_name=classes[name],
            tensors=tuple(
                tensor for key, tensor in header.items() if key.startswith(prefix) and not key.startswith(_UNUSED)
            ),
        )
        for name, prefix in prefixes.items()
        if name in classes
    ]
