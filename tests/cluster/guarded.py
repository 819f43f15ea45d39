"""A private folder with a guard: what carries its mark ends, and the folder goes, when the test process does.

Even when that is killed: the guard waits for it (see guard.py). When the guard is killed as well, the next run of any
tests clears up. A run that is alive holds a lock on its folder, so nothing of it is touched.
"""

import atexit
import fcntl
import functools
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from cluster import guard

PREFIX = "imagegen-guarded-"

_REMOVAL_SECONDS = 300.0
"""The guard removes the folder, and a node's has images of 6 GB."""


class Guarded:
    """A folder that nobody else uses, and the environment of the programs that end with it."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        sweep(parent)
        self.folder, self._lock = _make(parent)
        self._guard = subprocess.Popen(
            [sys.executable, "-S", guard.__file__, str(self.folder)],
            stdin=subprocess.PIPE,
            pass_fds=[self._lock],  # held until it has cleared up, so that nobody does it at the same time
            start_new_session=True,
        )

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment with the mark."""
        return {**os.environ, guard.MARK: str(self.folder)}  # noqa: TID251 - a child needs its parent's environment

    def end(self) -> None:
        """Kill what is marked and remove the folder."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait(_REMOVAL_SECONDS)
        os.close(self._lock)


@functools.cache
def of_this_process() -> Guarded:
    """Return what all programs of this test process share that have no guard of their own."""
    guarded = Guarded()
    atexit.register(guarded.end)
    return guarded


def sweep(parent: Path) -> None:
    """Clear up after runs that were killed together with their guards."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, gone by now, or locked by a run that is alive
            lock = _locked(folder)
            try:
                guard.end(str(folder))
            finally:
                os.close(lock)


def _make(parent: Path) -> tuple[Path, int]:
    """Make a folder; it gets its name, by which it is swept, when it is locked."""
    unnamed = Path(tempfile.mkdtemp(prefix=".imagegen-new-", dir=parent))
    lock = _locked(unnamed)
    folder = parent / f"{PREFIX}{unnamed.name.rpartition('-')[2]}"
    return unnamed.rename(folder), lock


def _locked(folder: Path) -> int:
    """Return the descriptor that locks a folder until it is closed; raise OSError where somebody else has."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
