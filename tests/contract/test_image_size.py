"""Sizes: how they are written, and which valid one is nearest."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract.image_size import (
    MAX_SIDE,
    MIN_SIDE,
    SIZE_MULTIPLE,
    SIZE_PATTERN,
    ImageSize,
    nearest_valid,
    parse_size,
)

SIDES = st.integers(1, 99_999)
SIZES = st.builds(ImageSize, SIDES, SIDES)
AREAS = st.integers(4096, 67_108_864)


def test_the_width_comes_first() -> None:
    assert parse_size("832x1216") == ImageSize(832, 1216)


@given(SIZES)
def test_a_size_is_read_as_it_is_written(size: ImageSize) -> None:
    assert parse_size(str(size)) == size


@pytest.mark.parametrize(
    "text", ["", "512", "512X512", "512 x 512", "0x512", "-8x512", "512x", "5.5x8", "100000x8", "auto", "\u0665x\u0665"]
)
def test_what_is_no_size_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="WIDTHxHEIGHT in pixels, such as 512x512"):
        parse_size(text)


@given(st.text() | st.from_regex(SIZE_PATTERN))
def test_what_the_schema_accepts_can_be_read_and_nothing_else(text: str) -> None:
    if re.search(SIZE_PATTERN, text):
        assert parse_size(text).pixels > 0
    else:
        with pytest.raises(ValueError, match="a size is"):
            parse_size(text)


NEAREST = {
    "a valid size is its own nearest": ((512, 768), 1_048_576, (512, 768)),
    "sides are rounded to multiples of 8": ((515, 509), 1_048_576, (512, 512)),
    "a small side becomes 64": ((8, 512), 1_048_576, (64, 512)),
    "a large picture is scaled down with its proportions": ((4096, 2048), 524_288, (1024, 512)),
    "a square stays square where it is cut": ((513, 513), 262_144, (512, 512)),
    "an endless side is cut at the largest": ((99_999, 64), 67_108_864, (8192, 64)),
    "the smallest area leaves the smallest square": ((99_999, 1), 4096, (64, 64)),
}


@pytest.mark.parametrize(("asked", "max_pixels", "nearest"), NEAREST.values(), ids=NEAREST.keys())
def test_the_nearest_valid_size(asked: tuple[int, int], max_pixels: int, nearest: tuple[int, int]) -> None:
    assert nearest_valid(ImageSize(*asked), max_pixels) == ImageSize(*nearest)


@given(SIZES, AREAS)
def test_the_nearest_valid_size_is_valid(size: ImageSize, max_pixels: int) -> None:
    nearest = nearest_valid(size, max_pixels)
    for side in (nearest.width, nearest.height):
        assert side % SIZE_MULTIPLE == 0
        assert MIN_SIDE <= side <= MAX_SIDE
    assert nearest.pixels <= max_pixels


@given(SIZES, AREAS)
def test_a_valid_size_is_nearest_to_itself(size: ImageSize, max_pixels: int) -> None:
    nearest = nearest_valid(size, max_pixels)
    assert nearest_valid(nearest, max_pixels) == nearest


@given(st.integers(64, 8192), st.integers(64, 8192))
def test_within_the_limits_a_side_moves_by_half_a_multiple_at_most(width: int, height: int) -> None:
    nearest = nearest_valid(ImageSize(width, height), 8192 * 8192)
    assert abs(nearest.width - width) <= SIZE_MULTIPLE // 2
    assert abs(nearest.height - height) <= SIZE_MULTIPLE // 2


@given(SIZES, AREAS)
def test_turning_a_size_turns_the_nearest(size: ImageSize, max_pixels: int) -> None:
    nearest = nearest_valid(size, max_pixels)
    turned = nearest_valid(ImageSize(size.height, size.width), max_pixels)
    assert {turned.width, turned.height} == {nearest.width, nearest.height}
