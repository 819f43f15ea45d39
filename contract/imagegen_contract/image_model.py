"""The ImageModel resource: what one model is and how it is served.

An entry of models_info.json is exactly an ImageModel spec, so this file is also the schema of the catalog.
Field names are camelCase where people write them.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Annotated

import msgspec
from msgspec import Meta

from imagegen_contract.image_size import (
    MAX_SIDE,
    MIN_SIDE,
    SIZE_MULTIPLE,
    SIZE_PATTERN,
    ImageSize,
    nearest_valid,
    parse_size,
)
from imagegen_contract.samplers import Preset
from imagegen_contract.workload import (
    OBJECT_NAME,
    Cache,
    ExtendedResourceName,
    Pod,
    Rollout,
    SecretKeyRef,
    repeated,
)

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?\Z"
_PATH_SEGMENT = r"([^./\n][^/\n]*|\.[^./\n][^/\n]*|\.\.[^/\n]+)"
"""A name in a folder that does not lead out of it."""
SOURCE_PATTERN = rf"^((hf|file|builtin)://.+|pvc://{OBJECT_NAME}(/{_PATH_SEGMENT})*)\Z"
CONFIG_PATTERN = r"^(hf|file)://.+\Z"

Name = Annotated[str, Meta(min_length=1, max_length=63)]
ModelName = Annotated[
    str,
    Meta(
        pattern=ID_PATTERN,
        max_length=128,
        extra={"allowed": "one or two names of letters, digits, . _ - with a / between, such as acme/one"},
    ),
]
SizeText = Annotated[str, Meta(pattern=SIZE_PATTERN, max_length=11, extra={"allowed": "WIDTHxHEIGHT in pixels"})]
Steps = Annotated[int, Meta(ge=1, le=999)]


class Quality(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Denoising steps behind each value of the request's ``quality``."""

    low: Annotated[Steps, Meta(description="Denoising steps of quality low")]
    medium: Annotated[Steps, Meta(description="Denoising steps of quality medium")]
    high: Annotated[Steps, Meta(description="Denoising steps of quality high")]


class Inference(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How the model makes pictures unless the request says otherwise, and the limits of what it may be asked."""

    steps: Annotated[Steps, Meta(description="Denoising steps")] = 30
    max_steps: Annotated[Steps, Meta(description="Most denoising steps a request may ask for")] = 100
    guidance_scale: Annotated[
        float, Meta(ge=0, le=50, description="Classifier-free guidance; 1 or less switches it off")
    ] = 7.5
    max_guidance_scale: Annotated[float, Meta(ge=0, le=50, description="Most guidance a request may ask for")] = 30.0
    size: Annotated[SizeText | None, Meta(description="Default size; the model's native size when left out")] = None
    sizes: Annotated[
        tuple[SizeText, ...],
        Meta(
            max_length=32,
            description="Sizes that the model is good at, shown to clients",
            extra_json_schema={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()
    max_pixels: Annotated[
        Annotated[int, Meta(ge=4096, le=67108864)] | None,
        Meta(description="Largest area of a picture; four times the native area when left out"),
    ] = None
    scheduler: Annotated[Preset | None, Meta(description="Default sampler; the model's own when left out")] = None
    schedulers: Annotated[
        tuple[Preset, ...],
        Meta(
            max_length=32,
            description="Samplers that a request may name; all when left out",
            extra_json_schema={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()
    quality: Annotated[
        Quality | None, Meta(description="Steps for low, medium and high; half, once and twice `steps` when left out")
    ] = None
    negative_prompt: Annotated[
        str, Meta(max_length=4000, description="Used where the request has none and guidance is on")
    ] = ""
    prompt_suffix: Annotated[
        str, Meta(max_length=1000, description="Appended to every prompt: the quality tags some models were taught")
    ] = ""
    safety_checker: Annotated[
        bool, Meta(description="Use the safety checker that ships with the model; a flagged picture is never returned")
    ] = True


class Gpu(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The GPUs of one pod."""

    count: Annotated[int, Meta(ge=0, le=16, description="GPUs for each pod; 0 serves on the CPU")] = 1
    resource_name: Annotated[
        ExtendedResourceName, Meta(description="Extended resource name of the GPU, MIG names too")
    ] = "nvidia.com/gpu"


class ImageModelSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One model. Raises ValueError (a ValidationError when decoded) where fields contradict each other."""

    publisher: Annotated[Name, Meta(description="Who published the weights")]
    family: Annotated[Name, Meta(description="Model family, such as sdxl")]
    version: Annotated[Name, Meta(description="Version within the family")]
    id: Annotated[ModelName, Meta(description="The name that clients use")]
    aliases: Annotated[
        tuple[ModelName, ...],
        Meta(
            max_length=16,
            description="Other names of the model",
            extra_json_schema={"x-kubernetes-list-type": "set"},
        ),
    ] = ()
    description: Annotated[str, Meta(max_length=1000, description="What the model is, for people")] = ""
    license: Annotated[str, Meta(max_length=200, description="SPDX identifier or the name of the licence")] = ""
    source: Annotated[
        Annotated[
            str,
            Meta(
                pattern=SOURCE_PATTERN,
                max_length=1000,
                extra={"allowed": "hf://owner/name, file:///path, builtin://name or, in Kubernetes, pvc://claim/path"},
            ),
        ]
        | None,
        Meta(description="Where the weights are; the Hub repository of the same id when left out"),
    ] = None
    revision: Annotated[str, Meta(max_length=200, description="Commit, tag or branch of a Hub repository")] = ""
    config: Annotated[
        Annotated[
            str, Meta(pattern=CONFIG_PATTERN, max_length=1000, extra={"allowed": "hf://owner/name or file:///path"})
        ]
        | None,
        Meta(
            description="Where a single-file checkpoint's configuration and tokenizer are; the usual repository of its "
            "family when left out"
        ),
    ] = None
    inference: Annotated[
        Inference, Meta(description="How pictures are made unless a request says otherwise, and what it may ask for")
    ] = Inference()
    replicas: Annotated[int, Meta(ge=0, le=1000, description="Pods of this model (Kubernetes)")] = 1
    gpu: Annotated[Gpu, Meta(description="GPUs of each pod (Kubernetes)")] = Gpu()
    cache: Annotated[
        Cache | None, Meta(description="Where downloads are kept (Kubernetes); they go with the pod when left out")
    ] = None
    rollout: Annotated[Rollout, Meta(description="How pods are replaced (Kubernetes)")] = Rollout()
    hub_token_secret_ref: Annotated[
        SecretKeyRef | None, Meta(description="Secret with the Hub token of a gated or private model (Kubernetes)")
    ] = None
    pod: Annotated[Pod, Meta(description="Overrides of the pods (Kubernetes)")] = Pod()

    def __post_init__(self) -> None:
        """Check what no single field can say."""
        problems = (_name_problems(self), _step_problems(self.inference), _size_problems(self.inference))
        for problem in (*chain.from_iterable(problems), *_workload_problems(self)):
            raise ValueError(problem)

    @property
    def weights(self) -> str:
        """The source of the weights: the Hub repository of the same id unless the entry says otherwise."""
        return self.source or f"hf://{self.id}"

    def same_weights(self, other: "ImageModelSpec") -> bool:
        """Return whether what is loaded for this entry serves the other one too."""

        def identity(spec: ImageModelSpec) -> tuple[object, ...]:
            return spec.weights, spec.revision, spec.config, spec.inference.safety_checker

        return identity(self) == identity(other)

    @property
    def default_size(self) -> ImageSize | None:
        """The entry's default size, None when it leaves that to the weights."""
        return parse_size(self.inference.size) if self.inference.size else None

    def steps_for(self, quality: str) -> int:
        """Return the denoising steps of ``quality`` (low, medium or high)."""
        inference = self.inference
        chosen = inference.quality or Quality(
            low=max(1, inference.steps // 2),
            medium=inference.steps,
            high=min(inference.steps * 2, inference.max_steps),
        )
        return {"low": chosen.low, "medium": chosen.medium, "high": chosen.high}[quality]


def _name_problems(spec: ImageModelSpec) -> Iterator[str]:
    if spec.id in spec.aliases:
        yield "aliases holds the id itself"
    if twice := repeated(spec.aliases):
        yield f"aliases holds {twice} more than once"


def _step_problems(inference: Inference) -> Iterator[str]:
    if inference.steps > inference.max_steps:
        yield f"inference.steps is {inference.steps}, above inference.maxSteps {inference.max_steps}"
    if inference.quality:
        highest = max(inference.quality.low, inference.quality.medium, inference.quality.high)
        if highest > inference.max_steps:
            yield f"inference.quality goes up to {highest} steps, above inference.maxSteps {inference.max_steps}"
    if inference.guidance_scale > inference.max_guidance_scale:
        yield "inference.guidanceScale is above inference.maxGuidanceScale"
    if inference.scheduler and inference.schedulers and inference.scheduler not in inference.schedulers:
        yield f"inference.scheduler {inference.scheduler} is not among inference.schedulers"


def _size_problems(inference: Inference) -> Iterator[str]:
    for field, text in (("size", inference.size), *(("sizes", text) for text in inference.sizes)):
        if text is None:
            continue
        size = parse_size(text)
        nearest = nearest_valid(size, inference.max_pixels or MAX_SIDE * MAX_SIDE)
        if size != nearest:
            yield (
                f"inference.{field} {size} is not valid: sides are multiples of {SIZE_MULTIPLE} from {MIN_SIDE} to "
                f"{MAX_SIDE}, the area at most inference.maxPixels; nearest valid size: {nearest}"
            )


def _workload_problems(spec: ImageModelSpec) -> Iterator[str]:
    cache = spec.cache
    if cache and cache.size is not None and cache.access_mode != "ReadWriteMany":
        if spec.replicas > 1:
            yield f"cache.accessMode {cache.access_mode} serves one pod; {spec.replicas} replicas need ReadWriteMany"
        if spec.rollout.max_surge:
            yield f"cache.accessMode {cache.access_mode} serves one pod; rollout.maxSurge needs ReadWriteMany"
    resources = spec.pod.resources
    if resources and spec.gpu.resource_name in {**resources.limits, **resources.requests}:
        yield f"pod.resources names {spec.gpu.resource_name}; GPUs are asked for by gpu.count"


def last_segment(model_id: str) -> str:
    """Return what follows the last slash of an id."""
    return re.split("/", model_id)[-1]
