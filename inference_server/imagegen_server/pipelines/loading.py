"""A folder of weights to a pipeline that the engine can drive: which family, which number formats, which device."""

import gc
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

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


_LOCAL: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
"""Nothing is downloaded here, and pickles are never opened: they can run code."""

_TRANSFORMERS_PARTS: dict[str, Any] = {
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
        index = _index(folder)
        class_name = index["_class_name"]
        arguments: dict[str, Any] = {}
        if class_name == "StableDiffusionXLPipeline":
            arguments["add_watermarker"] = False
        elif not spec.inference.safety_checker:
            arguments |= {"safety_checker": None, "requires_safety_checker": False}
        parts = {name: entry for name, entry in index.items() if name not in arguments and isinstance(entry, list)}
        arguments |= self._checked(folder, parts)
        # The VAE stays in float32: SDXL's overflows in float16.
        dtypes = {"default": self._dtype, "vae": torch.float32}
        with _load_errors("the weights"):
            pipe = getattr(diffusers, class_name).from_pretrained(folder, dtype=dtypes, **_LOCAL, **arguments)
        _check_supported(pipe)
        return pipe

    def _checked(self, folder: Path, parts: dict[str, list[str]]) -> dict[str, Any]:
        """Return the parts that transformers loads, and see to it that they and the tokenizers are whole.

        Left to the pipeline's own loading, weights that a file lacks would be noise, and a tokenizer without its files
        one that knows no word: a model that serves and paints something else, a safety checker that flags at random.
        """
        checked: dict[str, Any] = {}
        for name, (_, class_name) in parts.items():
            if not class_name:
                continue
            _check_no_pickles(folder / name)
            if name.startswith("tokenizer") and not _has_vocabulary(folder / name):
                raise LoadError(f"{name}: has neither tokenizer.json nor vocab.json with merges.txt")
            if name.startswith("text_encoder") and class_name not in _TRANSFORMERS_PARTS:
                raise LoadError(f"{name}: class {class_name} is not supported")
            if class_name in _TRANSFORMERS_PARTS:
                with _load_errors(name):
                    checked[name], report = _TRANSFORMERS_PARTS[class_name].from_pretrained(
                        folder / name, dtype=self._dtype, output_loading_info=True, **_LOCAL
                    )
                _check_whole(name, sorted(report["missing_keys"]))
        return checked

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


def _index(folder: Path) -> dict[str, Any]:
    """Return the pipeline's index: its class, and (library, class) of each component."""
    try:
        index = json.loads((folder / "model_index.json").read_bytes())
        class_name = index.get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise LoadError(f"model_index.json cannot be read: {error}") from None
    if class_name not in list(_FAMILIES):
        raise LoadError(f"pipeline class {class_name} is not supported; supported: {', '.join(_FAMILIES)}")
    return index


def _has_vocabulary(folder: Path) -> bool:
    parts = [(folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "merges.txt")]
    return parts[0] or (parts[1] and parts[2])


def _check_no_pickles(folder: Path) -> None:
    pickles = sorted(path.name for kind in ("*.bin", "*.ckpt", "*.pt") for path in folder.glob(kind))
    if pickles and not any(folder.glob("*.safetensors")):
        raise LoadError(
            f"{folder.name}: {pickles[0]} is a pickle, which is never opened because it can run code; "
            "save the pipeline with safe_serialization=True"
        )


def _check_supported(pipe: Any) -> None:
    """Raise LoadError for weights that these pipelines would use wrongly, or that are not whole."""
    if pipe.unet.config.time_cond_proj_dim is not None:
        raise LoadError("UNets that take the guidance scale as an embedding (LCM distillations) are not supported")
    if pipe.vae_scale_factor != SIZE_MULTIPLE:
        raise LoadError(f"the VAE shrinks both sides by {pipe.vae_scale_factor}; only {SIZE_MULTIPLE} is supported")
    if "beta_schedule" not in pipe.scheduler.config:
        raise LoadError(f"scheduler {type(pipe.scheduler).__name__} has no betas; the presets cannot be made from it")
    for name in ("unet", "vae"):
        # What a file lacks, diffusers leaves without memory.
        _check_whole(name, [key for key, tensor in getattr(pipe, name).state_dict().items() if tensor.is_meta])


def _check_whole(component: str, missing: list[str]) -> None:
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise LoadError(f"{component}: tensors are missing from the weights: {missing[0]}{more}")


@contextmanager
def _load_errors(what: str) -> Generator[None]:
    """Turn whatever the libraries raise (safetensors has an error of its own) into a LoadError in one line."""
    try:
        yield
    except Exception as error:
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise LoadError(f"{what} cannot be loaded: {first_line}") from error
