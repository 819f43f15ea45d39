"""Pipelines for the GPU check: loaded as the server loads them, driven by a real engine, timed on their device.

How weights become a pipeline that the engine can drive is said here once, for all files of the check.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from gpu_profile import Number
from imagegen_contract.image_model import ImageModelSpec, Inference
from imagegen_server.costs import CostModel
from imagegen_server.engine import Engine, EngineLimits
from imagegen_server.generation import Generation, Pictures
from imagegen_server.pipelines.loading import PipelineLoader
from imagegen_server.sources import Weights
from server_process import wait_until

SPEC = ImageModelSpec(
    publisher="check", family="check", version="1", id="check", inference=Inference(safety_checker=False)
)

_LIMITS = EngineLimits(queued_requests=64, queued_seconds=1e6)
_ENGINE_SECONDS = 600.0
WARM_UP = 2
"""Calls before those that are timed: the first ones choose kernels and fill caches."""


@cache
def loader(device: str, number: Number) -> PipelineLoader:
    """Return the server's loader for a device and number format; raise DeviceError when the device cannot be used."""
    made = PipelineLoader(device, number, cpu_threads=1 if device == "cpu" else 0)
    # A loader takes what is there out of the collector's sight for good. A server makes one, at its start; this
    # process makes several, and must see models that it made before go.
    gc.unfreeze()
    return made


def load(folder: Path, device: str, number: Number) -> Any:
    """Return what the engine drives of a folder of weights."""
    return place(read(folder, device, number), device, number)


def read(folder: Path, device: str, number: Number) -> Any:
    """Return the diffusers pipeline of a folder, still in the host's memory."""
    return loader(device, number).read(Weights(path=folder), SPEC)


def place(pipe: Any, device: str, number: Number) -> Any:
    """Return what the engine drives of a diffusers pipeline, which is moved to the device."""
    on = loader(device, number)
    for move in on.placing(pipe):
        move()
    return on.finish(pipe)


class RunningEngine:
    """An engine with its device thread and an event loop for it, so that plain code can ask for pictures."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._engine = Engine(_LIMITS, CostModel())
        self._runner.run(self._start())

    def pictures(self, pipeline: Any, generation: Generation) -> Pictures:
        """Return the pictures of one request; raise what the engine raises, such as OutOfMemory."""
        return self._runner.run(self._engine.generate(pipeline, generation, generation.steps, _ENGINE_SECONDS))

    def stop(self) -> None:
        """End the device thread and the loop."""
        self._engine.stop()
        wait_until(lambda: not self._engine.alive, _ENGINE_SECONDS, "the device thread to end")
        self._runner.close()

    async def _start(self) -> None:
        self._engine.start()


@contextmanager
def running_engine() -> Generator[RunningEngine]:
    """Return an engine that ends with the block."""
    engine = RunningEngine()
    try:
        yield engine
    finally:
        engine.stop()


def clock(device: str) -> Callable[[], float]:
    """Return what to time with: the wall on a GPU, which must have done its work; CPU time on a shared CPU."""
    if device != "cuda":
        return time.process_time

    def wall() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return wall


def median_seconds(call: Callable[[], object], device: str, times: int) -> float:
    """Return the median seconds of one call, of ``times`` after WARM_UP."""
    now = clock(device)
    seconds: list[float] = []
    for _ in range(WARM_UP + times):
        start = now()
        call()
        seconds.append(now() - start)
    return statistics.median(seconds[WARM_UP:])


def release(device: str, number: Number) -> None:
    """Free what unloaded models left behind, as the server does."""
    loader(device, number).give_back()
