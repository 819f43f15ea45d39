r"""How each of our programs meets the world: its standard streams, Ctrl-C, and the exit code.

| what happens | what the program does |
|---|---|
| standard output is full, or fails otherwise | one line on stderr, exit code 1 |
| whoever reads it goes away (`| head -1`) | ends in silence, exit code 141 as for a program that SIGPIPE ended |
| stderr fails | goes on |
| the terminal's encoding lacks a character | writes it as `\xe9`, `\u20ac` or `\U0001f600` |
| a standard stream is closed (`>&-`) | takes /dev/null for it, so that no file or socket gets its number |
| Ctrl-C | one line on stderr, exit code 130 |
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

_FAILED = 1
_INTERRUPTED = 130
_READER_GONE = 141

_OUTPUT, _ERRORS = 1, 2


def run_program(name: str, program: Callable[[], int]) -> int:
    """Run ``program`` and return the exit code of the process, with all that was written flushed.

    ``name`` stands before what is said on stderr. Wrong usage and --help end as argparse ends them.
    """
    for number in (0, _OUTPUT, _ERRORS):
        _have_open(number)
    output, errors = _Output(_OUTPUT), _Output(_ERRORS)
    sys.stdout, sys.stderr = _text(output, sys.stdout), _text(errors, sys.stderr, at_once=True)
    try:
        code = program()
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            sys.stdout.flush()  # interrupted in the middle of a line, which is to stand before ours
        print(f"{name}: interrupted", file=sys.stderr)  # noqa: T201 - there may be no log
        code = _INTERRUPTED
    except OSError:
        if output.failure is None:
            raise
        code = _FAILED
    return _ended(name, code, output)


def _ended(name: str, code: int, output: "_Output") -> int:
    """Write what is buffered still: at its exit Python would do that, and show a traceback where it cannot."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    if isinstance(output.failure, BrokenPipeError):
        return _READER_GONE
    if output.failure is not None:
        words = output.failure.strerror or output.failure
        print(f"{name}: the output cannot be written: {words}", file=sys.stderr)  # noqa: T201 - as above
        return _FAILED
    return code


class _Output(io.FileIO):
    """One of the two streams. What it cannot write goes to /dev/null, and so does all that comes after it."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self.failure: OSError | None = None

    def write(self, data: Any, /) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            _lead_to_null(self.fileno())
            if self.fileno() == _ERRORS:
                return len(data)  # nobody can be told
            raise


def _text(output: _Output, before: TextIO | None, *, at_once: bool = False) -> TextIO:
    """Return a stream of text in the place of Python's own, which shows what the encoding lacks as an escape."""
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=before.encoding if before else None,
        errors="backslashreplace",
        line_buffering=at_once or output.isatty() or getattr(before, "write_through", False),
    )


def _have_open(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        _lead_to_null(number)


def _lead_to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
