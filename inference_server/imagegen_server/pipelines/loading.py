"""Weights to a pipeline that the engine can drive: which family, which number formats, which device."""

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
import transformers

# Before diffusers, whose import makes transformers warn of torchvision, which only a faster resize would need.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

import diffusers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import SIZE_MULTIPLE, ImageSize
from imagegen_server.generation import ModelFacts
from imagegen_server.jobs import Pipeline
from imagegen_server.pipelines import memory
from imagegen_server.pipelines.components import Component, Plan, WeightsError, load_errors, plan_folder
from imagegen_server.pipelines.device import choose_device, choose_dtype, device_errors, dtype_name
from imagegen_server.pipelines.prompts import MAX_WINDOWS, Windows
from imagegen_server.pipelines.samplers import Samplers
from imagegen_server.pipelines.single_file import plan_checkpoint, read_checkpoint
from imagegen_server.pipelines.stable_diffusion import StableDiffusion
from imagegen_server.pipelines.stable_diffusion_xl import StableDiffusionXL
from imagegen_server.sources import Weights
from imagegen_server.weighing import bytes_in_files, bytes_of

Report = Callable[[int, int], None]
"""Takes note of the bytes that are done, and of all there are."""


def _unheard(done: int, total: int) -> None:
    """Take no note."""


class LoadedPipeline(Pipeline, Protocol):
    """What every family has besides the engine's three methods."""

    samplers: Samplers
    windows: Windows

    def count_tokens(self, text: str) -> int:
        """Return the text tokens of ``text``."""
        ...


_LOCAL: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
"""Nothing is downloaded here, and pickles are never opened: they can run code."""

_CLASSES: dict[str, Any] = {
    "UNet2DConditionModel": diffusers.UNet2DConditionModel,
    "AutoencoderKL": diffusers.AutoencoderKL,
    "AutoencoderTiny": diffusers.AutoencoderTiny,
    "CLIPTextModel": transformers.CLIPTextModel,
    "CLIPTextModelWithProjection": transformers.CLIPTextModelWithProjection,
    "StableDiffusionSafetyChecker": StableDiffusionSafetyChecker,
}

_FAMILIES: dict[str, Callable[[Any], LoadedPipeline]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
}


class PipelineLoader:
    """Loads pipelines for one device; made in the background, since importing this file imports torch."""

    def __init__(self, device: str, dtype: str, cpu_threads: int) -> None:
        """Raise DeviceError when the device cannot be used."""
        if cpu_threads:
            torch.set_num_threads(cpu_threads)
        self._device = choose_device(device)
        self._dtype = choose_dtype(dtype, self._device)
        self._grown: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        """By how many bytes the device's allocator grew while each pipeline was placed."""
        diffusers.utils.logging.set_verbosity_error()
        diffusers.utils.logging.disable_progress_bar()
        # What was imported lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    @property
    def device(self) -> str:
        """The device's name for people."""
        return torch.cuda.get_device_name() if self._device.type == "cuda" else self._device.type

    def memory_budget(self) -> int:
        """Return the bytes that weights may take on the device where no setting says."""
        return memory.memory_budget(self._device)

    def weigh(self, weights: Weights, spec: ImageModelSpec) -> int:
        """Return the bytes that the weights will take on the device; raise LoadError. Reads headers, no tensors."""
        components = _plan(weights, spec).components
        return sum(bytes_of(each, self._dtype.itemsize) for each in components)

    def read(self, weights: Weights, spec: ImageModelSpec, report: Report = _unheard) -> Any:
        """Read the weights into the host's memory; raise LoadError. Not device work: any thread will do.

        ``report`` is told of each component of a folder, and of a checkpoint when all is read.
        """
        plan = _plan(weights, spec)
        report(0, sum(bytes_in_files(each) for each in plan.components))
        if weights.config is None:
            pipe = self._read_folder(weights.path, plan, report)
        else:
            pipe = read_checkpoint(weights.path, weights.config, plan, self._dtype)
        _check_supported(pipe)
        return pipe

    def placing(self, pipe: Any) -> list[Callable[[], None]]:
        """Return the calls that move the weights to the device, one for each component, in order.

        Device thread only; a call raises DeviceOutOfMemoryError. In pieces, so that running requests take turns with a
        new model, which takes seconds to copy.
        """
        self._grown[pipe] = 0
        return [partial(self._place, pipe, module) for module in memory.modules_of(pipe)]

    def placed_bytes(self, pipe: Any) -> list[int]:
        """Return how many bytes each call of ``placing`` moves."""
        return [memory.tensor_bytes([module]) for module in memory.modules_of(pipe)]

    def finish(self, pipe: Any) -> LoadedPipeline:
        """Return what the engine drives of a pipeline that is on the device. Device thread only."""
        return _FAMILIES[type(pipe).__name__](pipe)

    def facts(self, pipe: Any, loaded: LoadedPipeline) -> ModelFacts:
        """Return what is known of the model now."""
        sample = pipe.unet.config.sample_size
        height, width = (sample, sample) if isinstance(sample, int) else sample
        return ModelFacts(
            native_size=ImageSize(width * 8, height * 8),
            own_scheduler=loaded.samplers.own_preset,
            device=self._device.type,
            dtype=dtype_name(self._dtype),
            prompt_tokens=MAX_WINDOWS * loaded.windows.text_length,
            memory_bytes=max(self._grown.get(pipe, 0), memory.tensor_bytes(memory.modules_of(pipe))),
        )

    def give_back(self) -> None:
        """Free what unloaded models left behind. Device thread only."""
        memory.give_back(self._device)

    def _read_folder(self, folder: Path, plan: Plan, report: Report) -> Any:
        # Each component is read here and handed over whole. Left to the pipeline's own loading, weights that a file
        # lacks would be noise: a model that serves and paints something else, a safety checker that flags at random.
        parts: dict[str, Any] = {}
        sizes = {component.name: bytes_in_files(component) for component in plan.components}
        for component in plan.components:
            parts[component.name] = self._read_component(folder, component)
            report(sum(sizes[name] for name in parts), sum(sizes.values()))
        with load_errors("the pipeline"):
            return getattr(diffusers, plan.pipeline).from_pretrained(folder, **parts, **plan.arguments, **_LOCAL)

    def _read_component(self, folder: Path, component: Component) -> Any:
        options: dict[str, Any] = {"variant": component.variant or None, "dtype": self._format(component.name)}
        with load_errors(component.name):
            part, report = _CLASSES[component.class_name].from_pretrained(
                folder / component.name, output_loading_info=True, **options, **_LOCAL
            )
        _check_whole(component.name, sorted(report["missing_keys"]))
        return part

    def _format(self, component: str) -> torch.dtype:
        """Return the number format of a component; the VAE stays in float32, since SDXL's overflows in float16."""
        return torch.float32 if component == "vae" else self._dtype

    def _place(self, pipe: Any, module: torch.nn.Module) -> None:
        before = memory.allocated_bytes(self._device)
        with device_errors():
            module.to(self._device)
        self._grown[pipe] += memory.allocated_bytes(self._device) - before


def _plan(weights: Weights, spec: ImageModelSpec) -> Plan:
    if weights.config is not None:
        return plan_checkpoint(weights.path, weights.config)
    return plan_folder(weights.path, weights.variant, safety_checker=spec.inference.safety_checker)


def _check_supported(pipe: Any) -> None:
    """Raise WeightsError for weights that these pipelines would use wrongly, or that are not whole."""
    unet, channels = pipe.unet.config, pipe.vae.config.latent_channels
    if unet.time_cond_proj_dim is not None:
        raise WeightsError("UNets that take the guidance scale as an embedding (LCM distillations) are not supported")
    if unet.in_channels != channels:
        raise WeightsError(
            f"the UNet takes {unet.in_channels} channels and the latents have {channels}; UNets that also take a "
            "picture (inpainting, editing, upscaling) are not supported"
        )
    if pipe.vae_scale_factor != SIZE_MULTIPLE:
        raise WeightsError(f"the VAE shrinks both sides by {pipe.vae_scale_factor}; only {SIZE_MULTIPLE} is supported")
    if "beta_schedule" not in pipe.scheduler.config:
        raise WeightsError(
            f"scheduler {type(pipe.scheduler).__name__} has no betas; the presets cannot be made from it"
        )
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            # What a file lacks, diffusers leaves without memory.
            _check_whole(name, [key for key, tensor in part.state_dict().items() if tensor.is_meta])


def _check_whole(component: str, missing: list[str]) -> None:
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise WeightsError(f"{component}: tensors are missing from the weights: {missing[0]}{more}")
