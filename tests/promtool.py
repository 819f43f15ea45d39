"""Prometheus' own tool, which parses rules and tries them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SECONDS = 120.0
"""A check takes less than one; a busy machine may take longer."""


def promtool(*arguments: str | Path) -> str:
    """Run promtool and return what it said; fail when it is not content. Skips the test where there is none."""
    named = os.environ.get("IMAGEGEN_PROMTOOL")  # noqa: TID251 - a test run is a composition root
    program = named or shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool: Debian's package prometheus has it; IMAGEGEN_PROMTOOL may name it")
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
