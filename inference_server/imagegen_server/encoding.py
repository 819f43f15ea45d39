"""Arrays to PNG, WebP or JPEG, and pictures to the bytes of a reply.

Everything here is CPU work (at 1024x1024: PNG and JPEG up to 8 ms, WebP up to 25) and belongs in a worker thread. The
long parts (deflate, libwebp, joining megabytes) let the event loop run meanwhile, and JPEG between its blocks. One
such thread is enough: with more of them than idle cores the loop waits for a core.
"""

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import msgspec
import numpy as np
import pybase64
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

from imagegen_contract.images import ImagesReply, OutputFormat

# isal's stubs leave the data untyped; these are the types that we give it.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
_deflate: Callable[[NDArray[np.uint8], int, int], bytes] = isal_zlib.compress
_crc32: Callable[[bytes, int], int] = isal_zlib.crc32

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FILTER_UP = 2
"""Each byte less the byte above it (PNG specification, 9.2). Of the two filters that numpy does in one pass, Up gives
files from 2 % larger to 5 % smaller than Sub on photo-like pictures, and less than half the size on flat ones and
gradients. Average costs 1.2 (photo-like) to 4 times (flat) as much for files 1 to 3 % smaller or 3 times larger."""
_DEFLATE_LEVEL = 1
"""ISA-L's first level with a Huffman table made from the data. Level 0 costs the same and its files are 25 %
(photo-like) to 4 times (flat) larger; level 3 takes 1.3 to 15 times the CPU and its files are no smaller."""
_DEFLATE_WINDOW_BITS = 9
"""A window of 512 bytes, the smallest. What repeats from row to row Up has already made zero; given a window of rows,
level 1 finds those zeros at ever other distances, which makes flat pictures 2.4 times as large and photo-like ones
1.02 times, for 10 % less CPU. The price: exact repeats more than 170 pixels along a row are not found; a picture set
in type grew 3.5 times, but a model paints no such thing."""

_WEBP_METHOD = 0
"""The fastest search: a quarter to a half of the CPU of Pillow's default, 4. Its files are 0 to 30 % larger on
photo-like pictures and 1.5 to 2.5 times on flat ones, and at most 1.3 dB further from the original."""
_JPEG_FULL_COLOUR_FROM = 90
"""From this quality on colour is kept at full resolution (4:4:4), for sharp coloured edges are what is asked for;
below it 4:2:0 saves a fifth of the file and a third of the time."""
_JPEG_444, _JPEG_420 = 0, 2

_PICTURE_OPENS = b'{"b64_json":"'


def encode_image(
    pixels: NDArray[np.uint8],
    output_format: OutputFormat,
    compression: int,
    text: Mapping[str, str] = {},
) -> bytes:
    """Return the picture as a file.

    Args:
        pixels: RGB, shape (height, width, 3), uint8; both sides at least 1. Any memory layout; it is not changed.
        output_format: ``png`` is lossless, ``webp`` and ``jpeg`` are lossy.
        compression: quality of webp and jpeg, 0 (smallest) to 100 (best); without effect on png.
        text: keyword (1 to 79 Latin-1 characters) to text, kept in a png as iTXt chunks; webp and jpeg have no such
            place, so there it is left out. The format ends texts at NUL, so NULs are dropped.

    Raises:
        ValueError: another type or shape, an empty picture, a compression out of range, a keyword that PNG forbids.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(f"pixels must be uint8 of shape (height, width, 3), not {pixels.dtype} of {pixels.shape}")
    if not 0 <= compression <= 100:
        raise ValueError(f"compression must be 0 to 100, not {compression}")
    match output_format:
        case "png":
            return _png(pixels, text)
        case "webp":
            return _save(pixels, "WEBP", quality=compression, method=_WEBP_METHOD)
        case "jpeg":
            subsampling = _JPEG_444 if compression >= _JPEG_FULL_COLOUR_FROM else _JPEG_420
            return _save(pixels, "JPEG", quality=compression, subsampling=subsampling)


def reply_bytes(reply: ImagesReply, images: Sequence[bytes]) -> bytes:
    """Return the JSON body of ``reply`` with the files ``images`` put in as base64.

    Equal to ``msgspec.json.encode`` of the full reply. The base64 is never looked at by a JSON encoder, and the one
    copy of everything is a join, which lets the event loop run while it copies megabytes.

    Args:
        reply: everything but the pictures: each entry of ``data`` has the empty string as ``b64_json``.
        images: the files, as many as ``reply.data`` and in its order.

    Raises:
        ValueError: another number of images, or an entry that already has a picture.
    """
    # Only `created`, a number, stands before `data`, so the first [] is that of `data` whatever the texts hold.
    head, tail = msgspec.json.encode(msgspec.structs.replace(reply, data=())).split(b"[]", 1)
    parts: list[bytes] = []
    for entry, image in zip(reply.data, images, strict=True):
        if entry.b64_json:
            raise ValueError("an entry of the reply already has a picture")
        after_picture = msgspec.json.encode(entry)[len(_PICTURE_OPENS) :]
        parts += (b",", _PICTURE_OPENS, pybase64.b64encode(image), after_picture)
    return b"".join((head, b"[", *parts[1:], b"]", tail))


def _png(pixels: NDArray[np.uint8], text: Mapping[str, str]) -> bytes:
    height, width, _ = pixels.shape
    data = _deflate(_filtered(pixels), _DEFLATE_LEVEL, _DEFLATE_WINDOW_BITS)
    return b"".join(
        (
            _PNG_SIGNATURE,
            # 8 bits a sample, colour type 2 (RGB), then the only compression, the only filter set, not interlaced.
            *_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            *(part for keyword, value in text.items() for part in _chunk(b"iTXt", _international_text(keyword, value))),
            *_chunk(b"IDAT", data),
            *_chunk(b"IEND", b""),
        )
    )


def _filtered(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the rows as PNG wants them, shape (height, 1 + 3 * width): the filter's number, then the differences."""
    height, width, _ = pixels.shape
    samples = pixels.reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = _FILTER_UP
    rows[0, 1:] = samples[0]
    np.subtract(samples[1:], samples[:-1], out=rows[1:, 1:])
    return rows


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return a chunk in pieces, so that the picture is copied once only: length, kind, data, CRC of kind and data."""
    crc = _crc32(data, _crc32(kind, 0))  # 10 times faster than zlib's
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc)


def _international_text(keyword: str, value: str) -> bytes:
    """Return the data of an uncompressed iTXt chunk (PNG specification, 11.3.3.4) in no particular language."""
    if not (1 <= len(keyword) <= 79 and keyword == keyword.strip() and keyword.isprintable()):
        raise ValueError(f"a PNG keyword is 1 to 79 printable characters without spaces around, not {keyword!r}")
    not_compressed_no_language = b"\0\0\0\0\0"
    return keyword.encode("latin-1") + not_compressed_no_language + value.replace("\0", "").encode()


class _YieldingFile(BytesIO):
    """A file in memory that lets other threads run at each write.

    Pillow holds the interpreter while libjpeg fills one block of 64 KiB, and between blocks it does not let go of its
    own accord: without this a JPEG of 1024x1024 stops the event loop for its 6 ms, with it for under 1 ms.
    """

    def write(self, data: Any, /) -> int:
        # Zero would not do: the interpreter would be taken back before another thread has woken up.
        time.sleep(20e-6)
        return super().write(data)


def _save(pixels: NDArray[np.uint8], pillow_format: str, **options: int) -> bytes:
    with _YieldingFile() as file:
        Image.fromarray(pixels).save(file, pillow_format, **options)
        return file.getvalue()
