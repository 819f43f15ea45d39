"""Which files of a repository are wanted: by the file lists of repositories as they are on the Hub."""

import pytest

from hub_folders import SD_INDEX
from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import SourceError
from imagegen_server.sources.hub_files import Choice, choose, configuration, no_pipeline

XL_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.24.0.dev0",
    "feature_extractor": [None, None],
    "force_zeros_for_empty_prompt": True,
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def paths(text: str) -> list[str]:
    """Return the paths in ``text``, which are separated by space."""
    return text.split()


SD14 = paths("""
    .gitattributes README.md v1-variants.jpg model_index.json feature_extractor/preprocessor_config.json
    safety_checker/config.json safety_checker/model.fp16.safetensors safety_checker/model.safetensors
    safety_checker/pytorch_model.bin safety_checker/pytorch_model.fp16.bin scheduler/scheduler_config.json
    text_encoder/config.json text_encoder/model.fp16.safetensors text_encoder/model.safetensors
    text_encoder/pytorch_model.bin text_encoder/pytorch_model.fp16.bin tokenizer/merges.txt
    tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json unet/config.json
    unet/diffusion_pytorch_model.bin unet/diffusion_pytorch_model.fp16.bin
    unet/diffusion_pytorch_model.fp16.safetensors unet/diffusion_pytorch_model.safetensors
    unet/diffusion_pytorch_model.non_ema.safetensors vae/config.json vae/diffusion_pytorch_model.bin
    vae/diffusion_pytorch_model.fp16.bin vae/diffusion_pytorch_model.fp16.safetensors
    vae/diffusion_pytorch_model.safetensors
""")

XL_TEXT = paths("""
    model_index.json scheduler/scheduler_config.json text_encoder/config.json text_encoder_2/config.json
    tokenizer/merges.txt tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json
    tokenizer_2/merges.txt tokenizer_2/special_tokens_map.json tokenizer_2/tokenizer_config.json
    tokenizer_2/vocab.json unet/config.json vae/config.json
""")

TURBO = [
    *XL_TEXT,
    *paths("""
        LICENSE.md README.md image_grid_1.jpg sd_xl_turbo_1.0.safetensors sd_xl_turbo_1.0_fp16.safetensors
        text_encoder/model.fp16.safetensors text_encoder/model.safetensors text_encoder/model.onnx
        text_encoder/flax_model.msgpack text_encoder/openvino_model.bin text_encoder/openvino_model.xml
        text_encoder_2/model.fp16.safetensors text_encoder_2/model.safetensors
        unet/diffusion_pytorch_model.fp16.safetensors unet/diffusion_pytorch_model.safetensors
        unet/diffusion_flax_model.msgpack unet/onnx/config.json unet/pytorch_lora_weights.safetensors
        vae/diffusion_pytorch_model.fp16.safetensors vae/diffusion_pytorch_model.safetensors
        vae_decoder/config.json vae_decoder/model.onnx
    """),
]

ANIMAGINE = [
    *XL_TEXT,
    *paths("""
        README.md animagine-xl-3.0.safetensors animagine-xl-3.0-base.safetensors text_encoder/model.safetensors
        text_encoder_2/model.safetensors unet/diffusion_pytorch_model.safetensors
        vae/diffusion_pytorch_model.safetensors
    """),
]


def weights(choice: Choice) -> list[str]:
    """Return the chosen files with tensors."""
    return [file for file in choice.files if file.endswith(".safetensors")]


def test_half_takes_the_16_bit_files_and_nothing_else() -> None:
    choice = choose(SD14, SD_INDEX, half=True, safety_checker=True)

    assert choice.variant == "fp16"
    assert list(choice.files) == sorted(
        paths("""
            model_index.json feature_extractor/preprocessor_config.json safety_checker/config.json
            safety_checker/model.fp16.safetensors scheduler/scheduler_config.json text_encoder/config.json
            text_encoder/model.fp16.safetensors tokenizer/merges.txt tokenizer/special_tokens_map.json
            tokenizer/tokenizer_config.json tokenizer/vocab.json unet/config.json
            unet/diffusion_pytorch_model.fp16.safetensors vae/config.json
            vae/diffusion_pytorch_model.fp16.safetensors
        """)
    )


def test_without_half_the_plain_files_are_taken() -> None:
    choice = choose(SD14, SD_INDEX, half=False, safety_checker=True)

    assert choice.variant == ""
    assert weights(choice) == [
        "safety_checker/model.safetensors",
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_a_safety_checker_that_is_not_wanted_is_left_with_its_extractor() -> None:
    choice = choose(SD14, SD_INDEX, half=True, safety_checker=False)

    assert not [file for file in choice.files if file.startswith(("safety_checker/", "feature_extractor/"))]
    assert "unet/config.json" in choice.files


def test_sdxl_turbo_is_taken_without_single_files_onnx_flax_openvino_and_lora() -> None:
    choice = choose(TURBO, XL_INDEX, half=True, safety_checker=False)

    assert choice.variant == "fp16"
    assert set(choice.files) == {
        *XL_TEXT,
        "text_encoder/model.fp16.safetensors",
        "text_encoder_2/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    }


def test_a_repository_without_variants_is_taken_plain() -> None:
    choice = choose(ANIMAGINE, XL_INDEX, half=True, safety_checker=True)

    assert choice.variant == ""
    assert len(weights(choice)) == 4


def test_each_component_has_its_own_choice_of_variant() -> None:
    files = [file for file in SD14 if file != "vae/diffusion_pytorch_model.fp16.safetensors"]

    choice = choose(files, SD_INDEX, half=True, safety_checker=False)

    assert choice.variant == "fp16"
    assert weights(choice)[1:] == [
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("variant", ["bf16", "fp32", "non_ema"])
def test_other_variants_are_taken_where_there_are_no_others(variant: str, half: bool) -> None:
    plain = [file for file in SD14 if not file.endswith(("fp16.safetensors", "non_ema.safetensors"))]
    files = [file.replace(".safetensors", f".{variant}.safetensors") for file in plain]

    choice = choose(files, SD_INDEX, half=half, safety_checker=False)

    assert choice.variant == ""
    assert [file.rpartition("/")[2] for file in weights(choice)] == [
        f"model.{variant}.safetensors",
        f"diffusion_pytorch_model.{variant}.safetensors",
        f"diffusion_pytorch_model.{variant}.safetensors",
    ]


def test_16_bit_files_are_taken_where_there_are_no_others() -> None:
    files = [file for file in SD14 if file.endswith("fp16.safetensors") or not file.endswith(".safetensors")]

    choice = choose(files, SD_INDEX, half=False, safety_checker=False)

    assert choice.variant == "fp16"
    assert len(weights(choice)) == 3


@pytest.mark.parametrize(
    ("half", "names"),
    [
        (
            False,
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
        ),
        (
            True,
            [
                "model.fp16-00001-of-00002.safetensors",
                "model.fp16-00002-of-00002.safetensors",
                "model.safetensors.index.fp16.json",
            ],
        ),
        (
            True,
            [
                "model-00001-of-00002.fp16.safetensors",
                "model-00002-of-00002.fp16.safetensors",
                "model.safetensors.index.fp16.json",
            ],
        ),
    ],
    ids=["plain", "variant before the number", "variant after the number, as it was once"],
)
def test_shards_come_with_their_index(half: bool, names: list[str]) -> None:
    plain = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    shards = [f"text_encoder/{name}" for name in {*names, *plain}]
    files = [*(file for file in SD14 if not file.startswith("text_encoder/model")), *shards]

    choice = choose(files, SD_INDEX, half=half, safety_checker=False)

    found = [file.removeprefix("text_encoder/") for file in choice.files if file.startswith("text_encoder/model")]
    assert found == sorted(names)


def test_shards_that_are_not_all_there_are_none() -> None:
    shards = [
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    ]
    files = [*(file for file in SD14 if not file.startswith("unet/diffusion")), *shards]

    with pytest.raises(SourceError, match=r"unet has no diffusion_pytorch_model\.safetensors") as failure:
        choose(files, SD_INDEX, half=True, safety_checker=False)

    assert failure.value.reason == LoadFailure.WEIGHTS_NOT_FOUND


def test_a_configuration_is_all_but_the_weights() -> None:
    assert set(configuration(TURBO, XL_INDEX)) == set(XL_TEXT)


def test_only_pickled_weights_are_refused() -> None:
    files = [file for file in SD14 if not (file.startswith("unet/") and file.endswith(".safetensors"))]

    with pytest.raises(SourceError, match=r"unet has only pickled weights \(diffusion_pytorch_model\.bin") as failure:
        choose(files, SD_INDEX, half=True, safety_checker=False)

    assert failure.value.reason == LoadFailure.UNSAFE_WEIGHTS


@pytest.mark.parametrize(
    ("index", "extra"),
    [
        ({"_class_name": ["pipeline", "OurPipeline"]}, "pipeline.py"),
        ({"unet": ["our_unet", "OurUNet"]}, "unet/our_unet.py"),
        ({"scheduler": ["our_scheduler", "OurScheduler"]}, "our_scheduler.py"),
    ],
    ids=["pipeline", "component", "component at the root"],
)
def test_code_of_the_repository_is_refused(index: dict[str, object], extra: str) -> None:
    with pytest.raises(SourceError, match="never run") as failure:
        choose([*SD14, extra], {**SD_INDEX, **index}, half=True, safety_checker=False)

    assert failure.value.reason == LoadFailure.UNSAFE_WEIGHTS


def test_a_component_without_files_is_named() -> None:
    files = [file for file in SD14 if not file.startswith("vae/")]

    with pytest.raises(SourceError, match="names a component vae, but there are no files of it"):
        choose(files, SD_INDEX, half=True, safety_checker=False)


@pytest.mark.parametrize("index", [{}, {"_class_name": 3}])
def test_an_index_without_a_class_is_refused(index: dict[str, object]) -> None:
    with pytest.raises(SourceError, match="names no pipeline class") as failure:
        choose(SD14, index, half=True, safety_checker=False)

    assert failure.value.reason == LoadFailure.WEIGHTS_INVALID


def test_a_repository_without_a_pipeline_names_its_single_files() -> None:
    words = no_pipeline(["README.md", "one.safetensors", "two.safetensors", "lora/three.safetensors"])

    assert words.endswith("its single-file checkpoints can be named in the source: one.safetensors, two.safetensors")
    assert "model_index.json" in words
