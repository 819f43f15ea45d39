"""`imagegen models add` against a Hub that serves real pipelines in the Hub's protocol."""

import shutil
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from safetensors.numpy import save_file

from command_line import assert_failed, imagegen_here
from hub_server import Hub, hub_server
from imagegen_contract.catalog import load_catalog

Here = pytest.CaptureFixture[str]

MINE = "hf_may_read_it"
OTHERS = "hf_may_not_read_it"


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, with a token that the Hub knows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", MINE)


def add(capsys: Here, hub: Hub, *arguments: str) -> CompletedProcess[str]:
    """Run the command against ``hub``, which knows two users."""
    hub.accepted, hub.known = {MINE}, {OTHERS}
    return imagegen_here(capsys, "models", "add", *arguments, "--endpoint", hub.url)


@pytest.mark.parametrize(
    ("folder", "family"),
    [("demo_model/imagegen_shapes/weights", "stable-diffusion"), ("tests/data/shapes-xl", "sdxl")],
)
def test_a_real_pipeline_is_added(capsys: Here, repository: Path, tmp_path: Path, folder: str, family: str) -> None:
    with hub_server({"acme/shapes": repository / folder}) as hub:
        hub.metadata["acme/shapes"] = {"cardData": {"license": "apache-2.0"}}
        done = add(capsys, hub, "acme/shapes", "--revision", "main")
        served = hub.repository("acme/shapes")
    assert done.returncode == 0, done.stderr
    spec = load_catalog(tmp_path / "models_info.json")[0]
    assert (spec.id, spec.family, spec.license) == ("acme/shapes", family, "apache-2.0")
    assert (spec.inference.steps, spec.inference.size) == (50, "128x128")
    assert served is not None
    assert spec.revision == served.commit
    assert hub.total_sent < 20_000, "weights are not for the catalog"


def test_a_checkpoint_is_told_by_its_header(capsys: Here, tmp_path: Path) -> None:
    shapes = {
        "first_stage_model.x": (1,),
        "conditioner.embedders.0.transformer.x": (1,),
        "conditioner.embedders.1.model.x": (1,),
        "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    }
    tensors = {name: np.zeros(shape, np.float16) for name, shape in shapes.items()}
    (tmp_path / "repository").mkdir()
    save_file(tensors, tmp_path / "repository" / "night_4step_lightning.safetensors")
    with hub_server({"acme/night": tmp_path / "repository"}) as hub:
        done = add(capsys, hub, f"{hub.url}/acme/night/blob/main/night_4step_lightning.safetensors")
    assert done.returncode == 0, done.stderr
    spec = load_catalog(tmp_path / "models_info.json")[0]
    assert (spec.id, spec.family, spec.inference.steps) == ("acme/night_4step_lightning", "sdxl", 4)


@pytest.mark.parametrize(
    ("token", "fault", "said"),
    [
        pytest.param(OTHERS, "gated", ["is gated", "the token that is set has no access yet"], id="gated"),
        pytest.param(OTHERS, "private", ["does not exist", "is private to others"], id="private"),
        pytest.param("hf_expired", "", ["does not take the token", "HF_TOKEN"], id="invalid token"),
        pytest.param(MINE, "garbage", ["does not speak the Hub's protocol"], id="a hotel's network"),
    ],
)
def test_what_the_hub_does_not_give_is_said_in_words(
    capsys: Here, repository: Path, monkeypatch: pytest.MonkeyPatch, token: str, fault: str, said: list[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with hub_server({"acme/shapes": repository / "tests/data/shapes-xl"}) as hub:
        if fault:
            setattr(hub.faults, fault, True)
        done = add(capsys, hub, "acme/shapes")
    assert_failed(done, *said)
    assert token not in done.stdout + done.stderr


def test_a_gated_model_is_added_with_access_to_it(capsys: Here, repository: Path, tmp_path: Path) -> None:
    with hub_server({"acme/shapes": repository / "tests/data/shapes-xl"}) as hub:
        hub.faults.gated = True
        done = add(capsys, hub, "acme/shapes")
    assert (done.returncode, len(load_catalog(tmp_path / "models_info.json"))) == (0, 1)
    assert "- gated: a server needs a token" in done.stdout


def test_pickled_weights_are_refused(capsys: Here, repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    shutil.copytree(repository / "tests/data/shapes-xl", folder)
    for file in (folder / "unet").glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    with hub_server({"acme/shapes": folder}) as hub:
        assert_failed(add(capsys, hub, "acme/shapes"), "unet of acme/shapes has only pickled weights")
    assert not (tmp_path / "models_info.json").exists()
