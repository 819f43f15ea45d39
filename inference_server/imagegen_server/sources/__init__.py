"""Where weights come from: one file a kind of source.

A source gets what follows its scheme and returns a folder with a diffusers pipeline. It raises SourceError with a
cause in words; it never returns a folder that is not whole.
"""

from pathlib import Path
from typing import Protocol


class SourceError(RuntimeError):
    """The weights cannot be had; the message says why and what to do."""


class Source(Protocol):
    """One kind of source."""

    def fetch(self, reference: str) -> Path:
        """Return the folder of ``reference``; raise SourceError when there is none."""
        ...


def split_source(text: str) -> tuple[str, str]:
    """Return (scheme, reference) of a source such as ``file:///models/sdxl``."""
    scheme, _, reference = text.partition("://")
    return scheme, reference
