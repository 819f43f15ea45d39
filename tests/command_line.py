"""Runs the `imagegen` command as people do: a process of its own, with a clean environment."""

import subprocess
import sys
from pathlib import Path

from fakes import FakeImageServer


def imagegen(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in ``folder`` with nothing but ``environment`` around it."""
    command = [sys.executable, "-m", "imagegen_cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=20, check=False)


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
