"""Loaded pipelines for the tests of this folder: the embedded model, and random ones of the launch models' kinds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import tiny_pipelines
from imagegen_shapes import WEIGHTS
from loaded_pipelines import load_pipeline
from stock_pipelines import quiet_and_small


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """Silence what loading prints, and compute on one core."""
    with quiet_and_small():
        yield


@pytest.fixture(scope="session")
def folders(quiet: None, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:  # noqa: ARG001 - silence comes first
    """Return where the weights of each kind of model are."""
    made = tmp_path_factory.mktemp("weights")
    return {
        "embedded": WEIGHTS,
        "sd": tiny_pipelines.save(tiny_pipelines.stable_diffusion(), made / "sd"),
        "sdxl": tiny_pipelines.save(tiny_pipelines.stable_diffusion_xl(), made / "sdxl"),
        "sdxl-turbo": tiny_pipelines.save(tiny_pipelines.sdxl_turbo(), made / "sdxl-turbo"),
    }


@pytest.fixture(scope="session")
def pipelines(folders: Mapping[str, Path]) -> Mapping[str, Any]:
    """Return every kind of model, loaded once; tests leave them as they are."""
    return {name: load_pipeline(folder) for name, folder in folders.items()}
