"""What the check runs on: the GPU, its memory, the driver, and CUDA as torch was built for it."""

import platform
import shutil
import subprocess
from collections.abc import Iterator

import torch

from gpu_pipelines import loader
from gpu_profile import Profile
from gpu_report import Line

SECTION = "environment"
_GIB = 2**30
_DRIVER_SECONDS = 30


def check(profile: Profile) -> Iterator[Line]:
    """Tell what is there."""
    yield _line("device", device_name(profile))
    if profile.on_gpu:
        free, total = torch.cuda.mem_get_info()
        major, minor = torch.cuda.get_device_capability()
        yield _line("memory", f"{total / _GIB:.1f} GiB, {free / _GIB:.1f} GiB of it free at the start")
        yield _line("compute capability", f"{major}.{minor}")
        yield _line("driver", driver_version())
        yield _line("cuDNN", str(torch.backends.cudnn.version()))
    yield _line("torch", f"{torch.__version__}, built for CUDA {torch.version.cuda}")


def device_name(profile: Profile) -> str:
    """Return the device's name for people; raise DeviceError when it cannot be used."""
    name = loader(profile.device, profile.number).device
    return name if profile.on_gpu else f"{name} ({platform.machine()}), tiny sizes"


def driver_version() -> str:
    """Return the NVIDIA driver's version as nvidia-smi tells it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown: nvidia-smi is not installed"
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_DRIVER_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: nvidia-smi failed ({error})"
    return next(iter(done.stdout.splitlines()), "unknown")


def _line(what: str, figure: str) -> Line:
    return Line(section=SECTION, what=what, figure=figure)
