"""What a ``.safetensors`` file holds, told from its header: no tensor is read.

The file is 8 bytes with the length of the header, the header as JSON (number format, shape and place of each tensor),
then the tensors' bytes, without gaps: so the header also says how long the file must be.
"""

import math
from pathlib import Path

import msgspec

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""The limit of the safetensors library."""
_METADATA = "__metadata__"
_LFS_POINTER = b"version https://git-lfs"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class HeaderError(ValueError):
    """The file is no whole safetensors file; the message says what it is instead, without its name."""


class Tensor(msgspec.Struct, frozen=True):
    """One tensor: its number format as safetensors writes it (``F16``, ``I64``), its shape, its place in the data."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes_in_file(self) -> int:
        """How long it is in the file."""
        return self.data_offsets[1] - self.data_offsets[0]

    @property
    def is_float(self) -> bool:
        """Whether its numbers are converted to another number format when a model is loaded in that."""
        return self.dtype.startswith(("F", "BF"))


Header = dict[str, Tensor]
"""The tensors of a file by name."""


def read_header(path: Path) -> Header:
    """Return the tensors of a file; raise HeaderError when it is broken, OSError when it cannot be read."""
    size = path.stat().st_size
    length, beginning = _beginning(path)
    if length > size - _LENGTH_BYTES:
        raise HeaderError(f"is cut off within its header: it has {size} bytes, the header alone {length}")
    header = _decoded(beginning)
    whole = _LENGTH_BYTES + length + max((tensor.data_offsets[1] for tensor in header.values()), default=0)
    if size != whole:
        raise HeaderError(f"is {'cut off' if size < whole else 'too long'}: it has {size} bytes of {whole}")
    return header


def read_metadata(path: Path) -> dict[str, str]:
    """Return what a file says of itself besides its tensors; raise HeaderError or OSError as ``read_header`` does."""
    _, text = _beginning(path)
    try:
        metadata = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get(_METADATA)
        return msgspec.json.decode(metadata, type=dict[str, str]) if metadata is not None else {}
    except _UNREADABLE as error:
        raise HeaderError(f"is no safetensors file: its metadata cannot be read: {error}") from None


def _beginning(path: Path) -> tuple[int, bytes]:
    """Return how long the header says it is, and what there is of it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        beginning = file.read(min(length, size, _LONGEST_HEADER))
    _check_is_safetensors(start, beginning)
    return length, beginning


def _check_is_safetensors(start: bytes, beginning: bytes) -> None:
    if not start:
        raise HeaderError("is empty")
    if (start + beginning).startswith(_LFS_POINTER):
        raise HeaderError("is a Git LFS pointer, not the file itself; fetch that with: git lfs pull")
    if not beginning.startswith(b"{"):
        raise HeaderError("is no safetensors file")


def _decoded(text: bytes) -> Header:
    try:
        entries = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        return {name: msgspec.json.decode(raw, type=Tensor) for name, raw in entries.items() if name != _METADATA}
    except _UNREADABLE as error:
        raise HeaderError(f"is no safetensors file: its header cannot be read: {error}") from None
