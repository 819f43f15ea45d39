"""`imagegen models` against a real server: the way of a model from a Hub into the catalog, onto the device and off."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import imagegen, names
from conftest import Show
from hub_server import hub_server
from server_process import ServerProcess, start_server, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def places(repository: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the variables that lead to a Hub with one pipeline."""
    with hub_server({"acme/shapes": repository / "demo_model/imagegen_shapes/weights"}) as hub:
        yield {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}


@pytest.fixture
def serving(repository: Path, tmp_path: Path, places: dict[str, str]) -> Iterator[ServerProcess]:
    """Return a server with a catalog of its own in the current folder."""
    (tmp_path / "models_info.json").write_text((repository / "models_info.json").read_text())
    with start_server(environment=places, cwd=tmp_path) as server:
        server.wait_ready()
        yield server


def listed(folder: Path, server: ServerProcess) -> dict[str, list[str]]:
    """Return the cells of the list of models by id."""
    lines = imagegen(folder, "models", "list", "--server", server.url).stdout.splitlines()
    return {line.split()[0]: line.split() for line in lines[1:]}


def test_a_model_is_unloaded_and_loaded_again(tmp_path: Path, serving: ServerProcess) -> None:
    assert listed(tmp_path, serving)["imagegen/shapes"][1:3] == ["ready", "cpu"]
    done = imagegen(tmp_path, "models", "unload", "shapes", "--server", serving.url)
    assert (done.returncode, done.stdout) == (0, "imagegen/shapes is unloaded\n")
    assert listed(tmp_path, serving)["imagegen/shapes"][1:4] == ["unloaded", "-", "-"]
    done = imagegen(tmp_path, "models", "load", "shapes", "--server", serving.url)
    assert done.stdout.splitlines()[-1] == "imagegen/shapes is ready: cpu, 14.4 MB", done
    done = imagegen(tmp_path, "models", "load", "shapes", "--server", serving.url)
    assert (done.returncode, done.stdout) == (0, "imagegen/shapes is loaded already: cpu, 14.4 MB\n")


@pytest.mark.acceptance
def test_a_model_of_the_hub_is_served_after_two_commands(
    tmp_path: Path, places: dict[str, str], serving: ServerProcess, show: Show
) -> None:
    done = imagegen(tmp_path, "models", "add", "acme/shapes", "--alias", "mine", **places)
    assert done.returncode == 0, done
    wait_until(lambda: "acme/shapes" in listed(tmp_path, serving), 10, "the server to take up the entry")
    done = imagegen(tmp_path, "models", "load", "mine", "--server", serving.url)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["acme/shapes is ready: cpu, 14.4 MB"]), done
    arguments = ["generate", "a red circle", "--model", "mine", "--steps", "4", "--output", "mine.png"]
    done = imagegen(tmp_path, *arguments, IMAGEGEN_URL=serving.url)
    assert done.returncode == 0, done
    assert "mine.png" in names(tmp_path)
    show("a model of the Hub by the command line", "models add, models load, generate: served without a restart")
