"""The server's own pipelines in the test's process, driven as the device thread drives them."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from imagegen_contract.image_model import ImageModelSpec, Inference
from imagegen_contract.image_size import ImageSize
from imagegen_server.generation import Generation
from imagegen_server.pipelines.loading import PipelineLoader
from imagegen_server.sources import Weights


def load_pipeline(folder: Path, *, safety_checker: bool = True) -> Any:
    """Load a folder as the server does."""
    return load_weights(Weights(path=folder), safety_checker=safety_checker)


def load_weights(weights: Weights, *, dtype: str = "auto", safety_checker: bool = True) -> Any:
    """Load weights as the server does."""
    loader = cpu_loader(dtype)
    pipe = loader.read(weights, model_spec(safety_checker=safety_checker))
    for place in loader.placing(pipe):
        place()
    return loader.finish(pipe)


@cache
def cpu_loader(dtype: str = "auto") -> PipelineLoader:
    """Return the server's loader; one for all tests, as a server has one, since making it takes a tenth of a second."""
    return PipelineLoader("cpu", dtype, 0)


def model_spec(*, safety_checker: bool = True) -> ImageModelSpec:
    """Return an entry of the catalog."""
    inference = Inference(safety_checker=safety_checker)
    return ImageModelSpec(publisher="test", family="test", version="1", id="test", inference=inference)


def generation(**changes: Any) -> Generation:
    """Return a request of one small picture, with ``changes``."""
    fields: dict[str, Any] = {
        "model_id": "test",
        "prompt": "a red circle",
        "negative_prompt": None,
        "size": ImageSize(64, 64),
        "steps": 4,
        "guidance_scale": 5.0,
        "scheduler": "ddim",
        "seeds": (7,),
    }
    return Generation(**fields | changes)


def denoise(pipeline: Any, rows: Sequence[Any]) -> None:
    """Evaluate ``rows`` together, each until it is done."""
    while unfinished := [row for row in rows if row.evaluations_left]:
        pipeline.advance(unfinished)


def denoised(pipeline: Any, request: Generation) -> list[torch.Tensor]:
    """Return the final latents of a request that is alone on the device, one for each seed."""
    finished: list[torch.Tensor] = []
    for row in pipeline.admit(request):
        denoise(pipeline, [row])
        finished.append(row.finished_latents())
    return finished


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference as a share of the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())
