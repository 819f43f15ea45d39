"""How fast the device denoises: the time of a UNet call by its rows, its share of the device's peak, images a second.

Against the stock pipeline, called offline with the same batch and the same weights, as it is and with its UNet
compiled. On a GPU seconds are the wall's; on the CPU, where the figures mean nothing, they are CPU seconds.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
import torch
from torch._dynamo.exc import TorchDynamoException
from torch.utils.flop_counter import FlopCounterMode

from gpu_models import BUILDERS
from gpu_pictures import Pixels, psnr
from gpu_pipelines import WARM_UP, clock, median_seconds, place, release, running_engine
from gpu_profile import Load, Profile
from gpu_report import Line, judged
from harness import Comparison, compare
from imagegen_contract.image_size import ImageSize
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.errors import OutOfMemory
from imagegen_server.generation import Generation
from loaded_pipelines import generation

SECTION = "speed"
TARGET = 0.9
"""Of the stock pipeline's images a second, compiled or not."""

_GUIDANCE = 5.0
_ROUNDS = 5
_SAME_PICTURE_DB = 30.0
"""The stock pipeline keeps its latents and its VAE in 16 bit, so its picture is not quite ours."""

_TOO_LARGE = (torch.OutOfMemoryError, DeviceOutOfMemoryError, OutOfMemory)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Timed(msgspec.Struct, frozen=True):
    """An architecture under test: diffusers' pipeline, and what the engine drives of it."""

    load: Load
    profile: Profile
    pipe: Any
    pipeline: Any


class Tick(msgspec.Struct, frozen=True):
    """One UNet call for all rows of a request."""

    seconds: float
    flops: float


def check(profile: Profile) -> Iterator[Line]:
    """Measure the peak, then each architecture."""
    peak = peak_flops(profile)
    yield Line(
        section=SECTION,
        what=f"measured peak, {profile.number} product of {profile.matrix} x {profile.matrix} matrices",
        figure=f"{peak / 1e12:.3g} TFLOPS",
        values={"tflops": peak / 1e12},
    )
    for load in profile.loads:
        yield from _or_skipped(f"{load.name}, {load.side} px", profile, _load_lines(load, profile, peak))


def peak_flops(profile: Profile) -> float:
    """Return the operations a second of a large product of matrices: what this device can do, whatever it is called."""
    side = profile.matrix
    a, b = (torch.randn(side, side, device=profile.device, dtype=DTYPES[profile.number]) for _ in range(2))
    return 2 * side**3 / median_seconds(lambda: a @ b, profile.device, profile.ticks)


def tick(pipeline: Any, request: Generation, profile: Profile) -> Tick:
    """Measure one UNet call for all rows of a request, the samplers' steps and all that the engine would wait for."""
    rows = pipeline.admit(request)
    counter = FlopCounterMode(display=False)
    with counter:
        pipeline.advance(rows)
    seconds = median_seconds(lambda: pipeline.advance(rows), profile.device, profile.ticks)
    return Tick(seconds, counter.get_total_flops())


def a_request(load: Load, images: int, steps: int, guidance: float = _GUIDANCE) -> Generation:
    """Return a request of ``images`` pictures of a load's size."""
    size = ImageSize(load.side, load.side)
    return generation(size=size, steps=steps, seeds=tuple(range(images)), guidance_scale=guidance, scheduler="ddim")


def _load_lines(load: Load, profile: Profile, peak: float) -> Iterator[Line]:
    pipe = BUILDERS[load.name](profile.device, DTYPES[profile.number])
    timed = Timed(load, profile, pipe, place(pipe, profile.device, profile.number))
    steps = 1 + WARM_UP + profile.ticks
    wanted = [a_request(load, 1, steps, guidance=1.0), *(a_request(load, n, steps) for n in profile.images)]
    for request in wanted:
        yield from _or_skipped(_tick_name(load, request), profile, _tick_lines(timed, request, peak))
    what = f"{load.name}, {profile.compared_images} images at a time"
    yield from _or_skipped(what, profile, _stock_lines(timed))
    torch.compiler.reset()


def _or_skipped(what: str, profile: Profile, lines: Iterator[Line]) -> Iterator[Line]:
    """Pass lines on until the device's memory is too small, and say so; it is free again for what comes next."""
    try:
        yield from lines
    except _TOO_LARGE:
        yield Line(section=SECTION, what=what, figure="does not fit into the device's memory", verdict="skipped")
    release(profile.device, profile.number)


def _tick_name(load: Load, request: Generation) -> str:
    rows = len(request.seeds) * (2 if request.guided else 1)
    return f"{load.name}, {load.side} px, a tick of {rows} UNet row{'s' if rows > 1 else ''}"


def _tick_lines(timed: Timed, request: Generation, peak: float) -> Iterator[Line]:
    measured = tick(timed.pipeline, request, timed.profile)
    rate = measured.flops / measured.seconds
    yield Line(
        section=SECTION,
        what=_tick_name(timed.load, request),
        figure=f"{measured.seconds * 1e3:.1f} ms, {rate / 1e12:.3g} TFLOPS, {rate / peak:.0%} of the peak",
        values={
            "ms": measured.seconds * 1e3,
            "tflop": measured.flops / 1e12,
            "tflops": rate / 1e12,
            "share_of_peak": rate / peak,
        },
    )


def _stock_lines(timed: Timed) -> Iterator[Line]:
    load, profile, pipeline = timed.load, timed.profile, timed.pipeline
    request = a_request(load, profile.compared_images, profile.compared_steps)
    stock, compiled = (stock_pipeline(timed, request) for _ in range(2))
    compiled.unet = torch.compile(timed.pipe.unet, dynamic=False, backend=profile.compiler)
    others = {"the stock pipeline": stock, f"the same, UNet compiled ({profile.compiler})": compiled}
    with running_engine() as engine:
        painted = engine.pictures(pipeline, request).images
        for name, other in list(others.items()):
            line = _same_line(f"{load.name}, pictures of {name}", painted, lambda other=other: offline(other, request))
            yield line
            if line.verdict == "skipped":
                del others[name]
        rows = compare(
            f"{load.name}, {load.side} px, {profile.compared_steps} steps, {profile.compared_images} images at a time",
            lambda: engine.pictures(pipeline, request),
            {name: (partial(offline, other, request), 1 / TARGET) for name, other in others.items()},
            rounds=_ROUNDS,
            clock=clock(profile.device),
        )
    yield from (_rate_line(row, profile.compared_images) for row in rows)


def stock_pipeline(timed: Timed, request: Generation) -> Any:
    """Return diffusers' pipeline over the same weights, but all in the UNet's format, as people run it."""
    pipe, profile = timed.pipe, timed.profile
    # A VAE of its own: ours stays in float32.
    vae = type(pipe.vae).from_config(pipe.vae.config)
    vae.load_state_dict(pipe.vae.state_dict())
    parts = pipe.components | {"vae": vae.to(profile.device, DTYPES[profile.number]).eval()}
    if "safety_checker" in parts:
        parts["requires_safety_checker"] = False
    stock = type(pipe)(**parts)
    stock.scheduler = timed.pipeline.samplers.fresh(request.scheduler, request.steps)
    stock.set_progress_bar_config(disable=True)
    return stock


def offline(stock: Any, request: Generation) -> list[Pixels]:
    """Return the pictures of one call of a diffusers pipeline."""
    made = stock(
        request.prompt,
        height=request.size.height,
        width=request.size.width,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        num_images_per_prompt=len(request.seeds),
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in request.seeds],
    )
    return [np.asarray(image) for image in made.images]


def _same_line(what: str, ours: Sequence[Pixels], paint: Callable[[], list[Pixels]]) -> Line:
    """Judge whether the other side does the same work; a compiler that fails here is the machine's, not ours."""
    try:
        theirs = paint()
    except TorchDynamoException as error:
        words = next(iter(str(error).splitlines()), type(error).__name__)
        return Line(section=SECTION, what=what, figure=f"torch.compile fails here: {words}", verdict="skipped")
    worst = min(psnr(a, b) for a, b in zip(ours, theirs, strict=True))
    return Line(
        section=SECTION,
        what=what,
        figure=f"{worst:.1f} dB",
        wanted=f">= {_SAME_PICTURE_DB:g} dB: the same work",
        verdict=judged(correct=worst >= _SAME_PICTURE_DB),
        values={"psnr_db": worst},
    )


def _rate_line(row: Comparison, images: int) -> Line:
    ours, theirs = (images / (milliseconds / 1e3) for milliseconds in (row.ours, row.theirs))
    share = 1 / row.ratio
    return Line(
        section=SECTION,
        what=f"{row.what}, against {row.against}",
        figure=f"{ours:.2f} images/s against {theirs:.2f}: {share:.2f}x",
        wanted=f">= {TARGET:g}x",
        verdict="met" if share >= TARGET and not math.isnan(share) else "missed",
        values={"images_per_second": ours, "stock_images_per_second": theirs, "share": share},
    )
