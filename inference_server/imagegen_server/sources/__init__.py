"""Where weights come from: one file a kind of source.

A source gets what a model wants and returns weights on this machine's disk. It raises SourceError with a cause in
words; it never returns weights that are not whole.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_status import DownloadProgress
from imagegen_server.errors import LoadError

Report = Callable[[DownloadProgress], None]
"""Takes note of how far a fetch is; from any thread. It may raise FetchCancelled, which a source lets pass."""


VARIANTS = ("fp16", "bf16", "fp32", "non_ema")
"""The variants of weights that people publish beside the plain files or in their place, the best one first."""


class SourceError(LoadError):
    """The weights cannot be had; the message says why and what to do."""

    def __init__(self, message: str, reason: LoadFailure = LoadFailure.WEIGHTS_NOT_FOUND) -> None:
        super().__init__(message, reason)


class FetchCancelled(Exception):
    """Nobody wants the weights any more; what has arrived stays where the next fetch finds it."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a model wants of a source: ``reference`` is what follows the scheme.

    ``half`` prefers 16-bit files where there are any; ``safety_checker`` says whether that part is wanted. ``config``
    is where the configuration and the tokenizers of a single-file checkpoint are (``hf://`` or ``file://``), "" for
    the usual place of its family.
    """

    reference: str
    revision: str = ""
    config: str = ""
    half: bool = True
    safety_checker: bool = True


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Weights on disk: the folder of a diffusers pipeline, or one ``.safetensors`` file (a single-file checkpoint).

    ``variant`` names the files to take in a folder ("fp16": ``*.fp16.safetensors``), "" the plain ones. ``revision``
    is the commit they are of, "" where there is none. ``config`` is the folder with the configuration and the
    tokenizers of a single-file checkpoint.
    """

    path: Path
    variant: str = ""
    revision: str = ""
    config: Path | None = None


class Source(Protocol):
    """One kind of source."""

    def fetch(self, wanted: Wanted, report: Report) -> Weights:
        """Return the weights; raise SourceError when there are none. Called from worker threads, several at once."""
        ...


def split_source(text: str) -> tuple[str, str]:
    """Return (scheme, reference) of a source such as ``file:///models/sdxl``."""
    scheme, _, reference = text.partition("://")
    return scheme, reference
