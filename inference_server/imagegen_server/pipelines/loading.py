"""A folder of weights to a pipeline that the engine can drive: which family, which number formats, which device."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers

# Before diffusers, whose import makes transformers warn of torchvision, which only a faster resize would need.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

import diffusers

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import ImageSize
from imagegen_server.generation import ModelFacts
from imagegen_server.jobs import Pipeline
from imagegen_server.pipelines.device import choose_device, choose_dtype, device_errors, dtype_name
from imagegen_server.pipelines.prompts import MAX_WINDOWS, Windows
from imagegen_server.pipelines.samplers import Samplers
from imagegen_server.pipelines.stable_diffusion import StableDiffusion
from imagegen_server.pipelines.stable_diffusion_xl import StableDiffusionXL


class LoadError(RuntimeError):
    """The weights cannot be loaded; the message says why."""


class LoadedPipeline(Pipeline, Protocol):
    """What every family has besides the engine's three methods."""

    samplers: Samplers
    windows: Windows

    def count_tokens(self, text: str) -> int:
        """Return the text tokens of ``text``."""
        ...


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
        diffusers.utils.logging.set_verbosity_error()
        diffusers.utils.logging.disable_progress_bar()
        # What was imported lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    @property
    def device(self) -> str:
        """The device's name for people."""
        return torch.cuda.get_device_name() if self._device.type == "cuda" else self._device.type

    def read(self, folder: Path, spec: ImageModelSpec) -> Any:
        """Read the weights into the host's memory; raise LoadError. Not device work: any thread will do."""
        class_name = _class_name(folder)
        arguments: dict[str, Any] = {}
        if class_name == "StableDiffusionXLPipeline":
            arguments["add_watermarker"] = False
        elif not spec.inference.safety_checker:
            arguments |= {"safety_checker": None, "requires_safety_checker": False}
        # The VAE stays in float32: SDXL's overflows in float16.
        dtypes = {"default": self._dtype, "vae": torch.float32}
        try:
            pipe = getattr(diffusers, class_name).from_pretrained(
                folder, dtype=dtypes, use_safetensors=True, local_files_only=True, **arguments
            )
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            raise LoadError(f"the weights cannot be loaded: {str(error).splitlines()[0]}") from error
        if pipe.unet.config.time_cond_proj_dim is not None:
            raise LoadError("UNets that take the guidance scale as an embedding (LCM distillations) are not supported")
        return pipe

    def place(self, pipe: Any) -> LoadedPipeline:
        """Move the weights to the device. Device thread only; raises DeviceOutOfMemoryError."""
        with device_errors():
            pipe.to(self._device)
        return _FAMILIES[type(pipe).__name__](pipe)

    def facts(self, pipe: Any, loaded: LoadedPipeline) -> ModelFacts:
        """Return what is known of the model now."""
        sample = pipe.unet.config.sample_size
        height, width = (sample, sample) if isinstance(sample, int) else sample
        own = loaded.samplers.own_preset
        return ModelFacts(
            native_size=ImageSize(width * 8, height * 8),
            own_scheduler=own,
            device=self._device.type,
            dtype=dtype_name(self._dtype),
            prompt_tokens=MAX_WINDOWS * loaded.windows.text_length,
        )


def _class_name(folder: Path) -> str:
    try:
        class_name = json.loads((folder / "model_index.json").read_bytes()).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise LoadError(f"model_index.json cannot be read: {error}") from None
    if class_name not in _FAMILIES:
        raise LoadError(f"pipeline class {class_name} is not supported; supported: {', '.join(_FAMILIES)}")
    return class_name
