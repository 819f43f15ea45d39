"""What the host costs in a tick: how long the device waits for it, and what makes it wait for the device.

The gaps are those between kernels on a GPU, and those between torch's operators on the CPU, where they are the time
of our own Python. No target is enforced: today's engine steps every row's sampler by itself, and reads what it must.
"""

import gc
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_models import BUILDERS
from gpu_pipelines import WARM_UP, median_seconds, place, release
from gpu_profile import Profile
from gpu_report import Line, span
from gpu_speed import DTYPES, a_request
from imagegen_contract.samplers import PRESETS

SECTION = "host"

_SYNC_WARNING = "synchronizing CUDA operation"
# In inference mode an operator made of others is seen whole: item and is_nonzero, not what they call.
_READS = frozenset({"_local_scalar_dense", "item", "is_nonzero", "equal"})
_COPIES = frozenset({"_to_copy", "to", "copy_"})

Interval = tuple[float, float]


class Gaps(msgspec.Struct, frozen=True):
    """How a stretch of time was filled, in the intervals' unit."""

    busy: float
    idle: float
    longest: float

    @property
    def idle_share(self) -> float:
        """The part of the whole stretch in which nothing ran."""
        return self.idle / (self.busy + self.idle) if self.busy + self.idle else 0.0


class Counts(msgspec.Struct, frozen=True):
    """What one tick did that can make the host wait for the device."""

    scalars: int
    """Tensor elements read into Python."""
    nonzero: int
    copies: int
    """Between devices or number formats."""
    syncs: int | None
    """Calls of CUDA that waited, by torch's own debug mode; None on the CPU."""


def check(on: Profile) -> Iterator[Line]:
    """Trace the ticks of the first load, and count what synchronises with every preset."""
    yield from _lines(on)
    release(on.device, on.number)


def _lines(on: Profile) -> Iterator[Line]:
    load = on.loads[0]
    pipeline = place(BUILDERS[load.name](on.device, DTYPES[on.number]), on.device, on.number)
    for images in (1, on.compared_images):
        rows = pipeline.admit(a_request(load, images, WARM_UP + 2 * on.ticks))
        untraced = median_seconds(partial(pipeline.advance, rows), on.device, on.ticks)
        what = f"{load.name}, {2 * images} UNet rows"
        yield _gaps_line(what, gaps(_trace(partial(pipeline.advance, rows), on)), (untraced, on))
        request = a_request(load, images, max(WARM_UP + 1, on.compared_steps))
        found = {preset: counts(pipeline, msgspec.structs.replace(request, scheduler=preset), on) for preset in PRESETS}
        yield _counts_line(what, found)


def gaps(intervals: Sequence[Interval]) -> Gaps:
    """Return how the time from the first start to the last end is filled; intervals may overlap."""
    busy = idle = longest = 0.0
    reached: float | None = None
    for start, end in sorted(intervals):
        if reached is None:
            reached = start
        gap = max(0.0, start - reached)
        idle, longest = idle + gap, max(longest, gap)
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return Gaps(busy, idle, longest)


def counts(pipeline: Any, request: Any, on: Profile) -> Counts:
    """Return what one tick of a request does, once its sampler's first steps are behind it."""
    rows = pipeline.admit(request)
    for _ in range(WARM_UP):
        pipeline.advance(rows)
    operators = Operators(on.device)
    with operators, _sync_warnings(on) as caught:
        pipeline.advance(rows)
    syncs = sum(_SYNC_WARNING in str(warning.message) for warning in caught) if on.on_gpu else None
    return Counts(operators.scalars, operators.nonzero, operators.copies, syncs)


class Operators(TorchDispatchMode):
    """Counts the operators that read numbers of a device's tensors into Python, or copy tensors.

    On the CPU the samplers' own tables are on the same device as the latents, so reads of them count too; on a GPU
    they do not.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.scalars = self.nonzero = self.copies = 0
        self._device = device

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator and count it."""
        del types
        result = func(*args, **(kwargs or {}))
        name = func.name().partition("::")[2].partition(".")[0]
        if args and isinstance(args[0], torch.Tensor) and args[0].device.type == self._device:
            self.scalars += name in _READS
            self.nonzero += name == "nonzero"
        self.copies += name in _COPIES and result is not args[0]
        return result


@contextmanager
def _sync_warnings(on: Profile) -> Generator[list[warnings.WarningMessage]]:
    """Collect torch's warnings of calls that wait for the GPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if not on.on_gpu:
            yield caught
            return
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield caught
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _trace(advance: Callable[[], None], on: Profile) -> list[Interval]:
    """Return when kernels ran (on the CPU: operators), in microseconds, in some ticks."""
    kind = torch.autograd.DeviceType.CUDA if on.on_gpu else torch.autograd.DeviceType.CPU
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on.on_gpu else [])]
    # A collection within the trace would be the longest gap.
    gc.collect()
    with profile(activities=activities) as trace:
        for _ in range(on.ticks):
            advance()
        if on.on_gpu:
            torch.cuda.synchronize()
    return [
        (event.time_range.start, event.time_range.end)
        for event in trace.events() or ()
        if event.device_type == kind and not event.is_user_annotation
    ]


def _gaps_line(what: str, found: Gaps, measured: tuple[float, Profile]) -> Line:
    untraced, on = measured
    ran, between = ("kernels", "kernels") if on.on_gpu else ("operators", "operators")
    return Line(
        section=SECTION,
        what=f"{what}, gaps between {between}",
        figure=(
            f"idle for {found.idle_share:.0%}, longest gap {found.longest / 1e3:.2f} ms; {ran} run "
            f"{found.busy / 1e3 / on.ticks:.2f} ms a tick, which takes {untraced * 1e3:.2f} ms untraced"
        ),
        values={
            "idle_share": found.idle_share,
            "longest_gap_ms": found.longest / 1e3,
            "busy_ms_per_tick": found.busy / 1e3 / on.ticks,
            "untraced_ms_per_tick": untraced * 1e3,
        },
    )


def _counts_line(what: str, found: Mapping[str, Counts]) -> Line:
    several = {
        "scalars read": [each.scalars for each in found.values()],
        "nonzero": [each.nonzero for each in found.values()],
        "copies": [each.copies for each in found.values()],
        "CUDA synchronisations": [each.syncs for each in found.values() if each.syncs is not None],
    }
    most = max(found, key=lambda preset: (found[preset].syncs or 0, found[preset].scalars))
    seen = {name: values for name, values in several.items() if values}
    return Line(
        section=SECTION,
        what=f"{what}, a tick by preset",
        figure=f"{', '.join(f'{name} {span(values)}' for name, values in seen.items())}; most with {most}",
        values={f"most {name}": max(values) for name, values in seen.items()},
    )
