"""The size of an image, written ``WxH`` (width first) in requests, entries and replies."""

import re

import msgspec

SIZE_PATTERN = r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}\Z"
SIZE_MULTIPLE = 8
"""Both sides are multiples of 8: the VAE of SD and SDXL halves the picture three times."""
MIN_SIDE = 64
"""Below 64 px the deepest block of a four-level UNet has nothing left to look at."""
MAX_SIDE = 8192


class ImageSize(msgspec.Struct, frozen=True, order=True):
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """The area in pixels."""
        return self.width * self.height

    def __str__(self) -> str:
        """Return the size as the API writes it."""
        return f"{self.width}x{self.height}"


def parse_size(text: str) -> ImageSize:
    """Read ``WxH``; raise ValueError with the allowed form when it is anything else."""
    if not re.match(SIZE_PATTERN, text):
        raise ValueError("a size is WIDTHxHEIGHT in pixels, such as 512x512")
    width, height = text.split("x")
    return ImageSize(int(width), int(height))


def nearest_valid(size: ImageSize, max_pixels: int) -> ImageSize:
    """Return the valid size nearest to ``size``: sides in range, multiples of 8, area at most ``max_pixels``.

    A size that is too large is scaled down with its proportions kept. ``max_pixels`` is at least MIN_SIDE squared.
    """
    shrink = min(1.0, (max_pixels / size.pixels) ** 0.5)
    width, height = _snap(size.width * shrink), _snap(size.height * shrink)
    while width * height > max_pixels and max(width, height) > MIN_SIDE:
        width, height = (width - SIZE_MULTIPLE, height) if width >= height else (width, height - SIZE_MULTIPLE)
    return ImageSize(width, height)


def _snap(side: float) -> int:
    multiple = round(side / SIZE_MULTIPLE) * SIZE_MULTIPLE
    return min(max(multiple, MIN_SIDE), MAX_SIDE)
