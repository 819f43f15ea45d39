"""Pictures made on the device, against diffusers' own made on the CPU in float32.

Every preset, with other steps, guidance and seed in each request: each alone, and all of them as the rows of one batch.
"""

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

import tiny_pipelines
from gpu_pipelines import load
from gpu_profile import Number, Profile
from gpu_report import Line, judged
from imagegen_contract.image_size import ImageSize
from imagegen_contract.samplers import PRESETS
from imagegen_server.generation import Generation
from imagegen_shapes import WEIGHTS
from loaded_pipelines import denoise, generation
from stock_pipelines import StockPipeline

SECTION = "pictures"
_CUDNN: Any = torch.backends.cudnn
"""Its annotations lack what it has."""
SHAPES_XL = Path(__file__).parent.parent / "tests" / "data" / "shapes-xl"
_LEAST_ERROR = 1e-9
"""Mean square of equal pictures, so that their ratio is a number."""

Pixels = NDArray[np.uint8]


MODELS: dict[str, Callable[[Path], Path]] = {
    "embedded model": lambda _: WEIGHTS,
    "its SDXL twin": lambda _: SHAPES_XL,
    "random SD 1.4": lambda folder: tiny_pipelines.save(tiny_pipelines.stable_diffusion(flags=False), folder),
    "random SDXL": lambda folder: tiny_pipelines.save(tiny_pipelines.stable_diffusion_xl(), folder),
    "random SDXL Turbo": lambda folder: tiny_pipelines.save(tiny_pipelines.sdxl_turbo(), folder),
}
"""By name: an empty folder to the folder that the weights are in."""


class Tolerance(msgspec.Struct, frozen=True):
    """How far a number format may lead away from float32, at the worst of all presets."""

    latents: float
    """Norm of the difference, as a share of the norm of the reference's final latents."""
    psnr: float
    """Of the pictures, in dB."""


# On a CPU, whose 16-bit products are summed in float32 as a GPU's are, float16 was seen at 0.008 and 46 dB at the worst
# of all models and presets, bfloat16 at 0.15 and 26 dB: about the 8 times that its 3 bits less make. These leave room
# for a GPU's other order of sums. Latents of another seed are 1.2 or more away.
TOLERANCES: dict[Number, Tolerance] = {
    "float16": Tolerance(0.03, 40.0),
    "bfloat16": Tolerance(0.25, 20.0),
}
"""TF32 keeps as many bits of the mantissa as float16, and has its tolerance."""


class Made(msgspec.Struct, frozen=True):
    """One picture of ours and the latents that it was decoded from."""

    latents: torch.Tensor
    """On the CPU, float32."""
    pixels: Pixels


class Distance(msgspec.Struct, frozen=True):
    """How far pictures are from their references, at the worst of them."""

    levels: int
    latents: float
    psnr: float


def check(profile: Profile) -> Iterator[Line]:
    """Check every model in every number format."""
    with tempfile.TemporaryDirectory() as folder:
        for name in profile.models:
            yield from _model(name, MODELS[name](Path(folder, name.replace(" ", "-"))), profile)


def requests(profile: Profile) -> list[Generation]:
    """Return one request for each preset, no two alike in more than their size."""
    size = ImageSize(profile.side, profile.side)
    return [
        generation(
            size=size,
            scheduler=preset,
            steps=profile.steps + index % 3,
            guidance_scale=(1.0, 3.0, 5.0, 7.5)[index % 4],
            seeds=(7 + index,),
        )
        for index, preset in enumerate(PRESETS)
    ]


def alone(pipeline: Any, wanted: Sequence[Generation]) -> list[Made]:
    """Make the pictures one after another."""
    return [made for request in wanted for made in together(pipeline, [request])]


def together(pipeline: Any, wanted: Sequence[Generation]) -> list[Made]:
    """Make the pictures as rows of one batch, which they leave as they are done."""
    rows = [row for request in wanted for row in pipeline.admit(request)]
    denoise(pipeline, rows)
    return [Made(row.finished_latents().float().cpu(), pipeline.picture(row)) for row in rows]


def distance(found: Sequence[Made], expected: Sequence[Made]) -> Distance:
    """Return how far ``found`` is from ``expected``, at the worst picture."""
    pairs = list(zip(found, expected, strict=True))
    return Distance(
        levels=max(int(np.abs(a.pixels.astype(int) - b.pixels).max()) for a, b in pairs),
        latents=max(float((a.latents - b.latents).norm() / b.latents.norm()) for a, b in pairs),
        psnr=min(psnr(a.pixels, b.pixels) for a, b in pairs),
    )


def psnr(found: Pixels, expected: Pixels) -> float:
    """Return the peak signal-to-noise ratio in dB; 138 for equal pictures."""
    error = float(((found.astype(float) - expected) ** 2).mean())
    return 10 * float(np.log10(255**2 / max(error, _LEAST_ERROR)))


def exact_line(what: str, found: Sequence[Made], expected: Sequence[Made]) -> Line:
    """Judge pictures that must be equal but for rounding."""
    levels = distance(found, expected).levels
    return Line(
        section=SECTION,
        what=what,
        figure=f"{levels} levels off at most",
        wanted="<= 1 level",
        verdict=judged(correct=levels <= 1),
        values={"levels": levels},
    )


def near_line(what: str, found: Sequence[Made], expected: Sequence[Made], tolerance: Tolerance) -> Line:
    """Judge pictures of a format with fewer bits."""
    far = distance(found, expected)
    return Line(
        section=SECTION,
        what=what,
        figure=f"latents {far.latents:.4f} off, {far.psnr:.1f} dB",
        wanted=f"<= {tolerance.latents:g}, >= {tolerance.psnr:g} dB",
        verdict=judged(correct=far.latents <= tolerance.latents and far.psnr >= tolerance.psnr),
        values={"latents": far.latents, "psnr_db": far.psnr},
    )


@contextmanager
def full_float32() -> Generator[None]:
    """Let float32 be float32: by default a GPU's convolutions take TF32, which keeps 10 bits of the mantissa."""
    settings = (torch.backends.cuda.matmul, _CUDNN.conv, _CUDNN.rnn)
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision


def _model(name: str, weights: Path, profile: Profile) -> Iterator[Line]:
    wanted = requests(profile)
    expected = references(weights, wanted)
    pipeline = load(weights, profile.device, "float32")
    with full_float32():
        yield exact_line(f"{name}, float32 without TF32, {len(wanted)} presets", alone(pipeline, wanted), expected)
        yield exact_line(f"{name}, the same as one batch", together(pipeline, wanted), expected)
    if profile.on_gpu:
        served = together(pipeline, wanted)
        yield near_line(f"{name}, float32 as served (TF32)", served, expected, TOLERANCES["float16"])
    for number, tolerance in TOLERANCES.items():
        reduced = together(load(weights, profile.device, number), wanted)
        yield near_line(f"{name}, {number}", reduced, expected, tolerance)


def references(weights: Path, wanted: Sequence[Generation]) -> list[Made]:
    """Return what diffusers paints on the CPU in float32, and the latents that our rows end with there."""
    stock = StockPipeline(weights)
    made = together(load(weights, "cpu", "float32"), wanted)
    return [Made(ours.latents, _stock_picture(stock, request)) for ours, request in zip(made, wanted, strict=True)]


def _stock_picture(stock: StockPipeline, request: Generation) -> Pixels:
    return stock.pictures(
        request.prompt,
        negative=request.negative_prompt,
        seeds=request.seeds,
        size=str(request.size),
        steps=request.steps,
        guidance=request.guidance_scale,
        scheduler=request.scheduler,
    )[0]
