"""The real server where an import fails, as BREAKS says: ``folder`` or ``diffusers``.

With ``folder`` there is no folder for temporary files until the file MENDED exists; with ``diffusers`` importing that
fails half-way, once.
"""

import os
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from imagegen_server import loader, main

_BREAKS = os.environ["BREAKS"]  # noqa: TID251 - a program of the tests
_MENDED = Path(os.environ.get("MENDED", "/"))  # noqa: TID251 - as above


class _Importlib:
    """Imports as always, but for the first time."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._failed = False

    def import_module(self, name: str) -> ModuleType:
        """Import half of it, and fail."""
        if not self._failed:
            self._failed = True
            self._real.import_module("torch")
            raise AssertionError("Artifact of type=precompile already registered")
        return self._real.import_module(name)


def _candidates() -> list[str]:
    return [str(_MENDED.parent)] if _MENDED.exists() else ["/proc/no-such-folder"]


if __name__ == "__main__":
    if _BREAKS == "folder":
        tempfile._candidate_tempdir_list = _candidates  # type: ignore[attr-defined]
    else:
        loader.importlib = _Importlib(loader.importlib)  # type: ignore[assignment]
    main.run()
