"""Ends a test cluster when the process that started it is gone, whatever way it went.

``python guard.py FOLDER`` waits for the end of its standard input, which the starting process holds open. Then it
kills every process that carries the folder's mark in its environment, and what these have started, and removes the
folder. The orderly stop takes the same way: it closes the pipe and waits. Standard library only, Linux.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

MARK = "IMAGEGEN_TEST_CLUSTER"
"""Environment variable of all processes of a cluster; its value is the state folder."""

_SECONDS = 20.0


def marked(folder: str) -> set[int]:
    """Return the ids of the living processes that carry the mark, and of all that descend from them."""
    mark = f"{MARK}={folder}".encode()
    parents = {pid: parent for pid in _pids() if (parent := _parent(pid)) is not None}
    found = {pid for pid in parents if mark in _environment(pid)}
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return found - {os.getpid()}


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended may wait to be reaped."""
    return _parent(pid) is not None


def end(folder: str) -> None:
    """Kill what is marked and remove the folder, which goes last: what is left without it is found by nobody."""
    kill(folder)
    _remove_cgroups(Path(folder).name)
    shutil.rmtree(folder, ignore_errors=True)


def kill(folder: str) -> None:
    """Kill what is marked."""
    # What is inside a node's process namespace goes first: its parents outside are there to bury it.
    _kill_all(lambda: {pid for pid in marked(folder) if _namespace(pid) != _namespace("self")})
    _kill_all(lambda: marked(folder))


def _kill_all(find: Callable[[], set[int]]) -> None:
    deadline = time.monotonic() + _SECONDS
    while (pids := find()) and time.monotonic() < deadline:
        for pid in pids:
            _kill(pid)
        time.sleep(0.02)


def _namespace(pid: int | str) -> str:
    """Return the process namespace of a process; that of this one for a process that is gone or not ours."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return _namespace("self")


def _remove_cgroups(name: str) -> None:
    """Remove what a node made (cgroups.py): emptied by now, from the innermost outwards."""
    root = Path("/sys/fs/cgroup")
    for group in (root / name, *root.glob(f"*/{name}")):
        for folder, _, _ in os.walk(group, topdown=False):
            _remove_cgroup(Path(folder))


def _remove_cgroup(group: Path) -> None:
    """Remove a group; the kernel takes a moment to see that its last process is gone."""
    deadline = time.monotonic() + _SECONDS
    while group.exists() and time.monotonic() < deadline:
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.02)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int | None:
    """Return the parent of a living process; None for one that is gone or waits to be reaped."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else int(parent)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end(sys.argv[1])
