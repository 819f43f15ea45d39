"""Notices that a file was edited, by looking at it.

A ConfigMap or Secret is swapped by a link some levels up, and network file systems send no events.
"""

from pathlib import Path

LOOK_SECONDS = 0.5
"""How often whoever follows a file looks at it: an edit is taken in with the second look, within about a second."""


class FollowedFile:
    """One file. Make it before the first reading, so that no edit falls between the two."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = self._last = _signature(path)

    def edited(self) -> bool:
        """Return whether the file is another than at the last True, and the same as at the last look.

        One that changes from look to look may be half written.
        """
        before, self._last = self._last, _signature(self._path)
        if self._last == self._taken or self._last != before:
            return False
        self._taken = self._last
        return True


def _signature(path: Path) -> tuple[int, ...] | None:
    """Return what changes with every edit, None for a file that is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
