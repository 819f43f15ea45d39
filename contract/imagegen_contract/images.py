"""HTTP messages of the Images API: the generation request, its reply, and the list of models.

Fields without a default are required. ``None`` in a request means the same as leaving the field out, as in OpenAI's
API. Field order in the replies is the order on the wire.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import ImageSize
from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_status import DownloadProgress

MAX_PROMPT_CHARACTERS = 32_000
MAX_SEED = 2**53 - 1
"""The largest integer that JavaScript, and so every JSON client, keeps exactly."""

OutputFormat = Literal["png", "webp", "jpeg"]
ResolvedQuality = Literal["low", "medium", "high"]

ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
"""An id, an alias, or the last segment of an id."""

_NOT_BLANK = r"\S"


class GenerateImage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/images/generations: OpenAI's fields, and the field's usual names for the rest."""

    prompt: Annotated[
        str,
        Meta(
            pattern=_NOT_BLANK,
            extra={"allowed": "must not be empty"},
            description="What to paint: 1 to 32000 characters after trimming. Longer than the text encoder's window "
            "(75 tokens) it is encoded in up to 4 windows; it is never cut silently.",
        ),
    ]
    model: Annotated[
        ModelName | None,
        Meta(description="Id, alias or unambiguous last segment of an id; the default model when left out"),
    ] = None
    n: Annotated[
        Annotated[int, Meta(ge=1, le=10)] | None, Meta(description="Number of images; image k uses seed + k")
    ] = None
    size: Annotated[
        Annotated[
            str,
            Meta(
                pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$",
                extra={"allowed": "WIDTHxHEIGHT in pixels, such as 512x512, or auto"},
            ),
        ]
        | None,
        Meta(description="WIDTHxHEIGHT, multiples of 8, or auto for the model's own size"),
    ] = None
    response_format: Annotated[Literal["b64_json", "url"] | None, Meta(description="Only b64_json; url is refused")] = (
        None
    )
    output_format: Annotated[OutputFormat | None, Meta(description="png (default), webp or jpeg")] = None
    output_compression: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None, Meta(description="Quality of webp and jpeg; 100 by default")
    ] = None
    quality: Annotated[
        Literal["auto", "low", "medium", "high", "standard", "hd"] | None,
        Meta(description="Step counts given by the model's entry; an explicit num_inference_steps wins"),
    ] = None
    background: Annotated[
        Literal["auto", "opaque", "transparent"] | None, Meta(description="auto or opaque; transparent is refused")
    ] = None
    stream: Annotated[bool | None, Meta(description="Not supported yet: true is refused")] = None
    partial_images: Annotated[
        Annotated[int, Meta(ge=0, le=3)] | None, Meta(description="Needs stream, so anything but 0 is refused")
    ] = None
    user: Annotated[Annotated[str, Meta(max_length=512)] | None, Meta(description="Accepted; has no effect")] = None
    safety_identifier: Annotated[
        Annotated[str, Meta(max_length=512)] | None, Meta(description="Accepted; has no effect")
    ] = None
    moderation: Annotated[Literal["auto", "low"] | None, Meta(description="Accepted; has no effect")] = None
    style: Annotated[Literal["vivid", "natural"] | None, Meta(description="Accepted; has no effect")] = None
    negative_prompt: Annotated[
        Annotated[str, Meta(max_length=MAX_PROMPT_CHARACTERS)] | None,
        Meta(description="What to avoid; needs guidance_scale above 1"),
    ] = None
    seed: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_SEED)] | None, Meta(description="Random when left out; returned in the reply")
    ] = None
    num_inference_steps: Annotated[
        Annotated[int, Meta(ge=1, le=999)] | None, Meta(description="Denoising steps, within the model's limits")
    ] = None
    guidance_scale: Annotated[
        Annotated[float, Meta(ge=0, le=50)] | None,
        Meta(description="Classifier-free guidance; 1 or less switches it off"),
    ] = None
    scheduler: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        Meta(description="A preset that the model allows (see /v1/models), or its diffusers class name"),
    ] = None


class InputTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's split of the input tokens; pictures are never an input here."""

    text_tokens: int
    image_tokens: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What the request cost: OpenAI's token counts, and ours in seconds."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    total_tokens: int
    gpu_seconds: float
    queue_seconds: float


class ImageData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One picture of a reply. ``revised_prompt`` is there when the model's entry added tags to the prompt."""

    b64_json: str
    seed: int
    revised_prompt: str | None = None


class ImagesReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply: resolved values, never ``auto``. ``quality`` is null when the request gave the steps itself."""

    created: int
    data: tuple[ImageData, ...]
    background: Literal["opaque"] = "opaque"
    output_format: OutputFormat
    quality: ResolvedQuality | None
    size: str
    model: str
    usage: Usage


class ModelLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a request may ask of a model."""

    max_pixels: int
    max_steps: int
    max_guidance_scale: float
    size_multiple: int


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One model as /v1/models shows it: OpenAI's keys, the catalog's, and what this server knows of it.

    ``size`` is what ``auto`` means, ``native_size`` the size the weights were trained at; null until loaded. ``stage``
    and ``progress`` say what is being done with the model now, ``error`` and ``reason`` why it failed to load.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    publisher: str
    family: str
    version: str
    aliases: tuple[str, ...]
    description: str
    license: str
    state: str
    device: str | None
    dtype: str | None
    size: str | None
    native_size: str | None
    sizes: tuple[str, ...]
    steps: int
    guidance_scale: float
    scheduler: str | None
    schedulers: tuple[str, ...]
    limits: ModelLimits | None
    stage: str | None
    progress: DownloadProgress | None
    revision: str | None
    memory_bytes: int | None
    reason: LoadFailure | None
    error: str | None


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The short form of a model: the identity columns of the catalog."""

    publisher: str
    family: str
    version: str
    id: str


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """Body of GET /v1/models: ``data`` for OpenAI's clients, ``models`` as the catalog lists them."""

    object: Literal["list"] = "list"
    data: tuple[ModelInfo, ...]
    models: tuple[ModelEntry, ...]


def model_entry(spec: ImageModelSpec) -> ModelEntry:
    """Return the short form of ``spec``."""
    return ModelEntry(publisher=spec.publisher, family=spec.family, version=spec.version, id=spec.id)


def latent_tokens(size: ImageSize) -> int:
    """Return the denoised latent positions of one picture: one for each 8x8 block of pixels."""
    return size.pixels // 64
