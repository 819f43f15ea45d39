"""Single-file checkpoints to diffusers pipelines: the weights of one file, the rest of a configuration's folder."""

from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch

from imagegen_server.pipelines.components import (
    Component,
    Plan,
    WeightsError,
    check_tokenizers,
    load_errors,
    pipeline_arguments,
    read_index,
    read_json,
)
from imagegen_server.sources.checkpoints import UNET, VAE, Family, checkpoint_header, family_in
from imagegen_server.sources.safetensors_header import Header

_UNUSED = ("cond_stage_model.model.transformer.resblocks.23.", "cond_stage_model.model.text_projection")
"""The last layer of the text encoder of Stable Diffusion 2.x, which is not used: the one before it is what is read."""

_VELOCITY = "v_pred"
"""The name of an empty tensor by which a file says that its UNet predicts velocities, not noise."""


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
    _check_prediction(file, header, config)
    return Plan(
        pipeline=pipeline,
        components=tuple(_components(header, family, classes)),
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
    with load_errors(file.name):
        return pipeline.from_single_file(
            str(file), config=str(config), unet=unet, vae=vae, dtype=dtype, local_files_only=True, **plan.arguments
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
            raise WeightsError(f"{name}: tensors are missing from {file.name}") from None
        raise


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


def _check_prediction(file: Path, header: Header, config: Path) -> None:
    """Raise WeightsError when the file and the configuration differ in what the UNet predicts: it would paint noise."""
    if _VELOCITY not in header:
        return
    scheduler = read_json(config / "scheduler" / "scheduler_config.json")
    if scheduler.get("prediction_type") != "v_prediction":
        raise WeightsError(
            f"{file.name} predicts velocities (it has a tensor {_VELOCITY}), and the scheduler of its configuration is "
            "for noise; field config of the model's entry must name one with prediction_type v_prediction"
        )
