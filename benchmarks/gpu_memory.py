"""Device memory: models that go give all of it back, and a request that does not fit fails alone."""

import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gpu_pictures import TOLERANCES, psnr, requests, together
from gpu_pipelines import SPEC, load, loader, place, read, release, running_engine
from gpu_profile import Profile
from gpu_report import Line, judged
from imagegen_contract.image_size import ImageSize
from imagegen_server.errors import OutOfMemory
from imagegen_server.generation import Generation
from imagegen_server.sources import Weights
from imagegen_shapes import WEIGHTS
from loaded_pipelines import generation

SECTION = "memory"
OUT_OF_MEMORY = "a request too large for the memory, then a small one"
MIB = 2**20

_CYCLES = 3
_WEIGHT_TOLERANCE = 0.05
"""torch rounds every tensor on a GPU up to 512 bytes."""
_HEADROOM = 128 * MIB
"""Beyond what a small request takes. One activation of the large one's decoder is three times that."""
_SMALL = ImageSize(128, 128)
_LARGE = ImageSize(2048, 2048)


def check(profile: Profile) -> Iterator[Line]:
    """Weigh, load and unload the embedded model, then run out of memory."""
    yield weight_line(profile)
    yield cycles_line(profile)
    if not profile.on_gpu:
        figure = "a CPU has no allocator that can be given a limit"
        yield Line(section=SECTION, what=OUT_OF_MEMORY, figure=figure, verdict="skipped")
        return
    yield _out_of_memory_line(profile)
    release(profile.device, profile.number)


def weight_line(profile: Profile) -> Line:
    """Judge the bytes that the files' headers foretell of the weights against those that they take."""
    on = loader(profile.device, profile.number)
    foretold = on.weigh(Weights(path=WEIGHTS), SPEC)
    pipe = read(WEIGHTS, profile.device, profile.number)
    taken = on.facts(pipe, place(pipe, profile.device, profile.number)).memory_bytes
    return Line(
        section=SECTION,
        what="the embedded model's weights, foretold by their files' headers",
        figure=f"{foretold / MIB:.2f} MiB, taken {taken / MIB:.2f} MiB",
        wanted=f"within {_WEIGHT_TOLERANCE:.0%}",
        verdict=judged(correct=abs(taken / foretold - 1) <= _WEIGHT_TOLERANCE),
        values={"foretold_mib": foretold / MIB, "taken_mib": taken / MIB},
    )


def use_embedded_model(profile: Profile) -> "weakref.ref[Any]":
    """Load the embedded model, make a picture, and let go of all but a weak reference to its UNet."""
    pipe = read(WEIGHTS, profile.device, profile.number)
    together(place(pipe, profile.device, profile.number), requests(profile)[:1])
    return weakref.ref(pipe.unet)


def cycles_line(profile: Profile, use: Callable[[Profile], "weakref.ref[Any]"] = use_embedded_model) -> Line:
    """Judge what is left of a model after ``use``, when nobody should hold it any more."""
    _cycle(profile, use)  # The first one leaves the workspaces of the device's libraries, which stay.
    before = allocated()
    left = sum(_cycle(profile, use)() is not None for _ in range(_CYCLES))
    after = allocated()
    return Line(
        section=SECTION,
        what=f"{_CYCLES} times the embedded model loaded, used and unloaded",
        figure=f"{left} of {_CYCLES} left behind; {before / MIB:.1f} MiB allocated before, {after / MIB:.1f} after",
        wanted="none left, nothing allocated",
        verdict=judged(correct=left == 0 and after <= before),
        values={"left": left, "before_mib": before / MIB, "after_mib": after / MIB},
    )


def allocated() -> int:
    """Return the bytes of all tensors on the GPU, 0 where there is none."""
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


def _cycle(profile: Profile, use: Callable[[Profile], "weakref.ref[Any]"]) -> "weakref.ref[Any]":
    unet = use(profile)
    release(profile.device, profile.number)
    return unet


def _out_of_memory_line(profile: Profile) -> Line:
    pipeline = load(WEIGHTS, profile.device, profile.number)
    with running_engine() as engine:
        release(profile.device, profile.number)
        torch.cuda.reset_peak_memory_stats()
        expected = engine.pictures(pipeline, _request(_SMALL, 1)).images[0]
        release(profile.device, profile.number)
        with _memory_limit(torch.cuda.max_memory_reserved() + _HEADROOM):
            ooms = torch.cuda.memory_stats()["num_ooms"]
            try:
                engine.pictures(pipeline, _request(_LARGE, 8))
                answer = "was made"
            except OutOfMemory:
                answer = "failed as out of memory"
            ooms = torch.cuda.memory_stats()["num_ooms"] - ooms
            found = engine.pictures(pipeline, _request(_SMALL, 1)).images[0]
    near = psnr(found, expected)
    right = answer.startswith("failed") and near >= TOLERANCES[profile.number].psnr
    return Line(
        section=SECTION,
        what=OUT_OF_MEMORY,
        figure=f"the large one {answer} after {ooms} refused allocations, the next is right to {near:.1f} dB",
        wanted=f"fails, then >= {TOLERANCES[profile.number].psnr:g} dB",
        verdict=judged(correct=right),
        values={"refused_allocations": ooms, "psnr_db": near},
    )


def _request(size: ImageSize, images: int) -> Generation:
    return generation(size=size, steps=2, guidance_scale=3.0, seeds=tuple(range(images)))


@contextmanager
def _memory_limit(most: int) -> Generator[None]:
    """Let torch take ``most`` bytes of the GPU and no more."""
    torch.cuda.set_per_process_memory_fraction(min(1.0, most / torch.cuda.get_device_properties().total_memory))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
