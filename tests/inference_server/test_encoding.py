"""The encoders and the reply's bytes."""

import base64
import io
import json
import zlib
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from imagegen_contract.images import ImageData, ImagesReply, InputTokensDetails, OutputFormat, Usage
from imagegen_server.encoding import encode_image, reply_bytes

Pixels = NDArray[np.uint8]

at_any_speed = settings(deadline=None)
"""The machine may be busy: how long an example takes says nothing here."""


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def landscape(height: int = 96, width: int = 128) -> Pixels:
    """A smooth picture with some edges, as a lossy format expects."""
    y, x = np.mgrid[:height, :width].astype(float)
    picture = np.stack([255 * y / height, 255 * x / width, 128 + 90 * np.sin(x / 9) * np.cos(y / 7)], axis=-1)
    picture[height // 3 : height // 2, width // 3 : width // 2] = (230, 200, 60)
    return picture.astype(np.uint8)


def decoded(file: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in dB."""
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@st.composite
def pictures(draw: st.DrawFn) -> Pixels:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32))
    colours = draw(st.sampled_from([1, 2, 256]))
    return (noise(height, width, seed).astype(int) % colours * (256 // colours)).astype(np.uint8)


# PNG


@at_any_speed
@given(pictures())
def test_a_png_holds_exactly_the_pixels(pixels: Pixels) -> None:
    file = encode_image(pixels, "png", 100)
    assert Image.open(io.BytesIO(file)).mode == "RGB"
    assert np.array_equal(decoded(file), pixels)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(noise(1, 1), id="one pixel"),
        pytest.param(noise(7, 333), id="odd width"),
        pytest.param(noise(300, 1), id="one column"),
        pytest.param(noise(1, 300), id="one row"),
        pytest.param(noise(256, 512), id="incompressible and longer than one deflate block"),
        pytest.param(np.zeros((512, 512, 3), np.uint8), id="black"),
        pytest.param(np.full((64, 64, 3), 255, np.uint8), id="white"),
        pytest.param(noise(60, 40).transpose(1, 0, 2), id="not contiguous"),
        pytest.param(noise(60, 40)[::-2, ::-1], id="reversed with strides"),
    ],
)
def test_a_png_is_lossless_for(pixels: Pixels) -> None:
    before = pixels.copy()
    assert np.array_equal(decoded(encode_image(pixels, "png", 100)), before)
    assert np.array_equal(pixels, before)


@at_any_speed
@given(pictures(), st.dictionaries(st.sampled_from(["parameters", "Software"]), st.text()))
def test_every_chunk_of_a_png_has_its_right_length_and_crc(pixels: Pixels, text: dict[str, str]) -> None:
    file = encode_image(pixels, "png", 100, text)
    Image.open(io.BytesIO(file)).verify()
    kinds: list[bytes] = []
    at = 8
    while at < len(file):
        length = int.from_bytes(file[at : at + 4])
        assert zlib.crc32(file[at + 4 : at + 8 + length]) == int.from_bytes(file[at + 8 + length : at + 12 + length])
        kinds.append(file[at + 4 : at + 8])
        at += 12 + length
    assert at == len(file)
    assert kinds == [b"IHDR", *[b"iTXt"] * len(text), b"IDAT", b"IEND"]


@at_any_speed
@given(st.dictionaries(st.sampled_from(["parameters", "Software", "Überschrift"]), st.text()))
def test_text_in_a_png_is_read_back_by_others_without_its_nuls(text: dict[str, str]) -> None:
    image = Image.open(io.BytesIO(encode_image(noise(3, 5), "png", 100, text)))
    assert isinstance(image, PngImagePlugin.PngImageFile)
    image.load()
    assert image.text == {keyword: value.replace("\0", "") for keyword, value in text.items()}
    assert np.array_equal(np.asarray(image), noise(3, 5))


@pytest.mark.parametrize("keyword", ["", "k" * 80, " seed", "seed ", "a\0b", "a\nb", "日本"])
def test_a_keyword_that_png_forbids_is_refused(keyword: str) -> None:
    with pytest.raises(ValueError, match=r"keyword|latin-1"):
        encode_image(noise(2, 2), "png", 100, {keyword: "x"})


def test_a_flat_picture_makes_a_small_png() -> None:
    flat = np.full((512, 512, 3), (40, 90, 160), np.uint8)
    assert len(encode_image(flat, "png", 100)) < flat.nbytes / 300


def test_png_ignores_compression() -> None:
    assert encode_image(landscape(), "png", 0) == encode_image(landscape(), "png", 100)


# WebP and JPEG


@pytest.mark.parametrize(("output_format", "at_100", "at_50"), [("webp", 38, 30), ("jpeg", 45, 30)])
def test_lossy_formats_stay_close_to_the_picture(output_format: OutputFormat, at_100: float, at_50: float) -> None:
    best, middling = (encode_image(landscape(), output_format, quality) for quality in (100, 50))
    assert Image.open(io.BytesIO(best)).format == output_format.upper()
    assert psnr(decoded(best), landscape()) >= at_100
    assert psnr(decoded(middling), landscape()) >= at_50


@pytest.mark.parametrize("output_format", ["webp", "jpeg"])
def test_more_quality_makes_a_larger_lossy_file(output_format: OutputFormat) -> None:
    sizes = [len(encode_image(landscape(), output_format, quality)) for quality in (0, 30, 60, 85, 100)]
    assert all(smaller < larger for smaller, larger in pairwise(sizes))


@pytest.mark.parametrize(("quality", "colour_sampling"), [(89, (2, 2)), (90, (1, 1)), (100, (1, 1))])
def test_jpeg_keeps_full_colour_resolution_from_quality_90(quality: int, colour_sampling: tuple[int, int]) -> None:
    image = Image.open(io.BytesIO(encode_image(landscape(), "jpeg", quality)))
    first_layer = image.layer[0]  # pyright: ignore[reportAttributeAccessIssue]  # only JPEG files have it
    assert first_layer[1:3] == colour_sampling


@pytest.mark.parametrize("output_format", ["webp", "jpeg"])
@pytest.mark.parametrize("pixels", [noise(1, 1), noise(5, 7), noise(60, 40).transpose(1, 0, 2)])
def test_lossy_formats_keep_any_shape(output_format: OutputFormat, pixels: Pixels) -> None:
    assert decoded(encode_image(pixels, output_format, 80, {"seed": "1"})).shape == pixels.shape


# What is refused


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.zeros((4, 4, 3), np.float32), id="floats"),
        pytest.param(np.zeros((4, 4, 3), np.int8), id="signed bytes"),
        pytest.param(np.zeros((4, 4), np.uint8), id="grey"),
        pytest.param(np.zeros((4, 4, 4), np.uint8), id="with alpha"),
        pytest.param(np.zeros((3, 4, 4), np.uint8), id="channels first"),
        pytest.param(np.zeros((1, 4, 4, 3), np.uint8), id="a batch"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), id="empty"),
    ],
)
def test_another_type_or_shape_is_refused_in_words(output_format: OutputFormat, pixels: Pixels) -> None:
    with pytest.raises(ValueError, match=r"pixels must be uint8 of shape \(height, width, 3\), not .*\("):
        encode_image(pixels, output_format, 100)


@pytest.mark.parametrize("compression", [-1, 101])
def test_a_compression_out_of_range_is_refused(compression: int) -> None:
    with pytest.raises(ValueError, match="compression must be 0 to 100"):
        encode_image(noise(2, 2), "jpeg", compression)


# The reply

LOOKS_LIKE_JSON = [
    '"',
    "\\",
    '"}]',
    "[]",
    '"data":[]',
    '{"b64_json":"',
    '","seed":0}',
    "\u2028",
    "\U0001f40b",
    "é",
    "\0",
]
texts = st.text() | st.lists(st.sampled_from(LOOKS_LIKE_JSON), max_size=6).map("".join)


@st.composite
def replies(draw: st.DrawFn) -> ImagesReply:
    entries = draw(st.lists(st.tuples(st.integers(0, 2**53 - 1), st.none() | texts), max_size=4))
    return ImagesReply(
        created=draw(st.integers(0, 2**40)),
        data=tuple(ImageData(b64_json="", seed=seed, revised_prompt=prompt) for seed, prompt in entries),
        output_format=draw(st.sampled_from(["png", "webp", "jpeg"])),
        quality=draw(st.sampled_from(["low", "medium", "high", None])),
        size=draw(texts),
        model=draw(texts),
        usage=Usage(
            input_tokens=draw(st.integers(0, 9999)),
            input_tokens_details=InputTokensDetails(text_tokens=1),
            output_tokens=2,
            total_tokens=3,
            gpu_seconds=draw(st.floats(0, 1e6)),
            queue_seconds=0.5,
        ),
    )


@settings(at_any_speed, max_examples=300)
@given(replies(), st.data())
def test_the_body_is_that_of_the_whole_reply_encoded_at_once(reply: ImagesReply, data: st.DataObject) -> None:
    count = len(reply.data)
    images = data.draw(st.lists(st.binary(max_size=50), min_size=count, max_size=count))
    whole = msgspec.structs.replace(
        reply,
        data=tuple(
            msgspec.structs.replace(entry, b64_json=base64.b64encode(image).decode())
            for entry, image in zip(reply.data, images, strict=True)
        ),
    )
    body = reply_bytes(reply, images)
    assert body == msgspec.json.encode(whole)
    assert msgspec.json.decode(body, type=ImagesReply) == whole


def a_reply(*pictures: str) -> ImagesReply:
    data = tuple(ImageData(b64_json=picture, seed=1, revised_prompt='a "whale"') for picture in pictures)
    details = InputTokensDetails(text_tokens=1)
    usage = Usage(
        input_tokens=1,
        input_tokens_details=details,
        output_tokens=2,
        total_tokens=3,
        gpu_seconds=0.5,
        queue_seconds=0,
    )
    return ImagesReply(created=1, data=data, output_format="png", quality=None, size="8x8", model="m", usage=usage)


def test_the_keys_come_in_the_order_of_the_contract() -> None:
    body = json.loads(reply_bytes(a_reply("", ""), [b"one", b"two"]))
    assert list(body) == list(ImagesReply.__struct_fields__)
    assert [list(entry) for entry in body["data"]] == [list(ImageData.__struct_fields__)] * 2


@pytest.mark.parametrize("images", [[], [b"one"], [b"one", b"two", b"three"]])
def test_as_many_images_as_entries_are_needed(images: list[bytes]) -> None:
    with pytest.raises(ValueError, match="zip"):
        reply_bytes(a_reply("", ""), images)


def test_an_entry_that_has_a_picture_already_is_refused() -> None:
    with pytest.raises(ValueError, match="already has a picture"):
        reply_bytes(a_reply("AAAA"), [b"one"])
