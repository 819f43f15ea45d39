"""The official openai SDK makes pictures and lists models; what comes back is what was asked for."""

import asyncio
import base64
import io
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from openai.types import Image as ImageItem
from openai.types import ImagesResponse
from PIL import Image

from answers import attempts, new_request_id
from conftest import Show
from imagegen_contract.images import MAX_SEED, GenerateImage
from server_process import ServerProcess

PROMPT = "a red circle on a blue background"
ONE_STEP = {"num_inference_steps": 1}
LATENT_PIXELS = 64


def generate(client: openai.OpenAI, **fields: Any) -> ImagesResponse:
    """Make small pictures in one step unless ``fields`` say otherwise; fields that the SDK lacks go along too."""
    return client.images.generate(prompt=PROMPT, extra_body={"size": "64x64", **ONE_STEP, **fields})


def items(reply: ImagesResponse) -> list[ImageItem]:
    assert reply.data
    return reply.data


def seeds(reply: ImagesResponse) -> list[int]:
    return [(item.model_extra or {})["seed"] for item in items(reply)]


def files(reply: ImagesResponse) -> list[bytes]:
    return [base64.b64decode(item.b64_json or "", validate=True) for item in items(reply)]


def image(file: bytes) -> Image.Image:
    with Image.open(io.BytesIO(file)) as picture:
        picture.load()
        return picture


def pixels(file: bytes) -> NDArray[np.int16]:
    return np.asarray(image(file).convert("RGB"), dtype=np.int16)


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


FORMATS = {
    "png unless asked": ({}, "PNG"),
    "png": ({"output_format": "png"}, "PNG"),
    "webp": ({"output_format": "webp"}, "WEBP"),
    "jpeg": ({"output_format": "jpeg"}, "JPEG"),
    "webp with compression": ({"output_format": "webp", "output_compression": 50}, "WEBP"),
    "jpeg with the least quality": ({"output_format": "jpeg", "output_compression": 0}, "JPEG"),
    "png with the only compression it has": ({"output_compression": 100}, "PNG"),
}
SIZES = {
    "the model's own when left out": ({"size": None}, (256, 256)),
    "the model's own for auto": ({"size": "auto"}, (256, 256)),
    "the smallest": ({"size": "64x64"}, (64, 64)),
    "width comes first": ({"size": "128x64"}, (128, 64)),
    "any multiple of 8": ({"size": "72x104"}, (72, 104)),
    "as wide as the area allows": ({"size": "2048x64"}, (2048, 64)),
}
QUALITIES = {
    "left out": (None, "medium", 8),
    "auto": ("auto", "medium", 8),
    "low": ("low", "low", 4),
    "medium": ("medium", "medium", 8),
    "high": ("high", "high", 12),
    "standard, OpenAI's older word": ("standard", "medium", 8),
    "hd, OpenAI's older word": ("hd", "high", 12),
}
EXTENSIONS = {
    "seed": {"seed": 8},
    "num_inference_steps": {"num_inference_steps": 3},
    "guidance_scale": {"guidance_scale": 9.5},
    "guidance_scale 0, which is not the default": {"guidance_scale": 0},
    "scheduler": {"scheduler": "euler_a"},
    "negative_prompt": {"negative_prompt": "circle"},
}
NO_EFFECT = {
    "nothing": {},
    "user": {"user": "somebody"},
    "safety_identifier": {"safety_identifier": "somebody"},
    "moderation": {"moderation": "low"},
    "style": {"style": "vivid"},
    "background auto": {"background": "auto"},
    "response_format b64_json": {"response_format": "b64_json"},
    "stream false": {"stream": False},
    "no partial images": {"partial_images": 0},
    "quality next to explicit steps": {"quality": "high"},
    "the model by its alias": {"model": "shapes"},
    "the model by its id": {"model": "imagegen/shapes"},
    "every field null": dict.fromkeys(set(GenerateImage.__struct_fields__) - {"prompt", "seed", "size", *ONE_STEP}),
}
MODEL_NAMES = ["imagegen/shapes", "shapes", "ImageGen/Shapes"]


@pytest.mark.parametrize(("fields", "expected"), FORMATS.values(), ids=FORMATS.keys())
def test_a_picture_decodes_in_the_format_that_was_asked(
    client: openai.OpenAI, fields: dict[str, Any], expected: str
) -> None:
    reply = generate(client, **fields)
    assert [image(file).format for file in files(reply)] == [expected]
    assert reply.output_format == expected.lower()


@pytest.mark.parametrize(("fields", "expected"), SIZES.values(), ids=SIZES.keys())
def test_a_picture_has_the_size_that_was_asked(
    client: openai.OpenAI, fields: dict[str, Any], expected: tuple[int, int]
) -> None:
    reply = generate(client, **fields)
    assert [image(file).size for file in files(reply)] == [expected]
    assert reply.size == f"{expected[0]}x{expected[1]}"


@pytest.mark.parametrize(("asked", "told", "steps"), QUALITIES.values(), ids=QUALITIES.keys())
def test_quality_is_a_number_of_steps(
    client: openai.OpenAI, server: ServerProcess, asked: str | None, told: str, steps: int
) -> None:
    def evaluations() -> int:
        return server.status()["work"]["evaluations_total"]

    before = evaluations()
    generate(client, num_inference_steps=1)
    one_step = evaluations() - before
    reply = generate(client, num_inference_steps=None, quality=asked)
    assert reply.quality == told
    assert evaluations() - before - one_step == steps * one_step


def test_quality_is_null_when_the_request_gives_the_steps(client: openai.OpenAI) -> None:
    assert generate(client, quality="high").quality is None


@pytest.mark.parametrize("fields", EXTENSIONS.values(), ids=EXTENSIONS.keys())
def test_an_extension_field_changes_the_picture(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    plain = {"seed": 7, "num_inference_steps": 2}
    assert files(generate(client, **plain)) != files(generate(client, **{**plain, **fields}))


@pytest.mark.parametrize("fields", NO_EFFECT.values(), ids=NO_EFFECT.keys())
def test_a_field_without_effect_changes_nothing(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    assert files(generate(client, seed=7)) == files(generate(client, seed=7, **fields))


def test_a_diffusers_class_name_means_the_preset(client: openai.OpenAI) -> None:
    by_name = [generate(client, seed=7, scheduler=name, num_inference_steps=2) for name in ("heun", "ddim")]
    by_class = [
        generate(client, seed=7, scheduler=name, num_inference_steps=2)
        for name in ("HeunDiscreteScheduler", "DDIMScheduler")
    ]
    assert [files(reply) for reply in by_name] == [files(reply) for reply in by_class]
    assert files(by_name[0]) != files(by_name[1])


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_compression_makes_a_file_smaller(client: openai.OpenAI, output_format: str) -> None:
    sizes = [
        len(files(generate(client, seed=7, output_format=output_format, output_compression=amount))[0])
        for amount in (10, 90)
    ]
    assert sizes[0] < sizes[1]


def test_two_requests_without_a_seed_get_two_seeds(client: openai.OpenAI) -> None:
    replies = [generate(client), generate(client)]
    (first,), (second,) = seeds(replies[0]), seeds(replies[1])
    assert first != second
    assert files(generate(client, seed=first)) == files(replies[0])


def test_the_largest_seed_is_a_seed(client: openai.OpenAI) -> None:
    assert seeds(generate(client, seed=MAX_SEED)) == [MAX_SEED]
    assert seeds(generate(client, seed=MAX_SEED - 1, n=2)) == [MAX_SEED - 1, MAX_SEED]


def test_a_reply_has_these_keys_and_no_others(client: openai.OpenAI) -> None:
    raw = client.images.with_raw_response.generate(prompt=PROMPT, extra_body={"size": "64x64", **ONE_STEP})
    body = msgspec.json.decode(raw.content)
    assert raw.headers["content-type"] == "application/json"
    assert set(body) == {"created", "data", "background", "output_format", "quality", "size", "model", "usage"}
    assert set(body["data"][0]) == {"b64_json", "seed"}, "no revised_prompt: this model's entry adds no tags"


def test_a_request_id_comes_back_and_a_new_one_is_made_without(client: openai.OpenAI) -> None:
    own = new_request_id()
    kept = client.images.generate(prompt=PROMPT, extra_headers={"x-request-id": own}, extra_body={"size": "64x64"})
    made = generate(client)
    # The SDK documents the name: https://github.com/openai/openai-python#request-ids
    assert kept._request_id == own  # pyright: ignore[reportPrivateUsage]
    assert (made._request_id or "").startswith("req_")  # pyright: ignore[reportPrivateUsage]


def test_a_success_is_asked_for_once(server: ServerProcess) -> None:
    own = new_request_id()
    with server.client(max_retries=2) as retrying:
        retrying.images.generate(prompt=PROMPT, extra_headers={"x-request-id": own}, extra_body={"size": "64x64"})
    assert attempts(server, own) == [200]


def test_the_asynchronous_client_gets_the_same_pictures(server: ServerProcess, client: openai.OpenAI) -> None:
    async def together() -> list[ImagesResponse]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as asynchronous:
            body = {"size": "64x64", **ONE_STEP}
            calls = [asynchronous.images.generate(prompt=PROMPT, extra_body={**body, "seed": k}) for k in range(3)]
            return await asyncio.gather(*calls)

    assert [files(reply) for reply in asyncio.run(together())] == [files(generate(client, seed=k)) for k in range(3)]


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_model_is_found_by_each_of_its_names(client: openai.OpenAI, name: str) -> None:
    model = client.models.retrieve(name)
    assert (model.id, model.object, model.owned_by) == ("imagegen/shapes", "model", "imagegen")
    assert generate(client, model=name).model_extra == {"model": "imagegen/shapes"}


@pytest.mark.acceptance
def test_n_pictures_are_n_seeds_each_the_same_as_alone(client: openai.OpenAI, show: Show) -> None:
    together = generate(client, n=4, seed=42, num_inference_steps=4)
    alone = [generate(client, seed=seed, num_inference_steps=4) for seed in range(42, 46)]
    assert seeds(together) == [42, 43, 44, 45] == [seed for reply in alone for seed in seeds(reply)]
    pairs = list(zip(files(together), [files(reply)[0] for reply in alone], strict=True))
    worst = max(int(np.abs(pixels(one) - pixels(other)).max()) for one, other in pairs)
    assert worst <= 1
    assert len(set(files(together))) == 4
    show("2 openai SDK: image k of n is the image of seed + k alone", f"n=4, largest difference {worst} of 255")


@pytest.mark.acceptance
def test_the_same_seed_is_the_same_file(client: openai.OpenAI, show: Show) -> None:
    first, second = (generate(client, seed=5, size="128x64", num_inference_steps=4) for _ in range(2))
    assert files(first) == files(second)
    show("2 openai SDK: the same seed gives the same picture", f"{len(files(first)[0])} bytes, all equal")


@pytest.mark.acceptance
def test_formats_and_sizes_are_those_asked(client: openai.OpenAI, show: Show) -> None:
    seen: list[str] = []
    for output_format in ("png", "webp", "jpeg"):
        for size in ("64x64", "128x64", "auto"):
            reply = generate(client, n=2, size=size, output_format=output_format)
            pictures = [image(file) for file in files(reply)]
            wanted = (256, 256) if size == "auto" else tuple(map(int, size.split("x")))
            assert [(picture.format, picture.size) for picture in pictures] == [(output_format.upper(), wanted)] * 2
            seen.append(f"{output_format} {size}")
    show("2 openai SDK: n, size and format as asked", f"{len(seen)} combinations, 2 pictures each, decoded by Pillow")


@pytest.mark.acceptance
def test_auto_is_resolved_and_usage_adds_up(client: openai.OpenAI, show: Show) -> None:
    reply = client.images.generate(prompt="a red circle", n=2, size="auto", quality="auto", background="auto")
    assert (reply.size, reply.quality, reply.background, reply.output_format) == ("256x256", "medium", "opaque", "png")
    usage = reply.usage
    assert usage
    assert usage.input_tokens_details.model_dump() == {"text_tokens": 3, "image_tokens": 0}
    assert (usage.input_tokens, usage.output_tokens) == (3, 2 * 256 * 256 // LATENT_PIXELS)
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    extra = usage.model_extra or {}
    assert extra["gpu_seconds"] > 0
    assert extra["queue_seconds"] >= 0
    assert [item.revised_prompt for item in items(reply)] == [None, None]
    show("2 openai SDK: auto is resolved", f"{reply.size} {reply.quality}, {usage.total_tokens} tokens")


@pytest.mark.acceptance
def test_models_are_listed_and_retrieved_with_a_slash(client: openai.OpenAI, show: Show) -> None:
    listed = client.models.list()
    ids = [model.id for model in listed]
    assert {"imagegen/shapes", "stabilityai/sdxl-turbo", "CompVis/stable-diffusion-v1-4"} <= set(ids)
    assert [client.models.retrieve(model_id).id for model_id in ids] == ids
    short = (listed.model_extra or {})["models"]
    assert [entry["id"] for entry in short] == ids
    assert all(set(entry) == {"publisher", "family", "version", "id"} for entry in short)
    shapes = client.models.retrieve("imagegen/shapes").model_extra or {}
    assert (shapes["state"], shapes["size"], shapes["limits"]["max_pixels"]) == ("ready", "256x256", 262_144)
    show("2 openai SDK: models.list and models.retrieve", f"{len(ids)} models, each found by its id with a slash")
