"""Resolves a request against its model: defaults filled in, limits checked, nothing ignored. Pure.

Every refusal names the field, what was found and what is allowed.
"""

from collections.abc import Callable

import msgspec

from imagegen_contract.errors import ErrorCode
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import MAX_SIDE, MIN_SIDE, SIZE_MULTIPLE, ImageSize, nearest_valid, parse_size
from imagegen_contract.images import MAX_PROMPT_CHARACTERS, MAX_SEED, GenerateImage, OutputFormat, ResolvedQuality
from imagegen_contract.samplers import PRESETS, Preset, resolve_preset, step_limits
from imagegen_contract.validation import shown
from imagegen_server.generation import Generation, ModelFacts
from imagegen_web.errors import InvalidRequest

_NATIVE_AREAS = 4
"""Without ``maxPixels`` in its entry a model may be asked for four times the area that it was trained at."""

_UNKNOWN = ModelFacts(
    native_size=ImageSize(MAX_SIDE, MAX_SIDE), own_scheduler=None, device="", dtype="", prompt_tokens=0
)
"""Facts of a model that is not loaded: they forbid nothing."""

_QUALITIES: dict[str, ResolvedQuality] = {
    "auto": "medium",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "standard": "medium",
    "hd": "high",
}


class OutputOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the pictures are encoded and described in the reply."""

    output_format: OutputFormat
    compression: int
    quality: ResolvedQuality | None
    revised_prompt: str | None


def check_supported(request: GenerateImage, max_images: int) -> None:
    """Refuse what no model here can do; raise InvalidRequest."""
    unsupported = ErrorCode.UNSUPPORTED_VALUE
    if request.stream:
        raise InvalidRequest("stream is not supported yet; leave it out or send false", "stream", unsupported)
    if request.partial_images:
        raise InvalidRequest("partial_images needs stream, which is not supported yet", "partial_images", unsupported)
    if request.response_format == "url":
        raise InvalidRequest("response_format url is not supported; use b64_json", "response_format", unsupported)
    if request.background == "transparent":
        raise InvalidRequest("background transparent is not supported; use opaque", "background", unsupported)
    if request.n is not None and request.n > max_images:
        raise InvalidRequest(f"n: found {request.n}, this server allows 1 to {max_images}", "n")
    for name, text in (("prompt", request.prompt.strip()), ("negative_prompt", request.negative_prompt or "")):
        if len(text) > MAX_PROMPT_CHARACTERS:
            raise InvalidRequest(f"{name}: found {len(text)} characters, allowed are {MAX_PROMPT_CHARACTERS}", name)


def check_entry(request: GenerateImage, spec: ImageModelSpec) -> None:
    """Refuse what the model's entry alone forbids, so that no model is loaded for it; raise InvalidRequest."""
    _negative_prompt(request, spec, _guidance(request, spec))
    _seeds(request, lambda: 0)
    _size(request, spec, _UNKNOWN)
    scheduler = _scheduler(request, spec, _UNKNOWN)
    if request.scheduler or spec.inference.scheduler:
        _steps(request, spec, _UNKNOWN, scheduler)


def output_options(request: GenerateImage, spec: ImageModelSpec) -> OutputOptions:
    """Return how the reply is written; raise InvalidRequest for a compression that PNG does not have."""
    output_format = request.output_format or "png"
    compression = 100 if request.output_compression is None else request.output_compression
    if output_format == "png" and compression != 100:
        raise InvalidRequest(
            f"output_compression: found {compression}; png is lossless, only webp and jpeg have it",
            "output_compression",
            ErrorCode.UNSUPPORTED_VALUE,
        )
    return OutputOptions(
        output_format=output_format,
        compression=compression,
        quality=None if request.num_inference_steps else _QUALITIES[request.quality or "auto"],
        revised_prompt=_full_prompt(request, spec) if spec.inference.prompt_suffix else None,
    )


def resolve_generation(
    request: GenerateImage, spec: ImageModelSpec, facts: ModelFacts, draw_seed: Callable[[], int]
) -> Generation:
    """Return what the engine is to do; raise InvalidRequest where the model cannot."""
    scheduler = _scheduler(request, spec, facts)
    guidance = _guidance(request, spec)
    return Generation(
        model_id=spec.id,
        prompt=_full_prompt(request, spec),
        negative_prompt=_negative_prompt(request, spec, guidance),
        size=_size(request, spec, facts),
        steps=_steps(request, spec, facts, scheduler),
        guidance_scale=guidance,
        scheduler=scheduler,
        seeds=_seeds(request, draw_seed),
    )


def max_pixels(spec: ImageModelSpec, facts: ModelFacts) -> int:
    """Return the largest area that the model may be asked for."""
    if spec.inference.max_pixels:
        return spec.inference.max_pixels
    # What the entry itself offers may be asked for by name, too.
    offered = [parse_size(text).pixels for text in (spec.inference.size, *spec.inference.sizes) if text]
    return max([_NATIVE_AREAS * facts.native_size.pixels, *offered])


def default_size(spec: ImageModelSpec, facts: ModelFacts) -> ImageSize:
    """Return the size of requests that name none: the entry's, else what the weights were trained at if allowed."""
    return spec.default_size or nearest_valid(facts.native_size, max_pixels(spec, facts))


def allowed_schedulers(spec: ImageModelSpec, facts: ModelFacts = _UNKNOWN) -> tuple[Preset, ...]:
    """Return the presets that a request for the model may name: those of its entry that work with its weights."""
    return tuple(preset for preset in spec.inference.schedulers or PRESETS if preset in facts.schedulers)


def max_steps(spec: ImageModelSpec, facts: ModelFacts) -> int:
    """Return the most steps that a request for the model may ask for, whatever its sampler."""
    return min(spec.inference.max_steps, facts.noise_levels - 1)


def default_scheduler(spec: ImageModelSpec, facts: ModelFacts) -> Preset:
    """Return the preset of requests that name none: the entry's, else the weights' own where the entry allows it."""
    allowed = allowed_schedulers(spec, facts)
    if spec.inference.scheduler is not None:
        return spec.inference.scheduler
    return facts.own_scheduler if facts.own_scheduler in allowed else allowed[0]


def _full_prompt(request: GenerateImage, spec: ImageModelSpec) -> str:
    return request.prompt.strip() + spec.inference.prompt_suffix


def _negative_prompt(request: GenerateImage, spec: ImageModelSpec, guidance: float) -> str | None:
    if request.negative_prompt is None:
        # Without guidance the entry's own has no effect, and so it is not counted either.
        return spec.inference.negative_prompt or None if guidance > 1 else None
    if guidance <= 1:
        raise InvalidRequest(
            f"negative_prompt has no effect at guidance_scale {guidance:g}; it needs more than 1, or leave it out",
            "negative_prompt",
            ErrorCode.UNSUPPORTED_VALUE,
        )
    return request.negative_prompt.strip()


def _guidance(request: GenerateImage, spec: ImageModelSpec) -> float:
    if request.guidance_scale is None:
        return spec.inference.guidance_scale
    most = spec.inference.max_guidance_scale
    if request.guidance_scale > most:
        raise InvalidRequest(
            f"guidance_scale: found {request.guidance_scale:g}, {spec.id} allows 0 to {most:g}", "guidance_scale"
        )
    return request.guidance_scale


def _scheduler(request: GenerateImage, spec: ImageModelSpec, facts: ModelFacts) -> Preset:
    allowed = allowed_schedulers(spec, facts)
    if request.scheduler is None:
        return default_scheduler(spec, facts)
    preset = resolve_preset(request.scheduler)
    if preset not in allowed:
        found = f"scheduler: found {shown(request.scheduler)}, {spec.id} allows {', '.join(allowed)}"
        raise InvalidRequest(found, "scheduler", ErrorCode.UNSUPPORTED_VALUE)
    return preset


def _steps(request: GenerateImage, spec: ImageModelSpec, facts: ModelFacts, scheduler: Preset) -> int:
    fewest, most = step_limits(scheduler)
    most = min(most, max_steps(spec, facts))
    if request.num_inference_steps is None:
        return min(max(spec.steps_for(_QUALITIES[request.quality or "auto"]), fewest), most)
    if not fewest <= request.num_inference_steps <= most:
        raise InvalidRequest(
            f"num_inference_steps: found {request.num_inference_steps}, "
            f"{spec.id} with scheduler {scheduler} allows {fewest} to {most}",
            "num_inference_steps",
        )
    return request.num_inference_steps


def _size(request: GenerateImage, spec: ImageModelSpec, facts: ModelFacts) -> ImageSize:
    if request.size is None or request.size == "auto":
        return default_size(spec, facts)
    try:
        size, most = parse_size(request.size), max_pixels(spec, facts)
    except ValueError as error:
        raise InvalidRequest(f"size: found {shown(request.size)}; {error}, or auto", "size") from None
    nearest = nearest_valid(size, most)
    if size.pixels > most:
        raise InvalidRequest(
            f"size: found {size}, {size.pixels} pixels; {spec.id} allows {most}; nearest valid size: {nearest}",
            "size",
            ErrorCode.IMAGE_TOO_LARGE,
        )
    if size != nearest:
        raise InvalidRequest(
            f"size: found {size}; both sides are multiples of {SIZE_MULTIPLE} from {MIN_SIDE} to {MAX_SIDE}; "
            f"nearest valid size: {nearest}",
            "size",
        )
    return size


def _seeds(request: GenerateImage, draw_seed: Callable[[], int]) -> tuple[int, ...]:
    count = request.n or 1
    first = min(draw_seed(), MAX_SEED - count + 1) if request.seed is None else request.seed
    if first + count - 1 > MAX_SEED:
        raise InvalidRequest(f"seed: found {first} with n {count}; seed + n - 1 must be at most {MAX_SEED}", "seed")
    return tuple(range(first, first + count))
