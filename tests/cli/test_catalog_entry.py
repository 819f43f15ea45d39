"""What a Hub says of a model becomes an entry, or a refusal that says why no server could load it."""

from typing import Any

import msgspec
import pytest

from imagegen_cli.catalog_entry import draft
from imagegen_cli.command import CommandError
from imagegen_cli.hub_facts import HubFacts
from imagegen_cli.hub_reference import HubReference
from imagegen_contract.image_model import ImageModelSpec

COMMIT = "71153311d3dbb46851df1931d3ca6e939de83304"
XL_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")


def repository(name: str, **changes: Any) -> HubFacts:
    """Return the facts of an SDXL pipeline, with ``changes``."""
    facts = HubFacts(
        reference=HubReference(repository=name, revision=COMMIT),
        license="openrail++",
        files=("model_index.json", *(f"{part}/model.safetensors" for part in XL_PARTS)),
        index={
            "_class_name": "StableDiffusionXLPipeline",
            "scheduler": ["diffusers", "EulerDiscreteScheduler"],
            "feature_extractor": [None, None],
            "force_zeros_for_empty_prompt": True,
            **{part: ["diffusers", "Part"] for part in XL_PARTS},
        },
        scheduler={"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"},
        unet={"sample_size": 128, "in_channels": 4, "time_cond_proj_dim": None},
    )
    return msgspec.structs.replace(facts, **changes)


def sd(name: str, **changes: Any) -> HubFacts:
    """Return the facts of an SD 1.x pipeline, with ``changes``."""
    facts = repository(name)
    plain = {"index": {**facts.index, "_class_name": "StableDiffusionPipeline"}, "unet": {"sample_size": 64}}
    return msgspec.structs.replace(facts, **{**plain, **changes})


TRAILING = {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}


def test_the_whole_entry() -> None:
    turbo = repository(
        "stabilityai/sdxl-turbo", license="sai-nc-community", scheduler=TRAILING, unet={"sample_size": 64}
    )
    assert draft(turbo).entry == {
        "publisher": "stabilityai",
        "family": "sdxl",
        "version": "turbo",
        "id": "stabilityai/sdxl-turbo",
        "aliases": ["sdxl-turbo"],
        "license": "sai-nc-community",
        "source": "hf://stabilityai/sdxl-turbo",
        "revision": COMMIT,
        "inference": {"steps": 1, "maxSteps": 4, "guidanceScale": 0.0, "maxGuidanceScale": 1.0, "size": "512x512"},
    }


@pytest.mark.parametrize(
    ("facts", "family", "version"),
    [
        (sd("CompVis/stable-diffusion-v1-4"), "stable-diffusion", "v1-4"),
        (sd("stabilityai/sd-turbo"), "stable-diffusion", "turbo"),
        (sd("acme/landscapes"), "stable-diffusion", "landscapes"),
        (repository("stabilityai/stable-diffusion-xl-base-1.0"), "sdxl", "base-1.0"),
        (repository("cagliostrolab/animagine-xl-3.0"), "sdxl", "animagine-xl-3.0"),
        (repository("acme/SDXL_Night"), "sdxl", "Night"),
        (repository("acme/sdxl-"), "sdxl", "sdxl-"),
        (repository("acme/" + "x" * 80), "sdxl", "x" * 63),
    ],
    ids=lambda value: value.reference.repository if isinstance(value, HubFacts) else "",
)
def test_family_and_version(facts: HubFacts, family: str, version: str) -> None:
    entry = draft(facts).entry
    assert (entry["family"], entry["version"]) == (family, version)
    msgspec.convert(entry, ImageModelSpec)


@pytest.mark.parametrize(
    ("facts", "steps", "guidance"),
    [
        pytest.param(sd("a/b"), 50, 7.5, id="SD takes diffusers' defaults"),
        pytest.param(repository("a/b"), 50, 5.0, id="SDXL takes diffusers' defaults"),
        pytest.param(repository("a/sdxl-turbo", scheduler=TRAILING), 1, 0.0, id="turbo with trailing timesteps"),
        pytest.param(repository("a/DreamXL-Turbo"), 6, 2.0, id="a fine-tune that took turbo in"),
        pytest.param(repository("a/b", scheduler=TRAILING), 50, 5.0, id="trailing timesteps alone mean nothing"),
        pytest.param(repository("a/turbocharged-xl"), 50, 5.0, id="turbo is a word, not a part of one"),
        pytest.param(repository("a/RealXL_V4.0_Lightning"), 4, 0.0, id="lightning"),
        pytest.param(repository("a/sdxl-lightning-8step"), 8, 0.0, id="the name says how many steps"),
        pytest.param(repository("a/sdxl-lightning-500-steps"), 4, 0.0, id="steps of the training are not meant"),
        pytest.param(repository("a/sdxl-lightning-16-steps"), 4, 0.0, id="more steps than the method has"),
        pytest.param(repository("a/Hyper-SDXL-1-step"), 1, 0.0, id="Hyper-SD"),
        pytest.param(repository("a/hyper-realism"), 50, 5.0, id="hyper alone is a style"),
        pytest.param(repository("a/Hyper-SDXL-8steps-CFG"), 50, 5.0, id="Hyper-SD that was made to be guided"),
        pytest.param(sd("a/dream-lcm"), 4, 1.0, id="LCM by its name"),
        pytest.param(sd("a/dream", scheduler={"_class_name": "LCMScheduler"}), 4, 1.0, id="LCM by its scheduler"),
    ],
)
def test_steps_and_guidance(facts: HubFacts, steps: int, guidance: float) -> None:
    spec = msgspec.convert(draft(facts).entry, ImageModelSpec)
    assert (spec.inference.steps, spec.inference.guidance_scale) == (steps, guidance)
    assert spec.inference.steps <= spec.inference.max_steps


@pytest.mark.parametrize(
    ("sample_size", "size"),
    [(96, "768x768"), ([64, 96], "768x512"), (None, None), (1, None), ("64", None), ([64], None)],
)
def test_the_size_is_what_the_unet_was_trained_at(sample_size: object, size: str | None) -> None:
    entry = draft(repository("a/b", unet={"sample_size": sample_size})).entry
    assert entry["inference"].get("size") == size


def index(**changes: Any) -> dict[str, Any]:
    """Return an index with ``changes``."""
    return {**repository("a/b").index, **changes}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param(
            {"index": index(_class_name="FluxPipeline")},
            "is a FluxPipeline, which is not supported; supported: StableDiffusionPipeline, StableDiffusionXLPipeline",
            id="unsupported pipeline",
        ),
        pytest.param({"index": {}}, "is a None, which is not supported", id="no class"),
        pytest.param({"index": index(_class_name=["pipeline", "Mine"])}, "code of its own", id="custom pipeline"),
        pytest.param({"index": index(unet=["my_unet", "Mine"])}, "unet of a/b is code of its own", id="custom part"),
        pytest.param(
            {"files": ("unet/diffusion_pytorch_model.bin",)}, "unet of a/b has only pickled weights", id="pickles"
        ),
        pytest.param({"files": ("unet/config.json",)}, "unet of a/b has no weights", id="no weights"),
        pytest.param({"unet": {"in_channels": 9}}, "its UNet reads 9 channels instead of 4", id="inpainting"),
        pytest.param({"unet": {"time_cond_proj_dim": 256}}, "guidance scale as an embedding", id="embedded guidance"),
    ],
)
def test_what_no_server_could_load_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CommandError) as refused:
        draft(repository("a/b", **changes))
    assert said in str(refused.value)


def test_a_part_that_is_left_out_needs_no_weights() -> None:
    without = {**sd("a/b").index, "text_encoder_2": [None, None], "safety_checker": [None, None]}
    files = tuple(file for file in sd("a/b").files if "text_encoder_2" not in file)
    assert draft(sd("a/b", index=without, files=files)).entry["id"] == "a/b"


UNET = {"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3), "first_stage_model.x": (1,)}
XL = {**UNET, "conditioner.embedders.0.transformer.x": (1,), "conditioner.embedders.1.model.x": (1,)}
V1 = {**UNET, "cond_stage_model.transformer.text_model.x": (1,)}


def checkpoint(tensors: dict[str, tuple[int, ...]], file: str = "deep/Night Vision 8step.safetensors") -> HubFacts:
    """Return the facts of a checkpoint."""
    return HubFacts(reference=HubReference(repository="a/b", file=file, revision=COMMIT), tensors=tensors)


def test_a_checkpoint_is_a_model_of_its_own() -> None:
    entry = draft(checkpoint(XL)).entry
    assert (entry["id"], entry["aliases"]) == ("a/Night-Vision-8step", ["Night-Vision-8step"])
    assert entry["source"] == "hf://a/b/deep/Night Vision 8step.safetensors"
    assert (entry["family"], entry["inference"]["steps"], entry["inference"].get("size")) == ("sdxl", 50, None)
    msgspec.convert(entry, ImageModelSpec)


def test_the_family_of_a_checkpoint_is_told_by_its_tensors() -> None:
    assert draft(checkpoint(V1)).entry["family"] == "stable-diffusion"
    assert draft(checkpoint(V1, "sd_xl_lightning_4step.safetensors")).entry["inference"]["steps"] == 4


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        pytest.param({"lora_unet_down.lora_up.weight": (1,)}, "is a LoRA", id="LoRA"),
        pytest.param(UNET, "no whole checkpoint", id="without text encoder"),
        pytest.param({"first_stage_model.x": (1,), "cond_stage_model.x": (1,)}, "no whole checkpoint", id="no UNet"),
        pytest.param({**UNET, "conditioner.embedders.0.model.x": (1,)}, "no whole checkpoint", id="refiner"),
        pytest.param(
            {**V1, "model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3)}, "reads 9 channels", id="inpainting"
        ),
        pytest.param({**V1, "model.diffusion_model.input_blocks.0.0.weight": ()}, "other channels", id="nonsense"),
    ],
)
def test_half_a_checkpoint_is_refused(tensors: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(CommandError) as refused:
        draft(checkpoint(tensors))
    assert said in str(refused.value)


def test_what_people_should_know_is_noted() -> None:
    assert list(draft(repository("a/b", license="", gated=True)).notes) == [
        "steps and guidance: diffusers' defaults for its pipeline",
        "license: the model card names none",
        "gated: a server needs a token that has access to it (HF_TOKEN)",
    ]
