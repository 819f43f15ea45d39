"""What the router reads of a request: the model, and what its cost hangs on. The rest is the pod's to judge."""

import msgspec

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import parse_size
from imagegen_contract.images import ModelName
from imagegen_contract.samplers import evaluations, resolve_preset
from imagegen_router.costs import Shape
from imagegen_web.requests import decode_generation

_MOST_ROWS = 10
_MOST_STEPS = 999
_QUALITIES = {"low": "low", "medium": "medium", "high": "high", "standard": "medium", "hd": "high"}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a request that matter here. Values that no pod accepts are let through: it says why."""

    model: ModelName | None = None
    n: int | None = None
    size: str | None = None
    num_inference_steps: int | None = None
    quality: str | None = None
    scheduler: str | None = None
    guidance_scale: float | None = None
    stream: bool | None = None

    @property
    def rows(self) -> int:
        """Pictures, each a row of a batch."""
        return min(max(1, self.n or 1), _MOST_ROWS)

    def shape(self, spec: ImageModelSpec, pixels: int) -> Shape:
        """Return what one picture costs by; ``pixels`` is the area where the request names no size."""
        try:
            area = parse_size(self.size).pixels if self.size and self.size != "auto" else pixels
        except ValueError:
            area = pixels
        asked = self.num_inference_steps
        steps = asked if asked is not None else spec.steps_for(_QUALITIES.get(self.quality or "", "medium"))
        guidance = spec.inference.guidance_scale if self.guidance_scale is None else self.guidance_scale
        return Shape(area, self._evaluations(spec, min(max(1, steps), _MOST_STEPS)), guidance > 1)

    def _evaluations(self, spec: ImageModelSpec, steps: int) -> int:
        """Return the evaluations of so many steps; a sampler that is not known here takes one for each."""
        preset = resolve_preset(self.scheduler) if self.scheduler else spec.inference.scheduler
        return evaluations(preset, steps) if preset else steps


_DECODER = msgspec.json.Decoder(Facts)


def read_facts(body: bytes) -> Facts:
    """Return what matters of a body. Raise InvalidRequest, in the words that a server has for it, when it is none."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        decode_generation(body)  # says what is wrong, and where
        raise
