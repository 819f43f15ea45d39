"""Which device and number format to use, and what its errors mean."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.errors import DeviceLostError, LoadError

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class DeviceError(LoadError):
    """The device that was asked for cannot be used; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, LoadFailure.GPU_UNUSABLE)


def choose_device(wanted: str) -> torch.device:
    """Return the device: ``auto`` is CUDA, else MPS, else the CPU; a named one is used or raises DeviceError."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if wanted == "cuda":
        _check_cuda()
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("GPUUnusable: device mps was asked for, and this machine has none")
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Return the UNet's number format: float16 on a GPU (more mantissa than bfloat16), float32 on the CPU."""
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    return _DTYPES[wanted]


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name as people write it: ``float16``."""
    return str(dtype).removeprefix("torch.")


@contextmanager
def device_errors() -> Generator[None]:
    """Turn torch's out-of-memory and dead-device errors into ours; everything else passes."""
    try:
        yield
    except torch.OutOfMemoryError:
        # From None: the original's traceback would keep the tensors of the failed call alive.
        raise DeviceOutOfMemoryError("out of device memory") from None
    except RuntimeError as error:
        text = str(error)
        if "can't allocate memory" in text:
            raise DeviceOutOfMemoryError("out of memory") from None
        if "CUDA error" in text:
            raise DeviceLostError(f"the GPU stopped working: {text.splitlines()[0]}") from None
        raise


def _check_cuda() -> None:
    if not torch.cuda.is_available():
        raise DeviceError(
            "GPUUnusable: device cuda was asked for, and torch sees no usable GPU "
            f"(torch {torch.__version__} for CUDA {torch.version.cuda}); check the driver and the pod's GPU limit"
        )
    try:
        torch.zeros(1, device="cuda")
    except RuntimeError as error:
        raise DeviceError(f"GPUUnusable: the GPU cannot be used: {str(error).splitlines()[0]}") from None
