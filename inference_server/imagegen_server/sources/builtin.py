"""``builtin://name``: weights that ship inside a package."""

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import Report, SourceError, Wanted, Weights
from imagegen_shapes import WEIGHTS


class BuiltinSource:
    """The models of this distribution, by name."""

    def __init__(self) -> None:
        self._folders = {"shapes": WEIGHTS}

    def fetch(self, wanted: Wanted, report: Report) -> Weights:
        """Return the folder of the named model; raise SourceError for a name that is none."""
        del report  # nothing is fetched
        if wanted.reference not in self._folders:
            names = ", ".join(f"builtin://{name}" for name in self._folders)
            raise SourceError(
                f"builtin://{wanted.reference}: there is no such model; allowed: {names}",
                LoadFailure.SOURCE_UNSUPPORTED,
            )
        return Weights(path=self._folders[wanted.reference])
