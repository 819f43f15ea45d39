"""The scheduler presets of the API and what limits each of them.

Names are the field's usual ones; diffusers' class names are accepted as aliases of the plain presets.
"""

from typing import Literal, get_args

Preset = Literal["euler", "euler_a", "ddim", "pndm", "dpmpp_2m", "dpmpp_2m_karras", "unipc", "heun", "lcm"]

PRESETS: tuple[Preset, ...] = get_args(Preset)

CLASS_NAMES: dict[str, Preset] = {
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_a",
    "DDIMScheduler": "ddim",
    "PNDMScheduler": "pndm",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "UniPCMultistepScheduler": "unipc",
    "HeunDiscreteScheduler": "heun",
    "LCMScheduler": "lcm",
}

STEP_LIMITS: dict[Preset, tuple[int, int]] = {"lcm": (1, 50), "dpmpp_2m": (1, 998), "unipc": (1, 998)}
"""(fewest, most) steps where a preset has its own. LCM was distilled from 50 DDIM steps, and its scheduler raises
above them. DPM++ and UniPC divide by the distance of two noise levels, and with leading timesteps the first two of
999 are the same."""

DEFAULT_STEP_LIMITS = (1, 999)
"""All models here were trained with 1,000 noise levels; no schedule can have more steps than levels."""


def resolve_preset(name: str) -> Preset | None:
    """Return the preset that ``name`` (a preset or a diffusers class) means, None when it is neither."""
    for preset in PRESETS:
        if name == preset:
            return preset
    return CLASS_NAMES.get(name)


def step_limits(preset: Preset) -> tuple[int, int]:
    """Return (fewest, most) steps of ``preset``."""
    return STEP_LIMITS.get(preset, DEFAULT_STEP_LIMITS)


def evaluations(preset: Preset, steps: int) -> int:
    """Return the UNet evaluations of ``steps`` steps: what a request costs, and what progress counts.

    Heun evaluates twice a step except at the last; PNDM evaluates its first step twice.
    """
    if preset == "heun":
        return 2 * steps - 1
    return steps + 1 if preset == "pndm" and steps > 1 else steps
