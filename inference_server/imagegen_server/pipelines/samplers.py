"""Scheduler objects for the presets of the API.

A template is made once for each preset, from the scheduler that the weights came with; every image row works on a
deep copy, because diffusers' schedulers keep the history of one picture in themselves.
"""

import copy
import inspect
from typing import Any

import diffusers
import torch

from imagegen_contract.samplers import CLASS_NAMES, PRESETS, Preset

# Stated even where they are the class defaults of today: `from_config` takes what the weights' own configuration has
# under these names, and that was meant for another class. Without clip_sample=False a DDIM made from PNDM's
# configuration clips the latents to [-1, 1].
_OVERRIDES: dict[Preset, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {"use_karras_sigmas": False}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {"clip_sample": False, "thresholding": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "dpmpp_2m": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": False, "thresholding": False},
    ),
    "dpmpp_2m_karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True, "thresholding": False},
    ),
    "unipc": ("UniPCMultistepScheduler", {"use_karras_sigmas": False, "thresholding": False}),
    "heun": ("HeunDiscreteScheduler", {"use_karras_sigmas": False, "clip_sample": False}),
    "lcm": ("LCMScheduler", {"clip_sample": False, "thresholding": False}),
}


class Samplers:
    """The templates of one model."""

    def __init__(self, own: Any) -> None:
        """``own`` is the scheduler object that the weights came with; its own preset uses it unchanged."""
        self.own_preset: Preset | None = preset_of(own)
        self._templates = {preset: self._template(own, preset) for preset in PRESETS}

    def fresh(self, preset: Preset, steps: int) -> Any:
        """Return a scheduler of its own for one row, its timesteps set (on the CPU) to ``steps`` steps."""
        sampler = copy.deepcopy(self._templates[preset])
        sampler.set_timesteps(steps, device="cpu")
        _drop_overrun(sampler, steps)
        if hasattr(sampler, "set_begin_index"):
            # Otherwise the first step looks its index up by value, which syncs with the device.
            sampler.set_begin_index(0)
        return sampler

    def _template(self, own: Any, preset: Preset) -> Any:
        if preset == self.own_preset:
            return own
        class_name, overrides = _OVERRIDES[preset]
        return getattr(diffusers, class_name).from_config(own.config, **overrides)


def _drop_overrun(sampler: Any, steps: int) -> None:
    """Drop the evaluations at timestep -1 that diffusers adds to some trailing schedules (61 steps, 103, ...).

    numpy.arange(1000, 0, -1000 / 61) ends with 1e-13 where it should have ended before 0. The timestep that comes of
    it reads the alphas and sigmas from the wrong end: DDIM and PNDM then paint noise, and UniPC divides by zero.
    """
    overrun = int((sampler.timesteps < 0).sum())
    if not overrun:
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
