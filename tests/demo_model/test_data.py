"""Training samples: the same everywhere, pictures and captions that agree, at any resolution."""

import random
import re
import subprocess
import sys

import numpy as np
import pytest

from imagegen_shapes_training.adherence import classify
from imagegen_shapes_training.captions import caption
from imagegen_shapes_training.compositions import COLOURS, NAMES, POSITIONS, Composition, Mix, composition
from imagegen_shapes_training.drawing import PALETTE, Figure, as_inputs, draw

SINGLES = [composition("test", index, Mix(empty=0, pairs=0)) for index in range(200)]
PAIRS = [composition("test", index, Mix(empty=0, pairs=1)) for index in range(100)]
UNKNOWN = ("qwx",)


def test_a_sample_is_the_same_in_another_process_and_in_any_order() -> None:
    code = (
        "from imagegen_shapes_training.compositions import Mix, composition;"
        "print([composition('test', index, Mix()) for index in (5, 3)])"
    )
    seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert seen.stdout.strip() == str([composition("test", index, Mix()) for index in (5, 3)])


def test_streams_and_indices_differ() -> None:
    made = {composition(stream, index, Mix()) for stream in ("one", "other") for index in range(100)}
    assert len(made) > 195  # only the few without a figure may repeat


def test_the_mix_is_what_was_asked_for() -> None:
    counts = [len(composition("mix", index, Mix(empty=0.2, pairs=0.3)).figures) for index in range(2000)]
    shares = [counts.count(figures) / len(counts) for figures in (0, 1, 2)]
    assert shares == pytest.approx([0.2, 0.5, 0.3], abs=0.04)


def test_all_shapes_colours_and_positions_occur_and_no_object_has_the_colour_of_its_background() -> None:
    assert {each.figures[0].shape for each in SINGLES} == set(NAMES)
    assert {each.figures[0].colour for each in SINGLES} == set(COLOURS)
    assert {each.position for each in SINGLES} == set(POSITIONS)
    assert [each for each in SINGLES + PAIRS if each.background in {figure.colour for figure in each.figures}] == []


def test_figures_lie_within_the_picture_and_pairs_do_not_touch() -> None:
    for each in SINGLES + PAIRS:
        for figure in each.figures:
            assert all(figure.radius < middle < 1 - figure.radius for middle in figure.centre)
    for each in PAIRS:
        first, second = each.figures
        assert np.hypot(*np.subtract(first.centre, second.centre)) > first.radius + second.radius


@pytest.mark.parametrize("pixels", [64, 128])
def test_what_is_drawn_is_what_the_composition_says(pixels: int) -> None:
    for each in SINGLES:
        seen = classify(np.rint(each.drawn(pixels)).astype(np.uint8))
        figure = each.figures[0]
        assert (seen.background, seen.colour) == (each.background, figure.colour)
        assert figure.radius * pixels < 12 or seen.shape == figure.shape, each


@pytest.mark.parametrize("shape", NAMES)
def test_a_drawing_is_the_average_of_a_finer_one(shape: str) -> None:
    """Antialiasing: a pixel is as much figure as the figure covers of it."""
    figures = [Figure(shape, "white", (0.47, 0.55), 0.3)]
    coarse, fine = draw("black", figures, 32), draw("black", figures, 256)
    averaged = fine.reshape(32, 8, 32, 8, 3).mean((1, 3))
    assert np.abs(coarse - averaged).max() < 0.27 * 225
    assert np.abs(coarse - averaged).mean() < 0.006 * 225


def test_the_drawn_part_does_not_cut_a_figure_off_and_the_edge_of_the_picture_does() -> None:
    left = draw("white", [Figure("circle", "black", (0.0, 0.5), 0.3)], 64)
    whole = draw("white", [Figure("circle", "black", (0.5, 0.5), 0.3)], 64)
    assert np.array_equal(left[:, :32], whole[:, 32:])
    assert (whole[32, 14:50] == PALETTE["black"]).all()


def test_later_figures_cover_earlier_ones() -> None:
    picture = draw("white", [Figure("square", "red"), Figure("square", "blue", radius=0.1)], 32)
    assert tuple(picture[16, 16]) == PALETTE["blue"]
    assert tuple(picture[10, 16]) == PALETTE["red"]


def test_inputs_are_channels_first_from_minus_one_to_one() -> None:
    inputs = as_inputs([np.zeros((4, 4, 3), np.float32), np.full((4, 4, 3), 255, np.float32)])
    assert inputs.shape == (2, 3, 4, 4)
    assert (inputs[0] == -1).all()
    assert (inputs[1] == 1).all()


def test_captions_name_what_is_there_and_nothing_else() -> None:
    lots = random.Random(1)
    for each in SINGLES + PAIRS:
        words = set(re.findall(r"\w+", caption(each, UNKNOWN, lots).lower()))
        there = {each.background} | {figure.colour for figure in each.figures}
        assert words & set(COLOURS) <= there
        assert words & set(NAMES) <= {figure.shape for figure in each.figures}


def test_captions_of_a_picture_are_many_and_most_of_them_say_everything() -> None:
    shown = Composition("blue", (Figure("star", "red"),))
    lots = random.Random(2)
    said = [caption(shown, UNKNOWN, lots) for _ in range(1000)]
    assert len(set(said)) > 200
    complete = sum(all(word in each.lower() for word in ("red", "star", "blue")) for each in said)
    assert 750 < complete < 900
    assert 70 < sum("qwx" in each.lower() for each in said) < 130


@pytest.mark.parametrize(
    ("relation", "first_comes_first"),
    [("left of", True), ("right of", False), ("above", True), ("below", False), ("next to", None)],
)
def test_two_objects_are_related_as_they_lie(relation: str, first_comes_first: bool | None) -> None:
    lots = random.Random(3)
    across = relation in {"left of", "right of", "next to"}
    shown = next(
        each
        for each in PAIRS
        if (each.position == "left") == across and len({figure.colour for figure in each.figures}) == 2
    )
    first, second = (figure.colour for figure in shown.figures)
    said = [caption(shown, UNKNOWN, lots) for _ in range(600)]
    for each in (each for each in said if f" {relation} " in each):
        before, _, after = each.partition(f" {relation} ")
        if first in before and second in after.split(" background")[0]:
            assert first_comes_first is not False
        elif second in before and first in after:
            assert first_comes_first is not True
    assert any(f" {relation} " in each for each in said)
