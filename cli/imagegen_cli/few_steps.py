"""Steps and guidance of a model, as far as a repository tells them: by its name, its scheduler, its pipeline class.

No field of a repository says for how many steps its weights were made. Distilled weights say it in their names, and
each method has its own numbers; all others take what diffusers' pipeline takes. The upper limits of guidance are ours,
with some room above what is published.
"""

import re
from typing import Any

import msgspec


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Steps and guidance, and the most of each that makes sense; ``why`` tells people where they come from."""

    steps: int
    guidance: float
    max_steps: int | None = None
    max_guidance: float | None = None
    why: str

    @property
    def fields(self) -> dict[str, Any]:
        """The same as an entry's ``inference`` has it."""
        named = {
            "steps": self.steps,
            "maxSteps": self.max_steps,
            "guidanceScale": self.guidance,
            "maxGuidanceScale": self.max_guidance,
        }
        return {field: value for field, value in named.items() if value is not None}


ADVERSARIAL = Pace(
    steps=1, max_steps=4, guidance=0.0, max_guidance=1.0, why="its name says turbo and its timesteps are trailing"
)
"""1 to 4 steps, guidance 0, trailing timesteps: diffusers' page on SDXL Turbo."""
TURBO_TUNED = Pace(steps=6, max_steps=8, guidance=2.0, max_guidance=4.0, why="its name says turbo")
"""4 to 8 steps with guidance 2: what the author of DreamShaper XL Turbo asks for, taken for all such fine-tunes."""
LIGHTNING = Pace(steps=4, max_steps=8, guidance=0.0, max_guidance=2.0, why="its name says lightning")
"""Checkpoints for 1, 2, 4 or 8 steps, guidance 0: the example of ByteDance/SDXL-Lightning."""
HYPER = Pace(steps=8, max_steps=8, guidance=0.0, max_guidance=2.0, why="its name says Hyper-SD")
"""1 to 8 steps: the Hyper-SD paper. Guides to it say CFG 1 to 1.5; here it is off, which is half the work."""
LCM = Pace(steps=4, max_steps=8, guidance=1.0, max_guidance=2.0, why="its name or its scheduler says LCM")
"""4 steps, guidance 1 to 2: diffusers' page on latent consistency models, of weights without embedded guidance."""

PIPELINES = {
    "StableDiffusionPipeline": Pace(steps=50, guidance=7.5, why="diffusers' defaults for its pipeline"),
    "StableDiffusionXLPipeline": Pace(steps=50, guidance=5.0, why="diffusers' defaults for its pipeline"),
}
"""The defaults of each pipeline's ``__call__`` in diffusers 0.42; its keys are the pipelines that can be served."""

_HYPER_NAME = re.compile(r"hyper[-_. ]?sd")
_STEPS = re.compile(r"(?<![0-9.])([1-9][0-9]?)[-_ ]?steps?(?![a-z])")


def pace(pipeline: str, name: str, scheduler: dict[str, Any]) -> Pace:
    """Return what fits a model called ``name`` of the class ``pipeline`` (a key of PIPELINES)."""
    lower = name.lower()
    method = _method(lower, scheduler)
    if method is None:
        return PIPELINES[pipeline]
    said = _STEPS.search(lower)
    if said and method.max_steps and int(said[1]) <= method.max_steps:
        why = f"its name says {said[1]} steps; guidance: {method.why}"
        return msgspec.structs.replace(method, steps=int(said[1]), why=why)
    return method


def _method(name: str, scheduler: dict[str, Any]) -> Pace | None:
    words = set(re.split(r"[^a-z]+", name))
    if "lightning" in words:
        return LIGHTNING
    if _HYPER_NAME.search(name) and "cfg" not in words:  # its CFG variants were made to be guided
        return HYPER
    if "lcm" in words or scheduler.get("_class_name") == "LCMScheduler":
        return LCM
    if "turbo" in words:
        return ADVERSARIAL if scheduler.get("timestep_spacing") == "trailing" else TURBO_TUNED
    return None
