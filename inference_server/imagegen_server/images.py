"""The main job: a decoded request to the bytes of its reply.

Resolve the model, lease it, fill in its defaults, queue the work, encode the pictures in a worker thread.
"""

import asyncio
import importlib
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import msgspec

from imagegen_contract.errors import ErrorCode
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.images import (
    MAX_SEED,
    GenerateImage,
    ImageData,
    ImagesReply,
    InputTokensDetails,
    Usage,
    latent_tokens,
)
from imagegen_contract.samplers import evaluations
from imagegen_server.engine import Engine
from imagegen_server.generation import Generation, Pictures
from imagegen_server.models import ModelStore
from imagegen_server.parameters import (
    OutputOptions,
    check_entry,
    check_supported,
    output_options,
    resolve_generation,
)
from imagegen_server.slots import LoadedModel
from imagegen_web.errors import InvalidRequest


class ImageLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Most pictures of one request, and seconds that one waits for its model to be loaded."""

    images: int
    load_wait: float


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What was done for a request. ``revision`` is the commit of the weights, "" where there is none."""

    generation: Generation
    text_tokens: int
    pictures: Pictures
    revision: str


class Images:
    """POST /v1/images/generations without the HTTP around it."""

    def __init__(self, models: ModelStore, engine: Engine, limits: ImageLimits, *, png_metadata: bool) -> None:
        self._models = models
        self._engine = engine
        self._limits = limits
        self._png_metadata = png_metadata
        # One thread: with more encoders than idle cores the event loop would wait for a core.
        self._encoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")

    async def generate(self, request: GenerateImage, model_name: str, timeout: float) -> tuple[bytes, float]:
        """Return the JSON reply and the device seconds that it took; raise ApiError.

        Cancelling this call stops the work within one denoising step.
        """
        check_supported(request, self._limits.images)
        spec = self._models.find(model_name)
        check_entry(request, spec)
        output = output_options(request, spec)
        work = await self._denoised(request, spec, timeout)
        text = self._metadata(work.generation, work.revision or spec.revision) if self._png_metadata else {}
        reply = _reply(work, output)
        loop = asyncio.get_running_loop()
        body = await loop.run_in_executor(self._encoder, _encode, reply, work.pictures, output, text)
        return body, work.pictures.device_seconds

    async def _denoised(self, request: GenerateImage, spec: ImageModelSpec, timeout: float) -> Work:
        """Make the pictures; a method of its own, so that nothing here names the model once its lease is over."""
        started = time.monotonic()
        patience = min(self._limits.load_wait, timeout)
        async with self._models.lease(spec, patience) as model:
            generation = resolve_generation(request, spec, model.facts, lambda: secrets.randbelow(MAX_SEED + 1))
            tokens = await asyncio.to_thread(_count_tokens, model, generation)
            calls = evaluations(generation.scheduler, generation.steps)
            waited = time.monotonic() - started
            pictures = await self._engine.generate(model.pipeline, generation, calls, timeout, waited)
            return Work(generation=generation, text_tokens=tokens, pictures=pictures, revision=model.revision)

    def _metadata(self, generation: Generation, revision: str) -> dict[str, str]:
        """Return how the picture was made, without the prompt; the seed of each picture is added to it."""
        return {
            "model": generation.model_id,
            "revision": revision,
            "steps": str(generation.steps),
            "guidance_scale": f"{generation.guidance_scale:g}",
            "size": str(generation.size),
            "scheduler": generation.scheduler,
            "software": f"imagegen {metadata.version('imagegen')}",
        }


def _count_tokens(model: LoadedModel, generation: Generation) -> int:
    """Return the text tokens of prompt and negative prompt; raise InvalidRequest when one does not fit."""
    total = 0
    for param, text in (("prompt", generation.prompt), ("negative_prompt", generation.negative_prompt or "")):
        count = model.pipeline.count_tokens(text)
        if count > model.facts.prompt_tokens:
            raise InvalidRequest(
                f"{param}: found {count} tokens, {generation.model_id} allows {model.facts.prompt_tokens}",
                param,
                ErrorCode.PROMPT_TOO_LONG,
            )
        total += count
    return total


def _reply(work: Work, output: OutputOptions) -> ImagesReply:
    """Return the reply without its pictures."""
    generation, pictures, text_tokens = work.generation, work.pictures, work.text_tokens
    output_tokens = latent_tokens(generation.size) * len(generation.seeds)
    return ImagesReply(
        created=int(time.time()),
        data=tuple(
            ImageData(b64_json="", seed=seed, revised_prompt=output.revised_prompt) for seed in generation.seeds
        ),
        output_format=output.output_format,
        quality=output.quality,
        size=str(generation.size),
        model=generation.model_id,
        usage=Usage(
            input_tokens=text_tokens,
            input_tokens_details=InputTokensDetails(text_tokens=text_tokens),
            output_tokens=output_tokens,
            total_tokens=text_tokens + output_tokens,
            gpu_seconds=round(pictures.device_seconds, 4),
            queue_seconds=round(pictures.queue_seconds, 4),
        ),
    )


def _encode(reply: ImagesReply, pictures: Pictures, output: OutputOptions, text: dict[str, str]) -> bytes:
    # Imported here, in a worker thread: numpy and Pillow would double the time until the server listens.
    encoding = importlib.import_module("imagegen_server.encoding")
    files = [
        encoding.encode_image(
            image, output.output_format, output.compression, {**text, "seed": str(data.seed)} if text else {}
        )
        for image, data in zip(pictures.images, reply.data, strict=True)
    ]
    return encoding.reply_bytes(reply, files)
