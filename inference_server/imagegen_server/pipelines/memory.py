"""What weights take of the device's memory: measured, limited, and given back (weighing.py tells it beforehand)."""

import ctypes
import gc
from collections.abc import Iterable
from typing import Any

import torch

from imagegen_server.machine import host_memory
from imagegen_server.weighing import HOST_SHARE

_DEVICE_SHARE = 0.8
"""Of a GPU's memory: pictures that are being made take the rest."""


def modules_of(pipe: Any) -> list[torch.nn.Module]:
    """Return the components of a diffusers pipeline that have weights."""
    return [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]


def tensor_bytes(modules: Iterable[torch.nn.Module]) -> int:
    """Return the bytes of all weights and buffers; what two of them share counts once."""
    sizes: dict[tuple[str, int], int] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            sizes[str(tensor.device), tensor.data_ptr()] = tensor.nbytes
    return sum(sizes.values())


def allocated_bytes(device: torch.device) -> int:
    """Return what torch has given out of a GPU's memory; 0 on other devices, where it does not count."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def memory_budget(device: torch.device) -> int:
    """Return the bytes that weights may take where nobody has set a limit."""
    if device.type == "cuda":
        return int(_DEVICE_SHARE * torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(_DEVICE_SHARE * torch.mps.recommended_max_memory())
    return int(HOST_SHARE * host_memory())


def give_back(device: torch.device) -> None:
    """Free what nobody refers to any more: objects, torch's cache on the device, and the heap's free pages."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    # The C library of most Linux distributions keeps freed memory for itself; others have no such function.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
