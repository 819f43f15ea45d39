"""Files that are whole or absent, also when the process is killed while it writes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_NUMBERS = "recipe.json"


class OtherRecipeError(Exception):
    """Something in the output folder was made with other numbers."""


def once(folder: Path, numbers: dict[str, Any], make: Callable[[Path], None]) -> None:
    """Let ``make`` fill ``folder``, unless an earlier run finished that with the same ``numbers``.

    Raises:
        OtherRecipeError: The folder was made with other numbers.
    """
    if folder.exists():
        _require_same(folder, json.loads((folder / _NUMBERS).read_text()), numbers)
        print(f"{folder.name}: done before", flush=True)
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    make(partial)
    (partial / _NUMBERS).write_text(json.dumps(numbers, indent=1))
    partial.rename(folder)


def save(file: Path, state: dict[str, Any], numbers: dict[str, Any]) -> None:
    """Replace ``file`` by ``state`` in one go."""
    partial = file.with_name(f"{file.name}.partial")
    torch.save({"numbers": json.dumps(numbers), "state": state}, partial)
    partial.replace(file)


def load(file: Path, numbers: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state in ``file``, None when there is no such file.

    Raises:
        OtherRecipeError: The file was made with other numbers.
    """
    if not file.exists():
        return None
    content = torch.load(file, weights_only=True)
    _require_same(file, json.loads(content["numbers"]), numbers)
    return content["state"]


def _require_same(path: Path, found: Any, wanted: dict[str, Any]) -> None:
    # Through JSON, which has no tuples.
    if found != json.loads(json.dumps(wanted)):
        raise OtherRecipeError(
            f"{path} was made with other numbers: {json.dumps(found)} instead of {json.dumps(wanted)}; "
            f"remove {path.parent} to train from nothing"
        )
