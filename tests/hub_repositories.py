"""Folders as the repositories of a Hub: their files with the checksums that git gives them, and their commit."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

_LFS_KINDS = {".safetensors", ".bin", ".ckpt", ".pt", ".msgpack", ".onnx", ".png", ".jpg"}
"""Kinds of files that the Hub keeps outside git, whatever their size."""
_LFS_POINTER_BYTES = 134


class RepositoryFile(msgspec.Struct, frozen=True):
    """One file: its path within the repository, where it is on disk, its checksums."""

    path: str
    place: Path
    size: int
    sha256: str
    git_oid: str
    is_lfs: bool

    @property
    def etag(self) -> str:
        """The name under which the Hub and its caches know the content."""
        return self.sha256 if self.is_lfs else self.git_oid

    def as_sibling(self) -> dict[str, Any]:
        """Return the file as in a repository's metadata with ``blobs=true``."""
        lfs = {"sha256": self.sha256, "size": self.size, "pointerSize": _LFS_POINTER_BYTES}
        sibling = {"rfilename": self.path, "size": self.size, "blobId": self.git_oid}
        return {**sibling, "lfs": lfs} if self.is_lfs else sibling

    def as_tree_entry(self) -> dict[str, Any]:
        """Return the file as in a repository's tree."""
        lfs = {"oid": self.sha256, "size": self.size, "pointerSize": _LFS_POINTER_BYTES}
        entry = {"type": "file", "path": self.path, "size": self.size, "oid": self.git_oid}
        return {**entry, "lfs": lfs} if self.is_lfs else entry


class Repository:
    """What a folder holds when this is made."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): _file(folder, path) for path in paths}
        content = "".join(f"{file.path} {file.etag}\n" for file in self.files.values())
        self.commit = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()


def _file(folder: Path, path: Path) -> RepositoryFile:
    stat = path.stat()
    sha256, git_oid = _checksums(path, stat.st_size, stat.st_mtime_ns)
    return RepositoryFile(
        path.relative_to(folder).as_posix(), path, stat.st_size, sha256, git_oid, path.suffix in _LFS_KINDS
    )


@cache
def _checksums(path: Path, size: int, mtime_ns: int) -> tuple[str, str]:
    """Return SHA-256 and git's object id; the size and time of change are there to be part of the cache's key."""
    del mtime_ns
    content = path.read_bytes()
    oid = hashlib.sha1(b"blob %d\0" % size + content, usedforsecurity=False)
    return hashlib.sha256(content).hexdigest(), oid.hexdigest()
