"""Rows of many requests in one UNet call: each is what it would be alone, whatever its neighbours do."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from imagegen_contract.image_size import ImageSize
from imagegen_contract.samplers import PRESETS
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.errors import NonFiniteOutput
from imagegen_server.generation import Generation
from imagegen_server.pipelines.denoising import evaluate
from loaded_pipelines import denoise, denoised, generation, relative_error

CLOSE = 1e-4
"""Of the largest latent: what the size of a batch changes in float32 arithmetic is below it, a mix-up far above."""

MIXED = [
    generation(
        prompt=f"a {colour} star",
        scheduler=preset,
        steps=3 + index % 4,
        guidance_scale=(5.0, 1.0, 8.5, 0.0)[index % 4],
        negative_prompt=("a moon", None, "", None)[index % 4],
        seeds=(index, index + 100) if index % 3 == 0 else (index,),
    )
    for index, (preset, colour) in enumerate(zip(PRESETS, ["red", "blue", "green"] * 3, strict=True))
]
"""Every preset; steps, guidance, prompts, negative prompts and numbers of images that differ."""


@pytest.fixture(params=["embedded", "sd", "sdxl"])
def pipeline(request: pytest.FixtureRequest, pipelines: Mapping[str, Any]) -> Any:
    return pipelines[request.param]


def check(pipeline: Any, requests: Sequence[Generation], rows: Sequence[Sequence[Any]]) -> None:
    """Fail unless the finished rows of each request are what they are alone."""
    for request, together in zip(requests, rows, strict=True):
        alone = denoised(pipeline, request)
        assert len(together) == len(alone)
        errors = [relative_error(row.finished_latents(), latents) for row, latents in zip(together, alone, strict=True)]
        assert max(errors) < CLOSE, (request, errors)


# Together as alone


def test_rows_of_different_samplers_steps_and_guidance_run_in_one_call(pipeline: Any) -> None:
    rows = [pipeline.admit(request) for request in MIXED]
    denoise(pipeline, [row for each in rows for row in each])
    check(pipeline, MIXED, rows)


def test_rows_join_while_others_run(pipeline: Any) -> None:
    rows: list[Sequence[Any]] = []
    for request in MIXED:
        rows.append(pipeline.admit(request))
        pipeline.advance([row for each in rows for row in each if row.evaluations_left])
    denoise(pipeline, [row for each in rows for row in each])
    check(pipeline, MIXED, rows)


@pytest.mark.parametrize("seed", range(12))
def test_rows_come_and_go_in_any_order(pipelines: Mapping[str, Any], seed: int) -> None:
    """Before each call a request may come, rows may sit out or change places, and a request may be dropped for good."""
    pipeline, chance = pipelines["sd"], random.Random(seed)
    waiting = chance.sample(MIXED, 4)
    requests: list[Generation] = []
    rows: list[Sequence[Any]] = []
    while waiting or any(row.evaluations_left for each in rows for row in each):
        if waiting and chance.random() < 0.5:
            requests.append(waiting.pop())
            rows.append(pipeline.admit(requests[-1]))
        if len(rows) > 1 and chance.random() < 0.1:
            dropped = chance.randrange(len(rows))
            del requests[dropped], rows[dropped]
        running = [row for each in rows for row in each if row.evaluations_left]
        if running:
            pipeline.advance(chance.sample(running, chance.randint(1, len(running))))
    check(pipeline, requests, rows)


def test_only_guided_rows_take_two_places_in_the_call(pipeline: Any) -> None:
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def note(_: torch.nn.Module, arguments: tuple[torch.Tensor, torch.Tensor]) -> None:
        calls.append(arguments)

    hook = pipeline._pipe.unet.register_forward_pre_hook(note)
    try:
        rows = [row for request in MIXED for row in pipeline.admit(request)]
        pipeline.advance(rows)
    finally:
        hook.remove()
    guided = sum(row.negative is not None for row in rows)
    ((sample, timesteps),) = calls
    assert 0 < guided < len(rows)
    assert len(sample) == len(timesteps) == len(rows) + guided
    assert timesteps.dtype == torch.float32, "16 bit would merge neighbouring timesteps"


@pytest.mark.parametrize(
    ("change", "together"),
    [
        pytest.param({"seeds": (1,), "steps": 9, "scheduler": "heun"}, True, id="another seed, step count, sampler"),
        pytest.param({"guidance_scale": 1.0}, True, id="no guidance"),
        pytest.param({"prompt": "red " * 75}, True, id="a longer prompt of one window"),
        pytest.param({"prompt": "red " * 76}, False, id="a prompt of two windows"),
        pytest.param({"negative_prompt": "red " * 76}, False, id="a negative prompt of two windows"),
        pytest.param({"size": ImageSize(64, 72)}, False, id="another size"),
        pytest.param({"size": ImageSize(72, 64)}, False, id="another size, turned"),
    ],
)
def test_rows_with_equal_keys_can_run_in_one_call(pipeline: Any, change: dict[str, Any], together: bool) -> None:
    (row,), (other,) = pipeline.admit(generation()), pipeline.admit(generation(**change))
    assert (row.key == other.key) is together


@pytest.mark.parametrize("preset", PRESETS)
def test_a_row_counts_down_to_its_picture(pipeline: Any, preset: str) -> None:
    (row,) = pipeline.admit(generation(scheduler=preset, steps=3))
    left = [row.evaluations_left]
    while row.evaluations_left:
        pipeline.advance([row])
        left.append(row.evaluations_left)
    assert left == list(range(left[0], -1, -1))
    assert pipeline.picture(row).shape == (64, 64, 3)
    assert pipeline.picture(row).dtype == np.uint8


# Failures


class SmallMemory:
    """A UNet on a device that holds only so many rows; it computes before it finds that out."""

    def __init__(self, unet: Any, rows: int) -> None:
        self._unet, self._rows = unet, rows
        self.dtype = unet.dtype

    def __call__(self, sample: torch.Tensor, *arguments: Any, **keywords: Any) -> Any:
        """Compute; raise DeviceOutOfMemoryError for more rows than fit."""
        output = self._unet(sample, *arguments, **keywords)
        if len(sample) > self._rows:
            raise DeviceOutOfMemoryError
        return output


def test_a_call_that_ran_out_of_memory_can_be_made_again_in_halves(pipeline: Any) -> None:
    unet = SmallMemory(pipeline._pipe.unet, rows=6)
    rows = [pipeline.admit(request) for request in MIXED]
    with torch.inference_mode():
        while running := [row for each in rows for row in each if row.evaluations_left]:
            if len(running) > 3:
                before = [(row.latents.clone(), row.evaluations_left) for row in running]
                with pytest.raises(DeviceOutOfMemoryError):
                    evaluate(unet, running)
                assert all(
                    torch.equal(row.latents, latents) and row.evaluations_left == left
                    for row, (latents, left) in zip(running, before, strict=True)
                )
            for start in range(0, len(running), 3):
                evaluate(unet, running[start : start + 3])
    check(pipeline, MIXED, rows)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("when", ["first", "last"])
def test_a_row_that_is_no_number_fails_alone(pipeline: Any, when: str, poison: float) -> None:
    requests = [generation(seeds=(1,)), generation(seeds=(2,), scheduler="dpmpp_2m"), generation(seeds=(3,))]
    rows = [pipeline.admit(request) for request in requests]
    if when == "last":
        denoise(pipeline, [row for each in rows for row in each])
    with torch.inference_mode():
        rows[1][0].latents[0, 0, 3, 3] = poison
    denoise(pipeline, [row for each in rows for row in each])
    with pytest.raises(NonFiniteOutput):
        pipeline.picture(rows[1][0])
    healthy = [0, 2]
    check(pipeline, [requests[index] for index in healthy], [rows[index] for index in healthy])
    for index in healthy:
        assert pipeline.picture(rows[index][0]).std() > 5


# No gradients


def test_nothing_is_kept_for_gradients(pipeline: Any) -> None:
    (row,) = pipeline.admit(generation())
    pipeline.advance([row])
    tensors = [row.latents, row.prompt.states, row.negative.states]
    assert all(tensor.is_inference() and not tensor.requires_grad for tensor in tensors)
    assert all(tensor.grad_fn is None for tensor in tensors)
    assert not torch.is_inference_mode_enabled(), "other code of the thread is not in that mode"


def test_weights_are_not_in_training_mode(pipeline: Any) -> None:
    modules = [part for part in pipeline._pipe.components.values() if isinstance(part, torch.nn.Module)]
    assert len(modules) >= 3
    assert not any(module.training for part in modules for module in part.modules())
