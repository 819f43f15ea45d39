"""A request resolved against its model: what is filled in, what is refused and in which words."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract.errors import ErrorCode
from imagegen_contract.image_model import ImageModelSpec, Inference
from imagegen_contract.image_size import MAX_SIDE, MIN_SIDE, SIZE_MULTIPLE, ImageSize
from imagegen_contract.images import MAX_SEED, GenerateImage, OutputFormat
from imagegen_contract.samplers import CLASS_NAMES, PRESETS, step_limits
from imagegen_server.generation import Generation, ModelFacts
from imagegen_server.parameters import (
    allowed_schedulers,
    check_supported,
    max_pixels,
    output_options,
    resolve_generation,
)
from imagegen_web.errors import InvalidRequest

FACTS = ModelFacts(
    native_size=ImageSize(512, 512), own_scheduler="pndm", device="cpu", dtype="float32", prompt_tokens=300
)
DRAWN = 77


def model(**inference: object) -> ImageModelSpec:
    """Return an entry with ``inference`` written as in a catalog."""
    entry = {"publisher": "acme", "family": "sd", "version": "1", "id": "acme/one", "inference": inference}
    return msgspec.convert(entry, ImageModelSpec)


def request(**fields: object) -> GenerateImage:
    """Return the body of a request."""
    return msgspec.convert({"prompt": "a cat", **fields}, GenerateImage)


def resolved(body: GenerateImage, spec: ImageModelSpec | None = None) -> Generation:
    """Resolve against a model with all defaults, unless one is given."""
    return resolve_generation(body, spec or model(), FACTS, lambda: DRAWN)


FILLED_IN: dict[str, tuple[dict[str, object], dict[str, object], dict[str, object]]] = {
    "everything left out comes from the entry and the weights": (
        {},
        {},
        {
            "model_id": "acme/one",
            "prompt": "a cat",
            "negative_prompt": None,
            "size": ImageSize(512, 512),
            "steps": 30,
            "guidance_scale": 7.5,
            "scheduler": "pndm",
            "seeds": (DRAWN,),
        },
    ),
    "the entry stands above the weights": (
        {},
        {"size": "256x128", "scheduler": "heun"},
        {"size": ImageSize(256, 128), "scheduler": "heun"},
    ),
    "size auto is the model's": ({"size": "auto"}, {"size": "256x256"}, {"size": ImageSize(256, 256)}),
    "the native size is no default where the entry allows less": (
        {},
        {"maxPixels": 65536},
        {"size": ImageSize(256, 256)},
    ),
    "the weights' own sampler is no default where the entry leaves it out": (
        {},
        {"schedulers": ["ddim", "heun"]},
        {"scheduler": "ddim"},
    ),
    "the entry's negative prompt is not used without guidance": (
        {"guidance_scale": 1},
        {"negativePrompt": "blurry"},
        {"negative_prompt": None},
    ),
    "a size is width first": ({"size": "128x256"}, {}, {"size": ImageSize(width=128, height=256)}),
    "quality picks the steps of the entry": (
        {"quality": "high"},
        {"quality": {"low": 1, "medium": 2, "high": 9}},
        {"steps": 9},
    ),
    "quality standard means medium and hd means high": ({"quality": "hd"}, {"steps": 10}, {"steps": 20}),
    "an explicit number of steps wins over quality": (
        {"quality": "high", "num_inference_steps": 3},
        {},
        {"steps": 3},
    ),
    "steps of quality stay within what the preset can": ({"scheduler": "lcm"}, {"steps": 80}, {"steps": 50}),
    "a class name of diffusers means its preset": ({"scheduler": "DDIMScheduler"}, {}, {"scheduler": "ddim"}),
    "image k has seed + k": ({"seed": 5, "n": 3}, {}, {"seeds": (5, 6, 7)}),
    "the largest seed is a seed": ({"seed": MAX_SEED}, {}, {"seeds": (MAX_SEED,)}),
    "seed zero is a seed": ({"seed": 0}, {}, {"seeds": (0,)}),
    "a prompt is trimmed and gets the entry's suffix": (
        {"prompt": "  a cat \n"},
        {"promptSuffix": ", masterpiece"},
        {"prompt": "a cat, masterpiece"},
    ),
    "the entry's negative prompt is a default": ({}, {"negativePrompt": "blurry"}, {"negative_prompt": "blurry"}),
    "an empty negative prompt is not the same as none": (
        {"negative_prompt": ""},
        {"negativePrompt": "blurry"},
        {"negative_prompt": ""},
    ),
    "guidance may be switched off": ({"guidance_scale": 0}, {}, {"guidance_scale": 0.0, "guided": False}),
    "guidance above 1 is guidance": ({"guidance_scale": 1.01}, {}, {"guided": True}),
    "guidance of 1 is none": ({"guidance_scale": 1}, {}, {"guided": False}),
}


@pytest.mark.parametrize(("body", "inference", "expected"), FILLED_IN.values(), ids=FILLED_IN)
def test_filled_in(body: dict[str, object], inference: dict[str, object], expected: dict[str, object]) -> None:
    generation = resolved(request(**body), model(**inference))
    assert {name: getattr(generation, name) for name in expected} == expected


def test_only_what_works_with_the_weights_is_allowed_and_taken_by_default() -> None:
    facts = msgspec.structs.replace(FACTS, schedulers=("ddim", "lcm"), noise_levels=100)
    spec = model(schedulers=["euler", "lcm", "ddim"])
    assert allowed_schedulers(spec, facts) == ("lcm", "ddim")
    generation = resolve_generation(request(num_inference_steps=40), spec, facts, lambda: DRAWN)
    assert (generation.scheduler, generation.steps) == ("lcm", 40), "not the weights' own, which is not allowed here"
    with pytest.raises(InvalidRequest, match='found "euler", acme/one allows lcm, ddim'):
        resolve_generation(request(scheduler="euler"), spec, facts, lambda: DRAWN)
    with pytest.raises(InvalidRequest, match="with scheduler ddim allows 1 to 99"):
        resolve_generation(request(scheduler="ddim", num_inference_steps=100), model(), facts, lambda: DRAWN)


INVALID, UNSUPPORTED, TOO_LARGE = ErrorCode.INVALID_REQUEST, ErrorCode.UNSUPPORTED_VALUE, ErrorCode.IMAGE_TOO_LARGE

REFUSED: dict[str, tuple[dict[str, object], dict[str, object], str, ErrorCode, list[str]]] = {
    "a side that is no multiple of 8": (
        {"size": "500x512"},
        {},
        "size",
        INVALID,
        ["500x512", "multiples of 8", "nearest valid size: 496x512"],
    ),
    "a side that is too short": ({"size": "8x512"}, {}, "size", INVALID, ["nearest valid size: 64x512"]),
    "more pixels than four times the native area": (
        {"size": "2048x2048"},
        {},
        "size",
        TOO_LARGE,
        ["4194304 pixels", "allows 1048576", "nearest valid size: 1024x1024"],
    ),
    "more pixels than the entry allows": (
        {"size": "512x512"},
        {"maxPixels": 65536},
        "size",
        TOO_LARGE,
        ["nearest valid size: 256x256"],
    ),
    "more steps than the entry allows": (
        {"num_inference_steps": 51},
        {"maxSteps": 50},
        "num_inference_steps",
        INVALID,
        ["found 51", "allows 1 to 50"],
    ),
    "more steps than the preset can": (
        {"num_inference_steps": 51, "scheduler": "lcm"},
        {},
        "num_inference_steps",
        INVALID,
        ["scheduler lcm", "1 to 50"],
    ),
    "more guidance than the entry allows": (
        {"guidance_scale": 30},
        {"maxGuidanceScale": 12.5},
        "guidance_scale",
        INVALID,
        ["found 30", "allows 0 to 12.5"],
    ),
    "a scheduler that nobody knows": (
        {"scheduler": "magic"},
        {},
        "scheduler",
        UNSUPPORTED,
        ['"magic"', "euler", "heun"],
    ),
    "a scheduler that the entry does not allow": (
        {"scheduler": "euler"},
        {"schedulers": ["ddim", "heun"]},
        "scheduler",
        UNSUPPORTED,
        ["allows ddim, heun"],
    ),
    "a negative prompt without guidance": (
        {"negative_prompt": "blurry", "guidance_scale": 1},
        {},
        "negative_prompt",
        UNSUPPORTED,
        ["no effect at guidance_scale 1", "more than 1"],
    ),
    "a negative prompt for a model without guidance": (
        {"negative_prompt": "blurry"},
        {"guidanceScale": 0},
        "negative_prompt",
        UNSUPPORTED,
        ["no effect at guidance_scale 0"],
    ),
    "a seed whose last image has none": (
        {"seed": MAX_SEED, "n": 2},
        {},
        "seed",
        INVALID,
        [str(MAX_SEED), "with n 2", "seed + n - 1"],
    ),
}


@pytest.mark.parametrize(("body", "inference", "param", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(
    body: dict[str, object], inference: dict[str, object], param: str, code: ErrorCode, words: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolved(request(**body), model(**inference))
    assert (refused.value.param, refused.value.code) == (param, code)
    assert [word for word in words if word not in refused.value.message] == [], refused.value.message


NOT_SUPPORTED: dict[str, tuple[dict[str, object], str, ErrorCode]] = {
    "streaming": ({"stream": True}, "stream", UNSUPPORTED),
    "previews": ({"partial_images": 1}, "partial_images", UNSUPPORTED),
    "urls": ({"response_format": "url"}, "response_format", UNSUPPORTED),
    "transparency": ({"background": "transparent"}, "background", UNSUPPORTED),
    "more images than the server allows": ({"n": 5}, "n", INVALID),
    "a prompt that is too long": ({"prompt": "x" * 32_001}, "prompt", INVALID),
}


@pytest.mark.parametrize(("body", "param", "code"), NOT_SUPPORTED.values(), ids=NOT_SUPPORTED)
def test_what_no_model_can_is_refused(body: dict[str, object], param: str, code: ErrorCode) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_supported(request(**body), max_images=4)
    assert (refused.value.param, refused.value.code) == (param, code)


SUPPORTED: dict[str, dict[str, object]] = {
    "nothing but a prompt": {},
    "the values that change nothing": {"stream": False, "partial_images": 0, "background": "opaque"},
    "the only format of a reply": {"response_format": "b64_json"},
    "as many images as the server allows": {"n": 4},
    "a prompt of full length with space around it": {"prompt": " " + "x" * 32_000 + " "},
}


@pytest.mark.parametrize("body", SUPPORTED.values(), ids=SUPPORTED)
def test_what_is_supported_passes(body: dict[str, object]) -> None:
    check_supported(request(**body), max_images=4)


OUTPUTS: dict[str, tuple[dict[str, object], tuple[OutputFormat, int, str | None]]] = {
    "PNG and medium quality unless asked": ({}, ("png", 100, "medium")),
    "compression is for lossy formats": ({"output_format": "webp", "output_compression": 40}, ("webp", 40, "medium")),
    "compression zero is a compression": ({"output_format": "jpeg", "output_compression": 0}, ("jpeg", 0, "medium")),
    "quality is named by OpenAI's new names": ({"quality": "standard"}, ("png", 100, "medium")),
    "no quality is told where the request gave the steps": (
        {"quality": "high", "num_inference_steps": 3},
        ("png", 100, None),
    ),
}


@pytest.mark.parametrize(("body", "expected"), OUTPUTS.values(), ids=OUTPUTS)
def test_output(body: dict[str, object], expected: tuple[object, ...]) -> None:
    output = output_options(request(**body), model())
    assert (output.output_format, output.compression, output.quality) == expected
    assert output.revised_prompt is None


def test_a_compression_of_png_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="png is lossless") as refused:
        output_options(request(output_compression=50), model())
    assert refused.value.param == "output_compression"


def test_a_prompt_that_the_entry_changed_is_told() -> None:
    assert output_options(request(), model(promptSuffix=", masterpiece")).revised_prompt == "a cat, masterpiece"


def test_the_entrys_own_sizes_may_be_asked_for_by_name() -> None:
    spec = model(size="2048x2048", sizes=["2048x2048", "4096x1024"])
    sizes = [resolved(request(**body), spec).size for body in ({}, {"size": "2048x2048"}, {"size": "4096x1024"})]
    assert sizes == [ImageSize(2048, 2048), ImageSize(2048, 2048), ImageSize(4096, 1024)]


SIDE = st.integers(1, 12_000)
REQUESTS = st.builds(
    GenerateImage,
    prompt=st.text(min_size=1, max_size=20),
    n=st.none() | st.integers(1, 10),
    size=st.none() | st.just("auto") | st.builds("{}x{}".format, SIDE, SIDE),
    quality=st.none() | st.sampled_from(["auto", "low", "medium", "high", "standard", "hd"]),
    negative_prompt=st.none() | st.text(max_size=20),
    seed=st.none() | st.integers(0, MAX_SEED),
    num_inference_steps=st.none() | st.integers(1, 999),
    guidance_scale=st.none() | st.floats(0, 50),
    scheduler=st.none() | st.sampled_from([*PRESETS, *CLASS_NAMES]) | st.text(min_size=1, max_size=9),
)
INFERENCES = st.builds(
    Inference,
    steps=st.integers(1, 20),
    max_steps=st.integers(20, 999),
    guidance_scale=st.floats(0, 5),
    max_guidance_scale=st.floats(5, 50),
    size=st.none() | st.just("64x128"),
    max_pixels=st.none() | st.integers(64 * 128, 2**22),
    schedulers=st.lists(st.sampled_from(PRESETS), unique=True).map(tuple),
    negative_prompt=st.text(max_size=5),
    prompt_suffix=st.text(max_size=5),
)
FACTS_OF_WEIGHTS = st.builds(
    ModelFacts,
    native_size=st.sampled_from([ImageSize(64, 64), ImageSize(512, 512), ImageSize(1024, 768)]),
    own_scheduler=st.none() | st.sampled_from(PRESETS),
    device=st.just("cpu"),
    dtype=st.just("float32"),
    prompt_tokens=st.just(300),
)


@given(REQUESTS, INFERENCES, FACTS_OF_WEIGHTS, st.integers(0, MAX_SEED))
def test_what_is_resolved_is_within_all_limits(
    body: GenerateImage, inference: Inference, facts: ModelFacts, drawn: int
) -> None:
    spec = ImageModelSpec(publisher="acme", family="sd", version="1", id="acme/one", inference=inference)
    try:
        generation = resolve_generation(body, spec, facts, lambda: drawn)
    except InvalidRequest as error:
        refused = error
    else:
        check_within_limits(generation, body, spec, facts)
        return
    assert refused.param in {"size", "num_inference_steps", "guidance_scale", "scheduler", "negative_prompt", "seed"}
    assert getattr(body, refused.param) is not None, "refused for what was not asked"


def check_within_limits(generation: Generation, body: GenerateImage, spec: ImageModelSpec, facts: ModelFacts) -> None:
    assert generation.size.pixels <= max_pixels(spec, facts)
    assert all(
        MIN_SIDE <= side <= MAX_SIDE and side % SIZE_MULTIPLE == 0
        for side in (generation.size.width, generation.size.height)
    )
    fewest, most = step_limits(generation.scheduler)
    assert fewest <= generation.steps <= min(most, spec.inference.max_steps)
    assert 0 <= generation.guidance_scale <= spec.inference.max_guidance_scale
    assert len(generation.seeds) == (body.n or 1)
    assert generation.seeds == tuple(range(generation.seeds[0], generation.seeds[0] + len(generation.seeds)))
    assert generation.seeds[0] >= 0
    assert generation.seeds[-1] <= MAX_SEED
    assert generation.seeds[0] == body.seed or body.seed is None
    assert generation.scheduler in PRESETS
    if body.scheduler is not None:
        assert generation.scheduler in allowed_schedulers(spec)


def test_a_drawn_seed_leaves_room_for_all_images() -> None:
    generation = resolve_generation(request(n=3), model(), FACTS, lambda: MAX_SEED)
    assert generation.seeds == (MAX_SEED - 2, MAX_SEED - 1, MAX_SEED)


def test_every_format_of_the_api_has_its_output_options() -> None:
    formats = [output_options(request(output_format=each), model()).output_format for each in get_args(OutputFormat)]
    assert formats == ["png", "webp", "jpeg"]
