"""Runs the `imagegen` command as people do: a process of its own, with a clean environment."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from fakes import FakeImageServer
from imagegen_cli.main import run


def imagegen(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in ``folder`` with nothing but ``environment`` around it."""
    command = [sys.executable, "-m", "imagegen_cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=20, check=False)


def imagegen_here(
    capsys: pytest.CaptureFixture[str], *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which saves its start: for tests of what it does, not of how it starts."""
    code = run(arguments, environment)
    shown = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, code, shown.out, shown.err)


class Terminal:
    """The command on a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self._process = process
        self._screen = screen
        self._deadline = time.monotonic() + 20

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def read_until(self, text: str) -> str:
        """Return what is shown until ``text`` comes, with ``text``."""
        shown = ""
        while text not in shown:
            more = self._read()
            assert more, f"{text!r} never came: {shown!r}"
            shown += more
        return shown

    def read_all(self) -> tuple[int, str]:
        """Return the exit code, and all that is shown until the command ends."""
        shown = ""
        while more := self._read():
            shown += more
        os.close(self._screen)
        return self._process.wait(timeout=20), shown

    def _read(self) -> str:
        ready, _, _ = select.select([self._screen], [], [], max(0, self._deadline - time.monotonic()))
        assert ready, "nothing was shown for too long"
        try:
            return os.read(self._screen, 65536).decode(errors="replace")
        except OSError:  # Linux says so when the last process has left the terminal
            return ""


_ON_A_TERMINAL = """
import signal, sys
from imagegen_cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""
"""A run of the tests in the background ignores Ctrl-C, and its children would as well; on a terminal nobody does."""


def terminal(folder: Path, *arguments: str, columns: int = 120) -> Terminal:
    """Start the command in ``folder`` on a terminal."""
    screen, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_A_TERMINAL, *arguments], cwd=folder, env={}, stdin=side, stdout=side, stderr=side
    )
    os.close(side)
    return Terminal(process, screen)


def generate(folder: Path, server: FakeImageServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `imagegen generate` for a red circle."""
    return imagegen(folder, "generate", "a red circle", *arguments, IMAGEGEN_URL=server.url)


def names(folder: Path) -> list[str]:
    """List everything under ``folder``."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_failed(done: subprocess.CompletedProcess[str], *said: str, code: int = 1) -> None:
    """The command ended with ``code``, and one line on stderr says each of ``said``."""
    assert done.returncode == code, done
    assert done.stderr.startswith("imagegen: ")
    assert done.stderr.count("\n") == 1
    assert [text for text in said if text not in done.stderr] == [], done.stderr
