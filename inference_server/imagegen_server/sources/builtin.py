"""``builtin://name``: weights that ship inside a package."""

from pathlib import Path

from imagegen_server.sources import SourceError
from imagegen_shapes import WEIGHTS


class BuiltinSource:
    """The models of this distribution, by name."""

    def __init__(self) -> None:
        self._folders = {"shapes": WEIGHTS}

    def fetch(self, reference: str) -> Path:
        """Return the folder of the named model; raise SourceError for a name that is none."""
        try:
            return self._folders[reference]
        except KeyError:
            names = ", ".join(f"builtin://{name}" for name in self._folders)
            raise SourceError(f"builtin://{reference}: there is no such model; allowed: {names}") from None
