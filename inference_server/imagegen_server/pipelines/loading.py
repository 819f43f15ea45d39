"""Weights to a pipeline that the engine can drive: which family, which number formats, which device."""

import gc
from collections.abc import Callable, Iterator
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
from imagegen_contract.image_size import ImageSize
from imagegen_server.generation import Measured, ModelFacts
from imagegen_server.pipelines import memory
from imagegen_server.pipelines.compatibility import check_compatible, check_whole
from imagegen_server.pipelines.components import Component, Plan, plan_folder
from imagegen_server.pipelines.declarations import check_folder
from imagegen_server.pipelines.device import choose_device, choose_dtype, device_errors, dtype_name
from imagegen_server.pipelines.library_errors import load_errors
from imagegen_server.pipelines.misfits import misfits_explained
from imagegen_server.pipelines.own_scheduler import read_own_scheduler
from imagegen_server.pipelines.prompts import MAX_WINDOWS, Windows
from imagegen_server.pipelines.proof import Proof, Provable, check_samplers
from imagegen_server.pipelines.single_file import plan_checkpoint, read_checkpoint
from imagegen_server.pipelines.stable_diffusion import StableDiffusion
from imagegen_server.pipelines.stable_diffusion_xl import StableDiffusionXL
from imagegen_server.sources import Weights
from imagegen_server.weighing import bytes_in_files, bytes_of

Report = Callable[[int, int], None]
"""Takes note of the bytes that are done, and of all there are."""


def _unheard(done: int, total: int) -> None:
    """Take no note."""


class LoadedPipeline(Provable, Protocol):
    """What every family has besides the engine's three methods."""

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

_RENAMED = {"CLIPFeatureExtractor": "CLIPImageProcessor", "CLIPTokenizerFast": "CLIPTokenizer"}
"""What transformers calls today what older indexes name."""

_FAMILIES: dict[str, Callable[[Any], LoadedPipeline]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
}


_USUAL_SAMPLES = {"StableDiffusionPipeline": 64, "StableDiffusionXLPipeline": 128}
"""Sides of the latents that the families were trained at: 512x512 and 1024x1024."""


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
        self._measured: WeakKeyDictionary[Any, tuple[Measured, ...]] = WeakKeyDictionary()
        """What each pipeline was seen to take; not its proof, which knows it and would keep it for ever."""
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
        total = sum(bytes_in_files(each) for each in plan.components)
        report(0, total)
        if weights.config is None:
            pipe = self._read_folder(weights.path, plan, report)
        else:
            pipe = read_checkpoint(weights.path, weights.config, plan, self._dtype)
            report(total, total)
        check_compatible(pipe)
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
        """Return what the engine drives of a pipeline that is on the device. Not device work: any thread will do."""
        return _FAMILIES[type(pipe).__name__](pipe)

    def proving(self, pipe: Any, loaded: LoadedPipeline, spec: ImageModelSpec) -> Iterator[Callable[[], None]]:
        """Yield the calls that prove that the model can make a picture, each when the one before has run.

        Device thread only, but for the iteration itself; both raise LoadError, calls DeviceOutOfMemoryError, too. What
        they measured is among the ``facts`` after that.
        """
        check_samplers(loaded.samplers, spec)
        proof = Proof(loaded, spec, spec.default_size or _native_size(pipe), partial(_finish, self._device))
        yield from proof.pieces()
        self._measured[pipe] = proof.measured

    def facts(self, pipe: Any, loaded: LoadedPipeline) -> ModelFacts:
        """Return what is known of the model now."""
        return ModelFacts(
            native_size=_native_size(pipe),
            own_scheduler=loaded.samplers.own_preset,
            schedulers=loaded.samplers.offered,
            noise_levels=loaded.samplers.noise_levels,
            measured=self._measured.get(pipe, ()),
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
        parts["scheduler"] = read_own_scheduler(folder, plan.scheduler)
        for name, class_name in plan.extras.items():
            with load_errors(name):
                reader: Any = getattr(transformers, _RENAMED.get(class_name, class_name))
                parts[name] = reader.from_pretrained(folder / name, local_files_only=True)
        with load_errors("the pipeline"):
            # Not by from_pretrained, which insists on the classes of the index, also where their library is missing.
            return getattr(diffusers, plan.pipeline)(**parts | plan.arguments)

    def _read_component(self, folder: Path, component: Component) -> Any:
        place, model = folder / component.name, _CLASSES[component.class_name]
        options: dict[str, Any] = {"variant": component.variant or None, "dtype": self._format(component.name)}
        with load_errors(component.name), misfits_explained(place, component, model):
            part, report = model.from_pretrained(place, output_loading_info=True, **options, **_LOCAL)
        check_whole(component.name, sorted(report["missing_keys"]))
        return part

    def _format(self, component: str) -> torch.dtype:
        """Return the number format of a component; the VAE stays in float32, since SDXL's overflows in float16."""
        return torch.float32 if component == "vae" else self._dtype

    def _place(self, pipe: Any, module: torch.nn.Module) -> None:
        before = memory.allocated_bytes(self._device)
        with device_errors():
            module.to(self._device)
        self._grown[pipe] += memory.allocated_bytes(self._device) - before


def _native_size(pipe: Any) -> ImageSize:
    """Return the size that the UNet was trained at; the family's where its configuration has none that makes sense."""
    sample = pipe.unet.config.sample_size
    sides = [sample, sample] if isinstance(sample, int) else list(sample) if isinstance(sample, list | tuple) else []
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        sides = [_USUAL_SAMPLES[type(pipe).__name__]] * 2
    height, width = sides
    return ImageSize(width * 8, height * 8)


def _finish(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _plan(weights: Weights, spec: ImageModelSpec) -> Plan:
    if weights.config is not None:
        return plan_checkpoint(weights.path, weights.config)
    plan = plan_folder(weights.path, weights.variant, safety_checker=spec.inference.safety_checker)
    check_folder(weights.path)
    return plan
