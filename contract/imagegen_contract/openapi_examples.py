"""Examples of the OpenAPI document: requests, replies, and for each error code what it means and how it reads.

Replies are built from the real structs, so an example that does not fit its schema does not even import.
"""

from typing import Any

import msgspec

from imagegen_contract.errors import ErrorCode
from imagegen_contract.image_model import ImageModelSpec, Inference
from imagegen_contract.images import (
    ImageData,
    ImagesReply,
    InputTokensDetails,
    ModelInfo,
    ModelLimits,
    ModelList,
    Usage,
    model_entry,
)
from imagegen_contract.samplers import PRESETS
from imagegen_contract.server_status import (
    Capacity,
    CatalogStatus,
    DownloadProgress,
    Memory,
    ModelState,
    ModelStatus,
    ServerStatus,
    Work,
)

REQUEST_ID = "req-6f1c2a9e"
_CREATED = 1_767_225_600
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAQAAAAEACAIAAADTED8xAAAB..."
"""How a base64 PNG begins; whole pictures would bury the document."""


class ErrorExample(msgspec.Struct, frozen=True):
    """What a code means, and one message of it. ``param`` names the field at fault."""

    meaning: str
    message: str
    param: str | None = None


ERRORS: dict[ErrorCode, ErrorExample] = {
    ErrorCode.INVALID_REQUEST: ErrorExample(
        "The body is not JSON, or a field has a wrong type or a value out of its range",
        "n: found 11; expected integer <= 10",
        "n",
    ),
    ErrorCode.UNKNOWN_PARAMETER: ErrorExample(
        "A field that this API does not have; nothing is ignored silently",
        "sed: unknown field; did you mean seed?",
        "sed",
    ),
    ErrorCode.UNSUPPORTED_VALUE: ErrorExample(
        "A value that is known and cannot be honoured, by this server or by this model",
        "response_format url is not supported; use b64_json",
        "response_format",
    ),
    ErrorCode.PROMPT_TOO_LONG: ErrorExample(
        "More tokens than the text encoder can take in its four windows; a prompt is never cut",
        "prompt: found 341 tokens, the model reads at most 300",
        "prompt",
    ),
    ErrorCode.IMAGE_TOO_LARGE: ErrorExample(
        "More pixels than this model, or this device, can make",
        "size: found 4096x4096, 16777216 pixels; imagegen/shapes allows 262144; nearest valid size: 512x512",
        "size",
    ),
    ErrorCode.CONTENT_POLICY_VIOLATION: ErrorExample(
        "The model's own safety checker flagged a picture, which is never returned",
        "The model's safety checker flagged a picture of this request; try another prompt or seed.",
        "prompt",
    ),
    ErrorCode.INVALID_API_KEY: ErrorExample(
        "No API key, or a wrong one, where keys are asked for",
        "The API key is missing or wrong; send it as 'Authorization: Bearer KEY'.",
    ),
    ErrorCode.MODEL_NOT_FOUND: ErrorExample(
        "No model has this name",
        "No model is named 'sdxl-trubo'. Near names: stabilityai/sdxl-turbo.",
        "model",
    ),
    ErrorCode.NOT_FOUND: ErrorExample("No route has this path", "There is nothing at /v1/image/generations."),
    ErrorCode.METHOD_NOT_ALLOWED: ErrorExample(
        "The path is right, the method is not", "GET is not allowed here; allowed: POST."
    ),
    ErrorCode.REQUEST_TIMEOUT: ErrorExample(
        "The body did not arrive in time", "The body did not arrive within 30 seconds."
    ),
    ErrorCode.BODY_TOO_LARGE: ErrorExample(
        "The body is larger than the server accepts", "The body is larger than 1048576 bytes."
    ),
    ErrorCode.HEADERS_TOO_LARGE: ErrorExample(
        "More bytes of headers than are taken", "more than 65536 bytes of headers"
    ),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: ErrorExample(
        "The body is not application/json, or it is compressed",
        'content-type: found "text/plain", allowed is application/json',
    ),
    ErrorCode.RATE_LIMIT_EXCEEDED: ErrorExample(
        "This API key sends more than it may, where keys have limits; Retry-After says when it may again",
        "this API key may send 60 requests a minute",
    ),
    ErrorCode.QUEUE_FULL: ErrorExample(
        "As much work waits as may wait; Retry-After says when there will be room",
        "64 requests are waiting, which is all that may wait; try again in 12 s.",
    ),
    ErrorCode.MODEL_LOADING: ErrorExample(
        "The model is being loaded; Retry-After says when to come back",
        "imagegen/shapes is loading: reading weights.",
        "model",
    ),
    ErrorCode.MODEL_UNAVAILABLE: ErrorExample(
        "The model is not loaded and nothing is loading it",
        "stabilityai/sdxl-turbo is not loaded on this server.",
        "model",
    ),
    ErrorCode.MODEL_FAILED: ErrorExample(
        "The model could not be loaded; the message says why",
        "stabilityai/sdxl-turbo failed to load: the weights need 7.1 GB, the GPU has 4.0 GB free.",
        "model",
    ),
    ErrorCode.DRAINING: ErrorExample(
        "The server is shutting down and takes no new work", "This server is shutting down; try again."
    ),
    ErrorCode.OUT_OF_MEMORY: ErrorExample(
        "The device has not enough memory for this request, even alone",
        "The device has not enough memory for this request; ask for a smaller size.",
    ),
    ErrorCode.DEADLINE_EXCEEDED: ErrorExample(
        "The request took longer than it may", "The request was not done after 600 seconds."
    ),
    ErrorCode.NON_FINITE_OUTPUT: ErrorExample(
        "The model computed NaN or infinity, of which no picture can be made",
        "The model computed values that are no numbers; try another scheduler, more steps or less guidance.",
    ),
    ErrorCode.UPSTREAM_FAILED: ErrorExample(
        "The pods that worked on the request were lost, the second one too",
        "two pods were lost while they worked on this request; the last: the connection ended",
    ),
    ErrorCode.INTERNAL_ERROR: ErrorExample(
        "A fault of the server; its log has the cause under the request id",
        f"Something went wrong in the server; its log says what under request id {REQUEST_ID}.",
    ),
}


def request_examples(model: str) -> dict[str, dict[str, Any]]:
    """Return the named examples of a generation request."""
    every_field = {
        "model": model,
        "prompt": "a blue triangle on a yellow background",
        "negative_prompt": "circle",
        "size": "256x256",
        "seed": 42,
        "num_inference_steps": 12,
        "guidance_scale": 4.0,
        "scheduler": "euler_a",
    }
    several = {"model": model, "prompt": "a green square on a black background", "n": 4, "output_format": "webp"}
    return {
        "minimal": {"summary": "A prompt is enough", "value": {"prompt": "a red circle on a white background"}},
        "extension_fields": {"summary": "Seed, steps, guidance and sampler in the request", "value": every_field},
        "several_images": {"summary": "Four pictures as WebP", "value": several | {"output_compression": 90}},
    }


def reply_example(model: str) -> object:
    """Return a reply to the first of the requests."""
    usage = Usage(
        input_tokens=9,
        input_tokens_details=InputTokensDetails(text_tokens=9),
        output_tokens=1024,
        total_tokens=1033,
        gpu_seconds=0.412,
        queue_seconds=0.003,
    )
    return msgspec.to_builtins(
        ImagesReply(
            created=_CREATED,
            data=(ImageData(b64_json=_PICTURE, seed=1_234_567),),
            output_format="png",
            quality="medium",
            size="256x256",
            model=model,
            usage=usage,
        )
    )


def models_example(model: str) -> object:
    """Return a list of one model."""
    entry = model_entry(_spec(model))
    return msgspec.to_builtins(ModelList(data=(_info(model),), models=(entry,)))


def model_example(model: str, state: ModelState = "ready") -> object:
    """Return one model as /v1/models shows it."""
    info = _info(model)
    return msgspec.to_builtins(info if state == "ready" else msgspec.structs.replace(info, state=state, **_NOT_LOADED))


def loading_example(model: str) -> object:
    """Return a model whose weights are on their way."""
    progress = DownloadProgress(
        bytes_done=2_415_919_104,
        bytes_total=6_938_078_334,
        percent=34.8,
        bytes_per_second=48_318_382.0,
        eta_seconds=93.6,
    )
    changes = {"state": "loading", "stage": "fetching weights", "progress": progress, **_NOT_LOADED}
    return msgspec.to_builtins(msgspec.structs.replace(_info(model), **changes))


def status_example(model: str, version: str) -> object:
    """Return the state of a server that is ready and idle."""
    loaded = ModelStatus(
        id=model, state="ready", device="cpu", dtype="float32", memory_bytes=14_503_612, load_seconds=1.8
    )
    return msgspec.to_builtins(
        ServerStatus(
            version=version,
            state="ready",
            uptime_seconds=86.4,
            device="cpu",
            models=(loaded,),
            memory=Memory(budget_bytes=8_589_934_592, used_bytes=14_503_612),
            catalog=CatalogStatus(file="models_info.json"),
            capacity=Capacity(running_rows=0, queued_rows=0, free_rows=8, running_requests=0, queued_requests=0),
            work=Work(
                predicted_seconds=0.0,
                device_seconds_total=12.5,
                evaluations_total=240,
                images_total=30,
                last_step_age_seconds=4.2,
            ),
        )
    )


_NOT_LOADED: dict[str, None] = dict.fromkeys(
    ("device", "dtype", "native_size", "scheduler", "limits", "memory_bytes"),
)
"""What nobody knows of a model before its weights are loaded."""


def _spec(model: str) -> ImageModelSpec:
    publisher, _, name = model.rpartition("/")
    return ImageModelSpec(
        publisher=publisher or "imagegen",
        family=name,
        version="1",
        id=model,
        license="Apache-2.0",
        inference=Inference(steps=8, guidance_scale=3.0, size="256x256", sizes=("128x128", "256x256")),
    )


def _info(model: str) -> ModelInfo:
    spec = _spec(model)
    return ModelInfo(
        id=spec.id,
        created=_CREATED,
        owned_by=spec.publisher,
        publisher=spec.publisher,
        family=spec.family,
        version=spec.version,
        aliases=spec.aliases,
        description=spec.description,
        license=spec.license,
        state="ready",
        device="cpu",
        dtype="float32",
        size=spec.inference.size,
        native_size="256x256",
        sizes=spec.inference.sizes,
        steps=spec.inference.steps,
        guidance_scale=spec.inference.guidance_scale,
        scheduler="ddim",
        schedulers=PRESETS,
        limits=ModelLimits(max_pixels=262_144, max_steps=100, max_guidance_scale=15.0, size_multiple=8),
        stage=None,
        progress=None,
        revision=None,
        memory_bytes=14_503_612,
        reason=None,
        error=None,
    )
