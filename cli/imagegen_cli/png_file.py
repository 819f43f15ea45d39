"""What a PNG file holds, as far as one can tell without a library of pictures: `imagegen check` runs where none is.

Chunks and scanlines are those of the PNG specification (W3C, third edition, sections 5.3 and 7.2).
"""

import struct
import zlib
from collections.abc import Iterator

import msgspec

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}
"""Samples a pixel, by colour type; that with a palette is not among what servers send."""
_MOST_PIXELS = 1 << 26


class NotPng(Exception):
    """The bytes are no PNG file, or a damaged one."""


class PngFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Size in pixels, and how many different rows there are, each as the difference that its filter left."""

    width: int
    height: int
    distinct_rows: int


def read_png(data: bytes) -> PngFacts:
    """Check signature, checksums and length of a PNG of 8 bits a sample; raise NotPng where one is wrong."""
    chunks = list(_chunks(data))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != struct.calcsize(">IIBBBBB"):
        raise NotPng("its header is missing")
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth != 8 or colour not in _SAMPLES or not 0 < width * height <= _MOST_PIXELS:
        raise NotPng(f"{width}x{height} at {depth} bits of colour type {colour} is nothing that a server sends")
    row = width * _SAMPLES[colour] + 1
    rows = _inflated(b"".join(content for name, content in chunks if name == b"IDAT"), row * height)
    distinct = {rows[start : start + row] for start in range(0, len(rows), row)}
    return PngFacts(width=width, height=height, distinct_rows=len(distinct))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(_SIGNATURE):
        raise NotPng("it does not begin as a PNG does")
    position = len(_SIGNATURE)
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        body = data[position + 4 : position + 8 + length]
        checksum = data[position + 8 + length : position + 12 + length]
        if zlib.crc32(body).to_bytes(4, "big") != checksum:
            raise NotPng(f"a checksum is wrong at byte {position}")
        yield body[:4], body[4:]
        position += 12 + length
        if body[:4] == b"IEND":
            return
    raise NotPng("its end is missing")


def _inflated(compressed: bytes, size: int) -> bytes:
    try:
        inflater = zlib.decompressobj()
        rows = inflater.decompress(compressed, size + 1)
    except zlib.error:
        raise NotPng("its pixels cannot be decompressed") from None
    if len(rows) != size or not inflater.eof:
        raise NotPng(f"it holds {len(rows)} bytes of pixels where {size} belong")
    return rows
