"""Scheduler objects for the presets of the API.

A template is made once for each preset, from the scheduler that the weights came with; every image row works on a
deep copy, because diffusers' schedulers keep the history of one picture in themselves.
"""

import copy
import inspect
import logging
from collections.abc import Mapping
from typing import Any

import diffusers
import torch

from imagegen_contract.samplers import CLASS_NAMES, PRESETS, Preset, evaluations
from imagegen_server.pipelines.own_scheduler import PLAIN_SIGMAS

_LOG = logging.getLogger(__name__)

_CLASSES: dict[Preset, str] = {
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "dpmpp_2m_karras": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "heun": "HeunDiscreteScheduler",
    "lcm": "LCMScheduler",
}

_DPMPP: dict[str, Any] = {
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "thresholding": False,
    "variance_type": None,
}

# Stated even where they are the class defaults of today: `from_config` takes what the weights' own configuration has
# under these names, and that was meant for another class. Without clip_sample=False a DDIM made from PNDM's
# configuration clips the latents to [-1, 1].
_OVERRIDES: dict[Preset, dict[str, Any]] = {
    "euler": {},
    "euler_a": {},
    "ddim": {"clip_sample": False, "thresholding": False},
    "pndm": {"skip_prk_steps": True},
    "dpmpp_2m": _DPMPP,
    "dpmpp_2m_karras": _DPMPP | {"use_karras_sigmas": True},
    "unipc": {"thresholding": False},
    "heun": {"clip_sample": False},
    "lcm": {"clip_sample": False, "thresholding": False},
}

_TRIED_SHAPE = (1, 4, 2, 2)
_TRIED_STEPS = (1, 7)
"""One step is where schedules lose their only evaluation; seven are enough for every solver's history."""


class SamplerError(RuntimeError):
    """A preset does not work with the scheduler configuration of the weights; the message says why."""


class Samplers:
    """The templates of one model, one for each preset that works with the configuration of its scheduler."""

    def __init__(self, own: Any) -> None:
        """``own`` is the scheduler object that the weights came with; its own preset uses it unchanged if it works."""
        self.own_preset: Preset | None = preset_of(own)
        self.noise_levels: int = own.config.num_train_timesteps
        self._templates: dict[Preset, Any] = {}
        for preset in PRESETS:
            self._add(preset, own)

    @property
    def offered(self) -> tuple[Preset, ...]:
        """The presets that requests may name: each has run to its end on this model's noise schedule."""
        return tuple(self._templates)

    def fresh(self, preset: Preset, steps: int) -> Any:
        """Return a scheduler of its own for one row, its timesteps set (on the CPU) to ``steps`` steps.

        ``preset`` is one of those that are ``offered``.
        """
        return _started(self._templates[preset], preset, steps)

    def _add(self, preset: Preset, own: Any) -> None:
        candidates = [lambda: own] if preset == self.own_preset else []
        causes: list[str] = []
        for make in (*candidates, lambda: _from_config(preset, own.config)):
            try:
                template = make()
                for steps in _TRIED_STEPS:
                    _try(template, preset, steps)
            except Exception as error:  # noqa: BLE001 - whatever a scheduler raises would be the error of a request
                causes.append(next(iter(str(error).strip().splitlines()), type(error).__name__))
            else:
                self._templates[preset] = template
                return
        _LOG.info("sampler not offered", extra={"scheduler": preset, "cause": causes[-1]})


def _from_config(preset: Preset, config: Mapping[str, Any]) -> Any:
    """Return the scheduler of a preset for the noise schedule that ``config`` describes; raise SamplerError."""
    scheduler = getattr(diffusers, _CLASSES[preset])
    if _is_continuous(config) and "timestep_type" not in inspect.signature(scheduler.__init__).parameters:
        raise SamplerError("it has no continuous timesteps, which the UNet was trained with")
    return scheduler.from_config(config, **PLAIN_SIGMAS | _OVERRIDES[preset])


def _started(template: Any, preset: Preset, steps: int) -> Any:
    sampler = copy.deepcopy(template)
    sampler.set_timesteps(steps, device="cpu")
    _drop_overrun(sampler, preset, steps)
    if hasattr(sampler, "set_begin_index"):
        # Otherwise the first step looks its index up by value, which syncs with the device.
        sampler.set_begin_index(0)
    return sampler


def _try(template: Any, preset: Preset, steps: int) -> None:
    """Run a sampler to its end on a UNet that always answers zero; raise whatever is wrong with it."""
    sampler = _started(template, preset, steps)
    if len(sampler.timesteps) < evaluations(preset, steps):
        raise SamplerError(f"it evaluates {len(sampler.timesteps)} times in {steps} steps")
    if not _is_continuous(sampler.config) and bool((sampler.timesteps < 0).any()):
        raise SamplerError("its timesteps are outside of the noise schedule")
    generator = torch.Generator("cpu").manual_seed(0)
    arguments = step_arguments(sampler, generator)
    sample = torch.randn(_TRIED_SHAPE, generator=generator) * sampler.init_noise_sigma
    for timestep in list(sampler.timesteps):
        sampler.scale_model_input(sample, timestep)
        sample = sampler.step(torch.zeros(_TRIED_SHAPE), timestep, sample, **arguments, return_dict=False)[0]
    if not bool(torch.isfinite(sample).all()):
        raise SamplerError("it computes values that are no numbers")


def _is_continuous(config: Mapping[str, Any]) -> bool:
    """Return whether timesteps are logarithms of noise levels, most of them negative, instead of indices."""
    return config.get("timestep_type") == "continuous" and config.get("prediction_type") == "v_prediction"


def _drop_overrun(sampler: Any, preset: Preset, steps: int) -> None:
    """Drop the evaluations at timestep -1 that diffusers adds to some trailing schedules (61 steps, 103, ...).

    numpy.arange(1000, 0, -1000 / 61) ends with 1e-13 where it should have ended before 0. The timestep that comes of
    it reads the alphas and sigmas from the wrong end: DDIM and PNDM then paint noise, and UniPC divides by zero.
    Other negative timesteps are meant as they are (continuous ones), and dropping them would lose steps.
    """
    negative = int((sampler.timesteps < 0).sum())
    overrun = min(negative, len(sampler.timesteps) - evaluations(preset, steps))
    if overrun <= 0:
        return
    sampler.timesteps = sampler.timesteps[:-overrun]
    if hasattr(sampler, "sigmas"):
        sampler.sigmas = torch.cat([sampler.sigmas[: -1 - overrun], sampler.sigmas[-1:]])
    sampler.num_inference_steps = steps


def preset_of(sampler: Any) -> Preset | None:
    """Return the preset that a scheduler object is, None when it is none of ours."""
    preset = CLASS_NAMES.get(type(sampler).__name__)
    if preset == "dpmpp_2m" and sampler.config.get("use_karras_sigmas"):
        return "dpmpp_2m_karras"
    return preset


def step_arguments(sampler: Any, generator: torch.Generator) -> dict[str, Any]:
    """Return what ``step`` takes besides output, timestep and sample: the row's generator where it draws noise."""
    accepted = inspect.signature(sampler.step).parameters
    return {"generator": generator} if "generator" in accepted else {}
