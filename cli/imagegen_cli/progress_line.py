"""Progress of one thing: one line that changes on a terminal, a line for each step elsewhere."""

import shutil
import sys
from collections.abc import Hashable
from types import TracebackType
from typing import Self

_CLEAR_REST = "\x1b[K"


class ProgressLine:
    """Shows a text on stdout again and again; the line ends with the ``with``."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._open = False
        self._last: Hashable = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            print(flush=True)

    def show(self, text: str, step: Hashable) -> None:
        """Show ``text``. Where lines cannot change it is printed only when ``step`` is another than before."""
        if self._live:
            self._open = True  # before the line: Ctrl-C may come in the middle of it
            # A line as wide as the terminal would wrap, and then not be overwritten.
            print(f"\r{text[: shutil.get_terminal_size().columns - 1]}{_CLEAR_REST}", end="", flush=True)
        elif step != self._last:
            print(text, flush=True)
        self._last = step
