"""What weights will take at least, and what they may: told from headers and settings, before torch is imported.

A model that cannot fit is refused in milliseconds then, and not after ten seconds of imports.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.server_settings import ServerSettings
from imagegen_server.errors import ExceedsBudget
from imagegen_server.machine import host_memory
from imagegen_server.pipelines.components import Component, plan_folder
from imagegen_server.sources import Weights
from imagegen_server.sources.checkpoints import UNET, VAE, checkpoint_header

HOST_SHARE = 0.5
"""Of what the process may use of the host's memory, for weights: a large picture takes as much again, and others run on
the machine too."""

_ITEMSIZES = {"float32": 4, "float16": 2, "bfloat16": 2}
_MIB = 2**20
_GPUS = ("nvidia*", "nvhost*", "nvgpu*", "kfd", "dxg")
"""What Linux has in /dev for a GPU that torch can use: NVIDIA's drivers (Jetson too), AMD's, Windows' own."""


def check_budget(
    weights: Weights, spec: ImageModelSpec, settings: ServerSettings, devices: Path = Path("/dev")
) -> None:
    """Raise ExceedsBudget for weights that are sure to be too large, and LoadError for those that are no good."""
    budget, itemsize = _budget(settings, devices), _itemsize(settings, devices)
    need = sum(bytes_of(component, itemsize) for component in _components(weights, spec))
    if budget and need > budget:
        raise ExceedsBudget(need, budget)


def bytes_of(component: Component, itemsize: int) -> int:
    """Return the bytes of a component whose numbers take ``itemsize`` bytes each; integers stay as they are.

    The VAE is in float32, whatever the rest is in.
    """
    size = 4 if component.name == "vae" else itemsize
    return sum(tensor.elements * size if tensor.is_float else tensor.bytes_in_file for tensor in component.tensors)


def bytes_in_files(component: Component) -> int:
    """Return the bytes that are read of a component's files."""
    return sum(tensor.bytes_in_file for tensor in component.tensors)


def _components(weights: Weights, spec: ImageModelSpec) -> Sequence[Component]:
    """Return what is loaded of a folder, and of a checkpoint what is sure to be."""
    if weights.config is None:
        return plan_folder(weights.path, weights.variant, safety_checker=spec.inference.safety_checker).components
    header = checkpoint_header(weights.path)
    parts = {"unet": UNET, "vae": VAE}
    return [
        Component(
            name=name,
            class_name="",
            tensors=tuple(tensor for key, tensor in header.items() if key.startswith(prefix)),
        )
        for name, prefix in parts.items()
    ]


def _budget(settings: ServerSettings, devices: Path) -> int:
    """Return the bytes that weights may take, 0 where only torch knows."""
    if settings.memory_budget_mib:
        return settings.memory_budget_mib * _MIB
    return int(HOST_SHARE * host_memory()) if _on_cpu(settings, devices) else 0


def _itemsize(settings: ServerSettings, devices: Path) -> int:
    """Return the bytes of each number, at least."""
    if settings.dtype != "auto":
        return _ITEMSIZES[settings.dtype]
    return 4 if _on_cpu(settings, devices) else 2


def _on_cpu(settings: ServerSettings, devices: Path) -> bool:
    """Return whether the device is sure to be the CPU."""
    if settings.device != "auto":
        return settings.device == "cpu"
    return sys.platform == "linux" and not any(path for pattern in _GPUS for path in devices.glob(pattern))
