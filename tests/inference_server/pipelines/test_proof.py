"""The proof at load: what it measures, and what of it may fail without failing the model."""

import gc
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from imagegen_contract.image_model import Inference
from imagegen_contract.image_size import ImageSize
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.errors import LoadError
from imagegen_server.generation import Generation
from imagegen_server.pipelines.proof import Proof, check_samplers
from imagegen_server.sources import Weights
from loaded_pipelines import cpu_loader, model_spec

SPEC = model_spec()


class Watched:
    """A real pipeline that notes the sizes it is asked for, and has no memory for more pixels than ``most_pixels``."""

    def __init__(self, pipeline: Any, most_pixels: int = 10**9) -> None:
        self.samplers = pipeline.samplers
        self.sizes: list[ImageSize] = []
        self._pipeline = pipeline
        self._most_pixels = most_pixels

    def admit(self, generation: Generation) -> Sequence[Any]:
        """Note the size."""
        self.sizes.append(generation.size)
        if generation.size.pixels > self._most_pixels:
            raise DeviceOutOfMemoryError("out of memory")
        return self._pipeline.admit(generation)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)


def proven(pipeline: Any, usual_size: ImageSize) -> Proof:
    proof = Proof(pipeline, SPEC, usual_size, lambda: None)
    for piece in proof.pieces():
        piece()
    return proof


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_the_smallest_picture_and_the_usual_one_are_measured(pipelines: Mapping[str, Any], kind: str) -> None:
    watched = Watched(pipelines[kind])
    measured = proven(watched, ImageSize(96, 64)).measured
    assert watched.sizes == [ImageSize(64, 64), ImageSize(96, 64)]
    assert [(each.pixels, each.guided) for each in measured] == [(64 * 64, True), (96 * 64, True)]
    assert all(each.evaluation > 0 and each.decode > 0 for each in measured)


def test_a_picture_that_would_take_long_is_not_measured(pipelines: Mapping[str, Any]) -> None:
    watched = Watched(pipelines["sd"])
    assert len(proven(watched, ImageSize(8192, 8192)).measured) == len(watched.sizes) < 4
    assert ImageSize(8192, 8192) not in watched.sizes


def test_no_memory_for_the_usual_picture_ends_the_measuring_and_not_the_model(pipelines: Mapping[str, Any]) -> None:
    measured = proven(Watched(pipelines["sd"], most_pixels=64 * 64), ImageSize(96, 64)).measured
    assert [each.pixels for each in measured] == [64 * 64]


def test_no_memory_for_the_smallest_picture_is_a_failure_of_the_device(pipelines: Mapping[str, Any]) -> None:
    with pytest.raises(DeviceOutOfMemoryError):
        proven(Watched(pipelines["sd"], most_pixels=0), ImageSize(64, 64))


class Offers:
    """Samplers of which few work."""

    offered = ("ddim", "lcm")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Inference(scheduler="euler_a"), "scheduler: euler_a of the model's entry does not work"),
        (
            Inference(schedulers=("euler_a", "pndm")),
            "schedulers of the model's entry (euler_a, pndm) works",
        ),
    ],
)
def test_an_entry_that_promises_a_sampler_that_does_not_work_fails_the_load(entry: Inference, words: str) -> None:
    with pytest.raises(LoadError) as refused:
        check_samplers(Offers(), msgspec.structs.replace(model_spec(), inference=entry))  # type: ignore[arg-type]
    assert words in str(refused.value)
    assert "ddim, lcm do" in str(refused.value)


def test_a_proven_model_that_nobody_uses_is_freed(folders: Mapping[str, Path]) -> None:
    loader = cpu_loader()

    def load() -> weakref.ref[Any]:
        pipe = loader.read(Weights(path=folders["sd"]), SPEC)
        for place in loader.placing(pipe):
            place()
        loaded = loader.finish(pipe)
        for piece in loader.proving(pipe, loaded, SPEC):
            piece()
        assert loader.facts(pipe, loaded).measured
        return weakref.ref(pipe)

    gone = load()
    gc.collect()
    assert gone() is None, "the loader keeps the weights"
