"""What the GPU check makes on each device: real sizes on a GPU, tiny ones on the CPU, by the same code."""

from typing import Literal

import msgspec

Number = Literal["float32", "float16", "bfloat16"]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """A model of one architecture and the pictures that it is timed with."""

    name: str
    """One of ``gpu_models.BUILDERS``."""
    side: int
    """Of the square pictures, in pixels."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of one device's check."""

    device: Literal["cuda", "cpu"]
    number: Number
    """The UNet's number format where speed is measured: what ``dtype=auto`` takes on this device."""
    models: tuple[str, ...]
    """Whose pictures are compared with references: names of ``gpu_pictures.MODELS``."""
    side: int
    """Of those pictures, in pixels."""
    steps: int
    loads: tuple[Load, ...]
    images: tuple[int, ...]
    """Images of one request, with guidance: twice as many UNet rows."""
    compared_images: int
    """Images of one request where images a second are compared with the stock pipeline."""
    compared_steps: int
    ticks: int
    """UNet calls of which a median is taken."""
    matrix: int
    """Side of the square matrices whose product measures the device's peak."""
    compiler: str
    """Back end of torch.compile for the stock pipeline."""
    ready_seconds: float
    """A server is ready by then."""

    @property
    def on_gpu(self) -> bool:
        """Whether the checks that only a GPU's allocator and driver allow are run."""
        return self.device == "cuda"


PROFILES: dict[str, Profile] = {
    "cuda": Profile(
        device="cuda",
        number="float16",
        models=("embedded model", "its SDXL twin", "random SD 1.4", "random SDXL", "random SDXL Turbo"),
        side=256,
        steps=8,
        loads=(Load(name="SD 1.5", side=512), Load(name="SDXL", side=1024)),
        images=(1, 2, 4, 8),
        compared_images=4,
        compared_steps=20,
        ticks=20,
        matrix=8192,
        compiler="inductor",
        ready_seconds=300.0,
    ),
    # The compiler's front end alone: code for a CPU says nothing of a GPU, and takes a minute to make.
    "cpu": Profile(
        device="cpu",
        number="float32",
        models=("embedded model", "random SDXL"),
        side=64,
        steps=2,
        loads=(Load(name="tiny SD", side=64), Load(name="tiny SDXL", side=64)),
        images=(1, 2),
        compared_images=2,
        compared_steps=3,
        ticks=5,
        matrix=512,
        compiler="eager",
        ready_seconds=120.0,
    ),
}
