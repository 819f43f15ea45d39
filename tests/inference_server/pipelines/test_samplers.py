"""Samplers of the presets: how many evaluations they take, that they work to the end, that they share nothing."""

from collections.abc import Mapping
from typing import Any

import diffusers
import pytest
import torch

from conftest import Show
from imagegen_contract.samplers import CLASS_NAMES, PRESETS, Preset, evaluations, step_limits
from imagegen_server.errors import NonFiniteOutput
from imagegen_server.pipelines.denoising import Conditioning, LatentRow, Steering, evaluate
from imagegen_server.pipelines.samplers import Samplers, preset_of
from loaded_pipelines import generation

KINDS = ["embedded", "sd", "sdxl", "sdxl-turbo"]


@pytest.fixture(params=KINDS)
def samplers(request: pytest.FixtureRequest, pipelines: Mapping[str, Any]) -> Samplers:
    """Return the samplers of one kind of model: made from DDIM, PNDM, Euler, Euler ancestral."""
    return pipelines[request.param].samplers


@pytest.mark.parametrize("preset", PRESETS)
def test_the_contract_knows_how_often_a_sampler_evaluates(samplers: Samplers, preset: Preset) -> None:
    fewest, most = step_limits(preset)
    counts = [steps for steps in (*range(fewest, 130), 499, 500, 501, *range(990, 1000)) if steps <= most]
    known = {steps: evaluations(preset, steps) for steps in counts}
    assert known == {steps: len(samplers.fresh(preset, steps).timesteps) for steps in counts}


@pytest.mark.parametrize("preset", PRESETS)
def test_no_timestep_is_outside_of_what_models_are_trained_at(samplers: Samplers, preset: Preset) -> None:
    """61 and 103 steps: diffusers' trailing timesteps would end with -1."""
    for steps in (1, 2, 20, 50, 60, 61, 62, 103, 998):
        timesteps = samplers.fresh(preset, min(steps, step_limits(preset)[1])).timesteps
        assert 0 <= timesteps.min() <= timesteps.max() <= 999, steps


def test_more_steps_than_the_limit_are_more_than_lcm_can_do(samplers: Samplers) -> None:
    with pytest.raises(ValueError, match="50"):
        samplers.fresh("lcm", step_limits("lcm")[1] + 1)


class PerfectDenoiser:
    """The exact noise prediction for pictures of independent Gaussian pixels of variance 1.

    Whatever the noise level, the noisy sample has variance 1 too (as the UNet gets it), and the expected noise in it is
    sqrt(1 - alpha_bar) of the sample. A sampler that is right gives samples of variance 1 in the end.
    """

    dtype = torch.float32

    def __init__(self) -> None:
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self._noise = (1 - torch.cumprod(1 - betas, dim=0)).sqrt().float()

    def __call__(self, sample: torch.Tensor, timesteps: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        """Return the noise in ``sample`` [rows, channels, height, width] at each row's timestep."""
        levels = self._noise[timesteps.round().long().clamp(0, 999)]
        return (sample * levels.view(-1, 1, 1, 1),)


def row(samplers: Samplers, preset: Preset, steps: int, seed: int = 1) -> LatentRow:
    steering = Steering(
        prompt=Conditioning(states=torch.zeros(1, 77, 4)), negative=None, shape=(1, 4, 16, 16), device="cpu"
    )
    return LatentRow(generation(scheduler=preset, steps=steps, guidance_scale=1.0), seed, samplers, steering)


def run(rows: list[LatentRow]) -> list[torch.Tensor]:
    denoiser = PerfectDenoiser()
    while unfinished := [each for each in rows if each.evaluations_left]:
        evaluate(denoiser, unfinished)
    return [each.finished_latents() for each in rows]


@pytest.mark.parametrize("kind", ["sd", "sdxl", "sdxl-turbo"])
@pytest.mark.parametrize("steps", [50, 61, 200, pytest.param(998, marks=pytest.mark.slow)])
def test_many_steps_of_every_preset_sample_what_a_perfect_model_knows(
    pipelines: Mapping[str, Any], kind: str, steps: int
) -> None:
    presets: list[Preset] = [preset for preset in PRESETS if steps <= step_limits(preset)[1]]
    finished = run([row(pipelines[kind].samplers, preset, steps) for preset in presets])
    spread = {preset: float(latents.std()) for preset, latents in zip(presets, finished, strict=True)}
    # LCM takes every prediction for a finished picture, and the mean of all pictures has less variance than they have.
    lowest = {"lcm": 0.5}
    assert {preset: std for preset, std in spread.items() if not lowest.get(preset, 0.9) < std < 1.1} == {}


@pytest.mark.parametrize("preset", ["dpmpp_2m", "unipc"])
def test_the_one_schedule_that_divides_by_zero_is_found_out(pipelines: Mapping[str, Any], preset: Preset) -> None:
    """999 leading steps from an offset of 1 begin at timestep 1000: the last noise level twice, no step between."""
    with pytest.raises(NonFiniteOutput):
        run([row(pipelines["sdxl"].samplers, preset, 999)])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_fewest_steps_of_every_preset_stay_in_bounds(samplers: Samplers, steps: int) -> None:
    for preset, latents in zip(PRESETS, run([row(samplers, preset, steps) for preset in PRESETS]), strict=True):
        assert latents.abs().max() < 20, preset


@pytest.mark.parametrize("preset", PRESETS)
def test_rows_of_one_preset_share_nothing(samplers: Samplers, preset: Preset) -> None:
    """Interleaved with a second row of other steps that joins late and leaves late, a row is what it is alone."""
    alone = run([row(samplers, preset, 7)])[0], run([row(samplers, preset, 9, seed=2)])[0]
    denoiser, first, second = PerfectDenoiser(), row(samplers, preset, 7), row(samplers, preset, 9, seed=2)
    for _ in range(3):
        evaluate(denoiser, [first])
    together = run([second, first])
    assert torch.allclose(together[1], alone[0], rtol=1e-5, atol=1e-6)
    assert torch.allclose(together[0], alone[1], rtol=1e-5, atol=1e-6)


def test_a_row_leaves_the_template_as_it_was(samplers: Samplers) -> None:
    for preset in PRESETS:
        before = samplers.fresh(preset, 5)
        run([row(samplers, preset, 9)])
        after = samplers.fresh(preset, 5)
        assert torch.equal(before.timesteps, after.timesteps)
        assert before.init_noise_sigma == after.init_noise_sigma


@pytest.mark.parametrize(
    ("kind", "preset"), [("embedded", "ddim"), ("sd", "pndm"), ("sdxl", "euler"), ("sdxl-turbo", "euler_a")]
)
def test_the_scheduler_of_the_weights_is_its_own_preset(
    pipelines: Mapping[str, Any], kind: str, preset: Preset
) -> None:
    assert pipelines[kind].samplers.own_preset == preset


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_the_class_that_its_alias_names(samplers: Samplers, preset: Preset) -> None:
    sampler = samplers.fresh(preset, 4)
    assert preset_of(sampler) == preset
    assert CLASS_NAMES[type(sampler).__name__] in preset


@pytest.mark.parametrize("preset", PRESETS)
def test_turbo_keeps_its_trailing_timesteps_whatever_the_sampler(pipelines: Mapping[str, Any], preset: Preset) -> None:
    assert pipelines["sdxl-turbo"].samplers.fresh(preset, 1).timesteps[0] == 999


BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
CONTINUOUS: dict[str, Any] = BETAS | {"prediction_type": "v_prediction", "timestep_type": "continuous"}


@pytest.mark.acceptance
@pytest.mark.parametrize("steps", [1, 2, 7, 20, 50])
def test_timesteps_that_are_meant_to_be_negative_are_all_evaluated(steps: int, show: Show) -> None:
    """They are logarithms of noise levels; taken for an overrun, steps were lost, and a single one never ended."""
    samplers = Samplers(diffusers.EulerDiscreteScheduler(**CONTINUOUS))
    stock = diffusers.EulerDiscreteScheduler(**CONTINUOUS)
    stock.set_timesteps(steps)
    assert samplers.offered == ("euler",), "no other class knows continuous timesteps"
    assert torch.equal(samplers.fresh("euler", steps).timesteps, stock.timesteps)
    made = row(samplers, "euler", steps)
    assert made.evaluations_left == steps
    show("14.1 fault 4: rows without an end", f"{steps} of {steps} continuous steps evaluated")


@pytest.mark.acceptance
def test_what_the_weights_say_of_spacing_is_meant_for_their_own_class_only(show: Show) -> None:
    samplers = Samplers(diffusers.DPMSolverMultistepScheduler(**BETAS, use_exponential_sigmas=True))
    assert samplers.offered == PRESETS
    plain = Samplers(diffusers.DPMSolverMultistepScheduler(**BETAS))
    other = [
        preset
        for preset in PRESETS
        if not torch.equal(samplers.fresh(preset, 7).timesteps, plain.fresh(preset, 7).timesteps)
    ]
    assert other == ["dpmpp_2m"]
    show("14.1 fault 5: samplers that nobody asked for", "loads, 9 of 9 presets offered")


def test_an_own_scheduler_that_cannot_run_is_replaced_by_its_preset() -> None:
    """PNDM with Runge-Kutta steps cannot make a picture in one step."""
    samplers = Samplers(diffusers.PNDMScheduler(**BETAS, skip_prk_steps=False))
    assert samplers.own_preset == "pndm"
    assert len(samplers.fresh("pndm", 1).timesteps) == 1


def test_a_scheduler_of_another_class_is_no_preset() -> None:
    assert preset_of(diffusers.DDPMScheduler()) is None
