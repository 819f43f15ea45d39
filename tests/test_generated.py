"""Generated files are as their sources say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_generated_files_are_up_to_date() -> None:
    command = [sys.executable, ROOT / "tools/generate.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # On stderr it says what is not to be had on this machine.
    assert (result.returncode, result.stdout) == (0, "")
