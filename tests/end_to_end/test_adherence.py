"""The right prompt gives the right picture: what the embedded model is asked for, it paints."""

import base64
import io
from collections.abc import Iterator, Sequence

import pytest
import torch
from PIL import Image

from conftest import Show
from imagegen_shapes import WEIGHTS
from server_process import ServerProcess
from shapes_oracle import Seen, classify, random_scenes
from stock_pipelines import StockPipeline, quiet_and_small

pytestmark = pytest.mark.slow

SCENES = random_scenes(2024, 100)
SEEDS = range(5000, 5000 + len(SCENES))
BATCH = 10


@pytest.fixture(scope="module")
def direct() -> Iterator[list[Seen]]:
    """Return what diffusers paints with the same weights, called directly with the same arguments and seeds."""
    with quiet_and_small():
        pipe = StockPipeline(WEIGHTS).pipe
        images: list[Image.Image] = []
        for start in range(0, len(SCENES), BATCH):
            images += pipe(
                [scene.prompt for scene in SCENES[start : start + BATCH]],
                width=128,
                height=128,
                num_inference_steps=8,
                guidance_scale=3.0,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in SEEDS[start : start + BATCH]],
            ).images
        yield [classify(image) for image in images]


def painted(server: ServerProcess, prompt: str, seed: int) -> Seen:
    """Return what the server's picture shows, all but prompt, size and seed left to the model's defaults."""
    reply = server.post({"prompt": prompt, "size": "128x128", "seed": seed})
    assert reply.status_code == 200, reply.text
    return classify(Image.open(io.BytesIO(base64.b64decode(reply.json()["data"][0]["b64_json"]))))


def score(seen: Sequence[Seen]) -> dict[str, int]:
    """Return in how many of the 100 pictures each thing is as asked."""
    pairs = list(zip(SCENES, seen, strict=True))
    return {
        "background": sum(scene.background == found.background for scene, found in pairs),
        "colour": sum(scene.colour == found.colour for scene, found in pairs),
        "shape": sum(scene.shape == found.shape for scene, found in pairs),
    }


@pytest.mark.acceptance
def test_the_server_paints_what_it_is_asked_for(server: ServerProcess, direct: list[Seen], show: Show) -> None:
    found = score([painted(server, scene.prompt, seed) for scene, seed in zip(SCENES, SEEDS, strict=True)])
    stock = score(direct)
    figures = [f"{thing} {found[thing]} % (weights called directly {stock[thing]} %)" for thing in found]
    show("3 right prompt, right picture: 100 prompts through HTTP", ", ".join(figures))
    assert found["background"] >= 98
    assert found["colour"] >= 98
    assert abs(found["shape"] - stock["shape"]) <= 2


@pytest.mark.acceptance
def test_a_picture_of_one_prompt_is_not_counted_for_another(direct: list[Seen], show: Show) -> None:
    shifted = score([*direct[1:], direct[0]])
    show("3 the same pictures against the wrong prompts", ", ".join(f"{thing} {shifted[thing]} %" for thing in shifted))
    assert max(shifted.values()) < 30
