"""Messages between the HTTP rooms, the engine and the pipelines. No torch here, and no numpy at run time."""

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from imagegen_contract.image_size import ImageSize
from imagegen_contract.samplers import PRESETS, Preset

if TYPE_CHECKING:
    # numpy takes 0.15 s to import, and the server listens before anything needs it.
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]
    """One picture: uint8 of shape (height, width, 3), RGB."""


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What one request asks of a pipeline, every value resolved.

    One image for each seed. ``negative_prompt`` is None where nobody gave one: for SDXL that is not the same as "".
    """

    model_id: str
    prompt: str
    negative_prompt: str | None
    size: ImageSize
    steps: int
    guidance_scale: float
    scheduler: Preset
    seeds: tuple[int, ...]

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance is on; at 1 or less it would change nothing (as in diffusers)."""
        return self.guidance_scale > 1


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a model was seen to take before its first request: seconds of one picture's evaluation and its decoding."""

    pixels: int
    guided: bool
    evaluation: float
    decode: float


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model once its weights are loaded."""

    native_size: ImageSize
    own_scheduler: Preset | None
    """The preset that the weights came with, None when it is none of ours."""
    schedulers: tuple[Preset, ...] = PRESETS
    """The presets that work with the weights' own noise schedule."""
    noise_levels: int = 1000
    """How many noise levels the model was trained with; a schedule has fewer steps than that."""
    device: str
    dtype: str
    prompt_tokens: int
    """Most text tokens of a prompt: four windows of the text encoder."""
    memory_bytes: int = 0
    """What the weights were measured to take on the device."""
    measured: tuple[Measured, ...] = ()
    """What was timed while the model was proven, in seconds of a warm device; empty where nothing was."""


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine gives back: the pictures in the order of the seeds, and what they cost in seconds."""

    images: "tuple[Pixels, ...]"
    queue_seconds: float
    device_seconds: float
