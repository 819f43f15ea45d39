"""16-bit files beside, or in place of, the plain ones; and large components in several files."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_pipelines
from imagegen_server.errors import LoadError
from imagegen_server.sources import Wanted, Weights
from imagegen_server.sources.file import FileSource
from loaded_pipelines import cpu_loader, denoise, generation, load_weights, model_spec

MODELS = ("unet", "vae", "text_encoder")


@pytest.fixture(scope="module")
def both(folders: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with plain files and 16-bit ones of other weights: which were taken is seen."""
    folder = tmp_path_factory.mktemp("variants") / "both"
    shutil.copytree(folders["sd"], folder)
    other = tiny_pipelines.stable_diffusion(seed=5).to(torch.float16)
    for name in MODELS:
        getattr(other, name).save_pretrained(folder / name, variant="fp16")
    return folder


def no_hub(reference: str, revision: str) -> Path:
    raise AssertionError(f"{reference}@{revision} was fetched")


def weights_of(pipeline: Any) -> dict[str, float]:
    """Return a number by which the weights of each component are known."""
    parts = {name: getattr(pipeline._pipe, name).state_dict() for name in MODELS}
    return {name: round(float(sum(each.double().sum() for each in part.values())), 1) for name, part in parts.items()}


@pytest.fixture(scope="module")
def known(both: Path) -> dict[str, dict[str, float]]:
    """Return what the weights of each variant are known by."""
    return {name: weights_of(load_weights(Weights(path=both, variant=name))) for name in ("", "fp16")}


def test_each_variant_has_its_own_files(known: Mapping[str, Mapping[str, float]]) -> None:
    assert not set(known[""].values()) & set(known["fp16"].values())


def test_halves_are_computed_in_the_number_format_of_the_settings(both: Path) -> None:
    """On a GPU float16, on the CPU float32 from the same files; the VAE is float32 on both."""
    for dtype in ("float32", "float16"):
        pipe = load_weights(Weights(path=both, variant="fp16"), dtype=dtype)._pipe
        found = {name: getattr(pipe, name).dtype for name in MODELS}
        expected = getattr(torch, dtype)
        assert found == {"unet": expected, "text_encoder": expected, "vae": torch.float32}


def test_a_component_without_halves_is_taken_plain(
    both: Path, known: Mapping[str, dict[str, float]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(both, folder)
    (folder / "text_encoder" / "model.fp16.safetensors").unlink()
    (folder / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    capfd.readouterr()
    found = weights_of(load_weights(Weights(path=folder, variant="fp16")))
    assert capfd.readouterr() == ("", "")
    assert found == known[""] | {"unet": known["fp16"]["unet"]}


@pytest.mark.parametrize("half", [True, False])
def test_a_folder_with_halves_alone_is_loaded(
    both: Path, known: Mapping[str, Mapping[str, float]], tmp_path: Path, half: bool
) -> None:
    folder = tmp_path / "half"
    shutil.copytree(both, folder)
    for name in MODELS:
        for file in folder.glob(f"{name}/*.safetensors"):
            if "fp16" not in file.name:
                file.unlink()
    weights = FileSource(no_hub).fetch(Wanted(reference=str(folder), half=half), lambda _: None)
    assert weights_of(load_weights(weights)) == known["fp16"]
    # A source that names no variant, and a folder that has but one.
    assert weights_of(load_weights(Weights(path=folder))) == known["fp16"]


def test_the_safety_checker_comes_in_halves_too(tmp_path: Path) -> None:
    pipe = tiny_pipelines.stable_diffusion(flags=True)
    folder = tiny_pipelines.save(pipe.to(torch.float16), tmp_path / "checked", variant="fp16")
    assert not list(folder.glob("*/model.safetensors"))
    loaded = load_weights(Weights(path=folder, variant="fp16"))
    assert loaded._pipe.safety_checker is not None


def test_parts_that_nobody_wants_need_not_be_there(tmp_path: Path) -> None:
    """A source fetches no safety checker for a model whose entry switches it off."""
    folder = tiny_pipelines.save(tiny_pipelines.stable_diffusion(flags=True), tmp_path / "unchecked")
    shutil.rmtree(folder / "safety_checker")
    shutil.rmtree(folder / "feature_extractor")
    pipeline = load_weights(Weights(path=folder), safety_checker=False)
    rows = pipeline.admit(generation())
    denoise(pipeline, rows)
    assert pipeline.picture(rows[0]).std() > 20


# Large components in several files


@pytest.fixture(scope="module", params=["", "fp16"], ids=["plain", "half"])
def sharded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Return weights whose UNet and text encoder are in several files each."""
    pipe = tiny_pipelines.stable_diffusion()
    if request.param:
        pipe.to(torch.float16)
    options = {"variant": request.param or None, "max_shard_size": "60KB"}
    folder = tiny_pipelines.save(pipe, tmp_path_factory.mktemp("sharded"), **options)
    return Weights(path=folder, variant=request.param)


def test_components_in_several_files_are_loaded_and_weighed(sharded: Weights) -> None:
    assert len(list(sharded.path.glob("unet/*.safetensors"))) > 1
    assert len(list(sharded.path.glob("text_encoder/*.safetensors"))) > 1
    loader = cpu_loader("float16")
    pipe = loader.read(sharded, model_spec())
    measured = loader.facts(pipe, loader.finish(pipe)).memory_bytes
    assert loader.weigh(sharded, model_spec()) == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"conv_in.weight": "gone.safetensors"}, "unet: gone.safetensors is missing, one of 1 files of its weights"),
        ({"conv_in.weight": "../vae/diffusion_pytorch_model.safetensors"}, "names no files of its folder"),
        ({}, "names no files of its folder"),
        (None, "names no files of its folder"),
    ],
)
def test_an_index_of_files_that_are_not_there_is_refused(
    sharded: Weights, tmp_path: Path, weight_map: Any, words: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(sharded.path, folder)
    (index,) = folder.glob("unet/*.index*.json")
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(LoadError, match=words):
        cpu_loader().weigh(Weights(path=folder, variant=sharded.variant), model_spec())
