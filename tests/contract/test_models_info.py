"""The models_info.json at the root: the launch models, each with its authors' settings."""

from importlib import resources
from pathlib import Path

import pytest

from imagegen_contract.catalog import load_catalog, parse_catalog
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import parse_size
from imagegen_contract.samplers import PRESETS

ROOT_CATALOG = Path(__file__).parents[2] / "models_info.json"


@pytest.fixture(scope="module")
def launch_models() -> dict[str, ImageModelSpec]:
    return {spec.id: spec for spec in load_catalog(ROOT_CATALOG)}


def test_holds_the_model_that_ships_inside_and_three_of_the_hub(launch_models: dict[str, ImageModelSpec]) -> None:
    assert list(launch_models) == [
        "imagegen/shapes",
        "stabilityai/sdxl-turbo",
        "CompVis/stable-diffusion-v1-4",
        "Cagliostrolab/animagine-xl-3.0",
    ]


def test_every_entry_says_where_its_weights_are_and_their_licence(launch_models: dict[str, ImageModelSpec]) -> None:
    assert [spec.source for spec in launch_models.values()] == [
        "builtin://shapes",
        "hf://stabilityai/sdxl-turbo",
        "hf://CompVis/stable-diffusion-v1-4",
        "hf://Cagliostrolab/animagine-xl-3.0",
    ]
    assert all(spec.license and spec.description for spec in launch_models.values())


def test_shapes_needs_no_gpu_and_allows_every_sampler(launch_models: dict[str, ImageModelSpec]) -> None:
    spec = launch_models["imagegen/shapes"]
    assert spec.gpu.count == 0
    assert set(spec.inference.schedulers or PRESETS) == set(PRESETS)


def test_sdxl_turbo_has_its_authors_settings(launch_models: dict[str, ImageModelSpec]) -> None:
    inference = launch_models["stabilityai/sdxl-turbo"].inference
    assert (inference.steps, inference.max_steps) == (1, 4)
    assert (inference.guidance_scale, inference.scheduler, inference.size) == (0.0, "euler_a", "512x512")


def test_stable_diffusion_has_its_authors_settings(launch_models: dict[str, ImageModelSpec]) -> None:
    inference = launch_models["CompVis/stable-diffusion-v1-4"].inference
    assert (inference.guidance_scale, inference.scheduler, inference.size) == (7.5, "pndm", "512x512")
    assert inference.safety_checker is True


def test_animagine_has_its_authors_settings(launch_models: dict[str, ImageModelSpec]) -> None:
    inference = launch_models["Cagliostrolab/animagine-xl-3.0"].inference
    assert (inference.steps, inference.guidance_scale, inference.scheduler) == (28, 7.0, "euler_a")
    assert "lowres" in inference.negative_prompt
    assert inference.prompt_suffix.endswith("masterpiece, best quality")


def test_animagine_paints_about_one_megapixel_portraits_too(launch_models: dict[str, ImageModelSpec]) -> None:
    sizes = [parse_size(text) for text in launch_models["Cagliostrolab/animagine-xl-3.0"].inference.sizes]
    assert all(0.9e6 < size.pixels < 1.1e6 for size in sizes)
    assert any(size.height > size.width for size in sizes)


def test_default_sizes_and_listed_sizes_are_within_the_limits(launch_models: dict[str, ImageModelSpec]) -> None:
    for spec in launch_models.values():
        assert spec.inference.size in spec.inference.sizes
        assert all(parse_size(text).pixels <= (spec.inference.max_pixels or 0) for text in spec.inference.sizes)


def test_every_quality_is_within_the_models_steps(launch_models: dict[str, ImageModelSpec]) -> None:
    for spec in launch_models.values():
        steps = [spec.steps_for(quality) for quality in ("low", "medium", "high")]
        assert steps == sorted(steps)
        assert steps[1] == spec.inference.steps
        assert steps[-1] <= spec.inference.max_steps


def test_the_packaged_copy_loads() -> None:
    content = resources.files("imagegen_contract").joinpath("models_info.json").read_bytes()
    assert parse_catalog(content, "packaged") == load_catalog(ROOT_CATALOG)
