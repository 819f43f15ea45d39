"""What this process may use of the machine: its memory, or less where a container limits it. Imports no torch."""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

ROOT = Path("/")
"""Where ``proc`` and ``sys`` are."""


def host_memory(root: Path = ROOT) -> int:
    """Return the bytes of memory that this process may use: the machine's, or less where a container limits it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_memory_limits(root)])


def _memory_limits(root: Path) -> list[int]:
    paths, mount = _cgroups(root), root / "sys/fs/cgroup"
    texts = [_read(folder / "memory.max") for folder in _folders(mount, paths.get("", "/"))]
    if "memory" in paths:
        texts += [_read(folder / "memory.limit_in_bytes") for folder in _folders(mount / "memory", paths["memory"])]
    return [int(text) for text in texts if text.isdecimal()]  # "max" is no limit


def _cgroups(root: Path) -> Mapping[str, str]:
    """Return the path of the process's cgroup in each hierarchy of version 1, and as ``""`` that in version 2."""
    lines = _read(root / "proc/self/cgroup").splitlines()
    return {kind: path for _, kinds, path in (line.split(":", 2) for line in lines) for kind in kinds.split(",")}


def _folders(mount: Path, path: str) -> list[Path]:
    """Return where the limits of a cgroup and of those above it may be.

    In a container the path in ``/proc`` may be the host's, and of it only the root is there; so each is tried.
    """
    inside = PurePosixPath(path.lstrip("/"))
    return [mount / folder for folder in dict.fromkeys((inside, *inside.parents, PurePosixPath()))]


def _read(file: Path) -> str:
    """Return a file's text, or "" where there is none to read."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""
