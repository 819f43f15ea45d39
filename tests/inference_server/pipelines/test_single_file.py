"""Single-file checkpoints: the same pictures as from the folder, and refusals in words for what they are not."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_pipelines
from conftest import Show
from imagegen_contract.load_failures import LoadFailure
from imagegen_server.errors import LoadError
from imagegen_server.sources import Weights
from loaded_pipelines import cpu_loader, denoise, generation, load_weights, model_spec
from single_file_checkpoints import Layout, save_checkpoint

KINDS: dict[Layout, Any] = {
    "sd1": tiny_pipelines.stable_diffusion,
    "sd2": tiny_pipelines.stable_diffusion,
    "sdxl": tiny_pipelines.stable_diffusion_xl,
}
LAST_LAYER = "cond_stage_model.model.transformer.resblocks.23.mlp.c_fc.weight"
"""SD 2.x files have one layer more than is used."""


@pytest.fixture(scope="module")
def files(quiet: None, tmp_path_factory: pytest.TempPathFactory) -> Mapping[Layout, Weights]:  # noqa: ARG001 - silence comes first
    """Return one checkpoint of each family, and its configuration: the pipeline's folder without any weights."""
    made, files = tmp_path_factory.mktemp("files"), dict[Layout, Weights]()
    for layout, make in KINDS.items():
        pipe = make()
        config = tiny_pipelines.save(pipe, made / layout)
        for weights in config.rglob("*.safetensors"):
            weights.unlink()
        more = {LAST_LAYER: torch.ones(100_000)} if layout == "sd2" else {"alphas_cumprod": torch.ones(1000)}
        file = save_checkpoint(pipe, made / f"{layout}.safetensors", layout, **more)
        files[layout] = Weights(path=file, config=config)
    return files


def picture(pipeline: Any) -> Any:
    rows = pipeline.admit(generation(negative_prompt="a moon"))
    denoise(pipeline, rows)
    return pipeline.picture(rows[0])


@pytest.mark.parametrize("layout", list(KINDS))
def test_pictures_of_a_single_file_are_those_of_the_folder(
    files: Mapping[Layout, Weights], pipelines: Mapping[str, Any], layout: Layout
) -> None:
    from_file, from_folder = load_weights(files[layout]), pipelines["sdxl" if layout == "sdxl" else "sd"]
    for name, part in from_folder._pipe.components.items():
        if isinstance(part, torch.nn.Module):
            found = getattr(from_file._pipe, name).state_dict()
            assert {key: torch.equal(found[key], tensor) for key, tensor in part.state_dict().items()} == dict.fromkeys(
                found, True
            )
    # The same numbers lie elsewhere in memory, and are added up in another order: a pixel in 10 000 is one level off.
    difference = picture(from_file).astype(int) - picture(from_folder)
    assert abs(difference).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("layout", list(KINDS))
def test_a_single_file_is_weighed_as_it_is_loaded(files: Mapping[Layout, Weights], layout: Layout) -> None:
    for dtype in ("float32", "float16"):
        loader = cpu_loader(dtype)
        pipe = loader.read(files[layout], model_spec())
        measured = loader.facts(pipe, loader.finish(pipe)).memory_bytes
        assert loader.weigh(files[layout], model_spec()) == pytest.approx(measured, rel=0.01)
        assert (pipe.unet.dtype, pipe.vae.dtype) == (getattr(torch, dtype), torch.float32)


def test_a_single_file_has_no_safety_checker_even_where_its_configuration_names_one(
    files: Mapping[Layout, Weights], tmp_path: Path
) -> None:
    config = tmp_path / "config"
    tiny_pipelines.save(tiny_pipelines.stable_diffusion(flags=True), config)
    assert picture(load_weights(Weights(path=files["sd1"].path, config=config))).std() > 20


# Refused


def refusal(weights: Weights) -> LoadError:
    """Return what is said before the weights are read, or else when they are."""
    loader = cpu_loader()
    with pytest.raises(LoadError) as refused:  # noqa: PT012 - whichever is the first to see it
        loader.weigh(weights, model_spec())
        loader.read(weights, model_spec())
    assert "\n" not in str(refused.value)
    return refused.value


def without(file: Path, name: str, made: Path) -> Path:
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, made)
    return made


MISSING = {
    "model.diffusion_model.out.2.bias": "unet: tensors are missing from broken.safetensors",
    "first_stage_model.decoder.conv_in.bias": "vae: tensors are missing from broken.safetensors",
    "cond_stage_model.transformer.text_model.final_layer_norm.bias": (
        "text_encoder: tensors are missing from the weights: final_layer_norm.bias"
    ),
}


@pytest.mark.parametrize("name", list(MISSING))
def test_a_file_that_lacks_a_tensor_is_refused(files: Mapping[Layout, Weights], tmp_path: Path, name: str) -> None:
    broken = without(files["sd1"].path, name, tmp_path / "broken.safetensors")
    refused = refusal(Weights(path=broken, config=files["sd1"].config))
    assert MISSING[name] in str(refused)
    assert refused.reason == LoadFailure.WEIGHTS_INVALID


def test_half_a_file_is_refused(files: Mapping[Layout, Weights], tmp_path: Path) -> None:
    whole = files["sdxl"].path.read_bytes()
    half = tmp_path / "half.safetensors"
    half.write_bytes(whole[: len(whole) // 2])
    refused = refusal(Weights(path=half, config=files["sdxl"].config))
    assert f"half.safetensors is cut off: it has {len(whole) // 2} bytes of {len(whole)}" in str(refused)
    assert refused.reason == LoadFailure.WEIGHTS_INVALID


def test_the_configuration_of_another_family_is_refused(files: Mapping[Layout, Weights]) -> None:
    refused = refusal(Weights(path=files["sdxl"].path, config=files["sd1"].config))
    assert "is of Stable Diffusion XL, and its configuration is of a StableDiffusionPipeline" in str(refused)


def edited(weights: Weights, made: Path, name: str, **changes: Any) -> Weights:
    assert weights.config is not None
    shutil.copytree(weights.config, made)
    path = made / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return Weights(path=weights.path, config=made)


SCHEDULER = "scheduler/scheduler_config.json"

CONFIGURATIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "other shapes": (
        "unet/config.json",
        {"cross_attention_dim": 48},
        "expected shape (16, 48), but got (16, 32); field config of the model's entry must name a configuration that",
    ),
    "a VAE of another kind": (
        "model_index.json",
        {"vae": ["diffusers", "AutoencoderTiny"]},
        "vae: class AutoencoderTiny of the configuration cannot be loaded from a single file",
    ),
    "code of its own": ("model_index.json", {"unet": ["trap", "Trap"]}, "class Trap of trap is code of its own"),
}


@pytest.mark.parametrize("case", list(CONFIGURATIONS))
def test_a_configuration_that_does_not_fit_is_refused(
    files: Mapping[Layout, Weights], tmp_path: Path, case: str
) -> None:
    name, changes, words = CONFIGURATIONS[case]
    assert words in str(refusal(edited(files["sd1"], tmp_path / "config", name, **changes)))


def test_more_of_a_unet_than_its_configuration_has_a_place_for_is_refused(
    files: Mapping[Layout, Weights], tmp_path: Path
) -> None:
    """Left alone, diffusers drops what it has no place for and paints with the rest."""
    tensors = load_file(files["sd1"].path)
    tensors["model.diffusion_model.output_blocks.9.0.in_layers.0.weight"] = torch.ones(5)
    file = tmp_path / "deeper.safetensors"
    save_file(tensors, file)
    refused = refusal(Weights(path=file, config=files["sd1"].config))
    assert "field config of the model's entry must name one that fits" in str(refused)


def saying(weights: Weights, file: Path, metadata: dict[str, str], *tensors: str) -> Weights:
    """Return the weights as a file that says something of itself."""
    save_file(load_file(weights.path) | {name: torch.zeros(0) for name in tensors}, file, metadata=metadata)
    return Weights(path=file, config=weights.config)


VELOCITY = {"prediction_type": "v_prediction"}
PREDICTS = "modelspec.prediction_type"

CONTRADICTIONS: dict[str, tuple[dict[str, str], tuple[str, ...], dict[str, Any], str]] = {
    "velocities by a tensor": ({}, ("v_pred",), {}, "predicts velocities (it has a tensor v_pred)"),
    "velocities by metadata": ({PREDICTS: "v"}, (), {}, "predicts velocities (its metadata say modelspec.prediction_t"),
    "velocities by architecture": (
        {"modelspec.architecture": "stable-diffusion-v2-768-v"},
        (),
        {},
        "predicts velocities (its metadata say modelspec.architecture stable-diffusion-v2-768-v)",
    ),
    "noise by metadata": ({PREDICTS: "epsilon"}, (), VELOCITY, "predicts noise (its metadata say"),
    "zero terminal SNR": ({}, ("v_pred", "ztsnr"), VELOCITY, "must have rescale_betas_zero_snr true"),
    "the noise levels of EDM": ({}, ("edm_vpred.sigma_max",), VELOCITY, "with the noise levels of EDM"),
}
"""Metadata and tensors of a file, the scheduler's configuration, and what is said of that."""


@pytest.mark.acceptance
@pytest.mark.parametrize("case", list(CONTRADICTIONS))
def test_a_file_that_contradicts_its_configuration_is_refused(
    files: Mapping[Layout, Weights], tmp_path: Path, case: str, show: Show
) -> None:
    """Left alone, it would paint noise, and nothing would fail."""
    metadata, tensors, scheduler, words = CONTRADICTIONS[case]
    weights = saying(files["sdxl"], tmp_path / "odd.safetensors", metadata, *tensors)
    refused = refusal(edited(weights, tmp_path / "config", SCHEDULER, **scheduler))
    assert words in str(refused)
    assert refused.reason == LoadFailure.WEIGHTS_INVALID
    show("14.1 fault 3: noise with 200", f"{case}: refused")


@pytest.mark.parametrize(
    ("metadata", "tensors", "scheduler"),
    [
        ({}, ("v_pred",), VELOCITY),
        ({PREDICTS: "v"}, (), VELOCITY),
        ({PREDICTS: "epsilon"}, (), {}),
        ({PREDICTS: ""}, (), {}),
        ({}, ("v_pred", "ztsnr"), VELOCITY | {"rescale_betas_zero_snr": True}),
    ],
)
def test_a_file_that_agrees_with_its_configuration_is_loaded(
    files: Mapping[Layout, Weights], tmp_path: Path, metadata: dict[str, str], tensors: tuple[str, ...], scheduler: Any
) -> None:
    weights = saying(files["sdxl"], tmp_path / "odd.safetensors", metadata, *tensors)
    assert load_weights(edited(weights, tmp_path / "config", SCHEDULER, **scheduler)).count_tokens("a red circle") == 3
