"""The launch models come from a Hub by their own entries of the catalog, and paint.

Small weights of the same two families stand for theirs, under their names.
"""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import Show
from hub_server import hub_server
from imagegen_shapes import WEIGHTS
from server_process import ServerProcess, start_server
from shapes_oracle import classify, random_scenes

pytestmark = [pytest.mark.slow, pytest.mark.acceptance]

CATALOG = Path(__file__).parent.parent.parent / "models_info.json"
SHAPES_XL = Path(__file__).parent.parent / "data" / "shapes-xl"

LAUNCH_MODELS: dict[str, tuple[Path, dict[str, Any]]] = {
    "CompVis/stable-diffusion-v1-4": (WEIGHTS, {"num_inference_steps": 8, "guidance_scale": 3, "scheduler": "ddim"}),
    "stabilityai/sdxl-turbo": (SHAPES_XL, {"num_inference_steps": 4}),
    "Cagliostrolab/animagine-xl-3.0": (SHAPES_XL, {"num_inference_steps": 12, "guidance_scale": 3}),
}
"""The weights that stand for each, and what a request asks for so that it takes a second."""


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server with the catalog as it ships, and a Hub that has the launch models."""
    cache = tmp_path_factory.mktemp("launched")
    with hub_server({model: folder for model, (folder, _) in LAUNCH_MODELS.items()}) as hub:
        flags = ["--hub-endpoint", hub.url, "--hub-cache", str(cache)]
        with start_server("--catalog", str(CATALOG), *flags) as server:
            server.wait_ready()
            yield server


@pytest.mark.parametrize("model", LAUNCH_MODELS)
def test_a_launch_model_is_downloaded_and_paints_what_it_is_asked_for(
    launched: ServerProcess, model: str, show: Show
) -> None:
    scenes = random_scenes(7, 4)
    obeyed = 0
    for seed, scene in enumerate(scenes):
        body = {"model": model, "prompt": scene.prompt, "size": "128x128", "seed": seed, **LAUNCH_MODELS[model][1]}
        reply = launched.post(body)
        assert reply.status_code == 200, reply.text
        picture = Image.open(io.BytesIO(base64.b64decode(reply.json()["data"][0]["b64_json"])))
        obeyed += classify(picture).matches(scene)
    info = launched.get(f"/v1/models/{model}").json()

    assert obeyed == len(scenes)
    assert (info["state"], len(info["revision"])) == ("ready", 40)
    show(f"2 {model} from the Hub", f"{obeyed} of {len(scenes)} pictures as asked; commit {info['revision'][:7]}")
