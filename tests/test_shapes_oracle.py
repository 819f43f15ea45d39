"""The oracle is right on drawn truth, and is not fooled by pictures of something else."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shapes_oracle import PALETTE, SHAPES, Scene, classify, random_scenes, render

RED_CIRCLE = Scene(background="blue", colour="red", shape="circle")


@pytest.mark.parametrize("pixels", [64, 128, 256])
def test_every_drawn_truth_is_read_right(pixels: int) -> None:
    read = [(scene, classify(render(scene, pixels))) for scene in random_scenes(7, 200)]
    assert [(scene, seen) for scene, seen in read if not seen.matches(scene)] == []
    assert min(seen.iou for _, seen in read) > 0.75


@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("centre", [(0.26, 0.26), (0.74, 0.5), (0.5, 0.74)])
def test_a_shape_is_read_wherever_it_stands(shape: str, centre: tuple[float, float]) -> None:
    scene = Scene(background="white", colour="green", shape=shape)
    seen = classify(render(scene, 128, radius=0.2, centre=centre))
    assert seen.matches(scene)
    assert seen.iou > 0.75


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Scene("green", "red", "circle"), id="wrong background"),
        pytest.param(Scene("blue", "orange", "circle"), id="wrong colour"),
        pytest.param(Scene("blue", "red", "ring"), id="wrong shape"),
        pytest.param(Scene("red", "blue", "circle"), id="colours swapped"),
    ],
)
def test_a_picture_of_another_scene_does_not_match(other: Scene) -> None:
    assert not classify(render(other, 128)).matches(RED_CIRCLE)


@pytest.mark.parametrize("wanted", list(SHAPES))
def test_no_shape_passes_for_another(wanted: str) -> None:
    others = [Scene("white", "blue", shape) for shape in SHAPES if shape != wanted]
    assert [scene.shape for scene in others if classify(render(scene, 128)).shape == wanted] == []


def test_an_empty_background_shows_nothing() -> None:
    seen = classify(np.full((64, 64, 3), PALETTE["cyan"], dtype=np.uint8))
    assert (seen.background, seen.colour, seen.shape, seen.iou) == ("cyan", None, None, 0.0)


def _half_hidden() -> NDArray[np.uint8]:
    picture = render(RED_CIRCLE, 128)
    picture[:, 64:] = PALETTE["blue"]
    return picture


def _two_circles() -> NDArray[np.uint8]:
    half = render(RED_CIRCLE, 128)[:, 24:-24]
    return np.concatenate([half, half], axis=1)


@pytest.mark.parametrize("picture", [_half_hidden(), _two_circles()], ids=["half of it", "two objects"])
def test_what_is_no_clean_circle_is_not_read_as_one(picture: NDArray[np.uint8]) -> None:
    seen = classify(picture)
    assert not seen.matches(RED_CIRCLE)
    assert seen.iou < 0.75


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_scene_that_anyone_asks_for(seed: int) -> None:
    seen = classify(np.random.default_rng(seed).integers(0, 256, (128, 128, 3), dtype=np.uint8))
    assert seen.colour == seen.background, "the object is as grey as its ground, and scenes have two colours"


def test_a_pillow_picture_and_its_array_are_read_alike() -> None:
    pixels = render(RED_CIRCLE, 128)
    assert classify(Image.fromarray(pixels).convert("RGBA")) == classify(pixels)


@pytest.mark.parametrize(
    ("scene", "prompt"),
    [
        (RED_CIRCLE, "a red circle on a blue background"),
        (Scene("orange", "white", "star"), "a white star on an orange background"),
        (Scene("black", "orange", "moon"), "an orange moon on a black background"),
    ],
)
def test_a_scene_is_asked_for_in_correct_english(scene: Scene, prompt: str) -> None:
    assert scene.prompt == prompt


def test_scenes_of_a_seed_are_always_the_same_and_visible() -> None:
    scenes = random_scenes(11, 300)
    assert random_scenes(11, 300) == scenes != random_scenes(12, 300)
    assert all(scene.colour != scene.background for scene in scenes)
    assert {scene.shape for scene in scenes} == set(SHAPES)
