"""Where pictures go: names for new files, and writing without ever replacing one that is there."""

import itertools
import os
import re
from pathlib import Path

import msgspec

from imagegen_cli.command import CommandError, UsageError
from imagegen_contract.image_model import last_segment
from imagegen_contract.images import OutputFormat

SUFFIXES: dict[str, OutputFormat] = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A folder, and the name of the file in it; without a name each picture is called by model and seed."""

    folder: Path
    name: str | None = None

    @property
    def format(self) -> OutputFormat | None:
        """The format that the file's suffix asks for, None when it says nothing."""
        return SUFFIXES.get(Path(self.name).suffix.lower()) if self.name else None

    def path(self, model: str, seed: int, output_format: str) -> Path:
        """Return where a picture should go. It may be taken: see ``write_new``."""
        return self.folder / (self.name or default_name(model, seed, output_format))


def destination(output: str | None) -> Destination:
    """Read ``--output``: an existing folder, a folder to make (``name/``), a file, or None for the current folder.

    Raises CommandError before any picture is made when nothing could be written there.
    """
    path = Path(output or ".")
    if output and output.endswith("/"):
        _make(path)
    if path.is_dir():
        return Destination(folder=_writable(path))
    if not path.parent.is_dir():
        raise CommandError(f"the folder {path.parent} does not exist")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"--output {output} is neither a folder that exists nor a file that ends in {', '.join(SUFFIXES)}"
        )
    return Destination(folder=_writable(path.parent), name=path.name)


def default_name(model: str, seed: int, output_format: str) -> str:
    """Return ``shapes-42.png`` for seed 42 of ``imagegen/shapes``."""
    # The server names the model: nothing in its answer may lead to another folder.
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", last_segment(model))
    return f"{safe}-{seed}.{output_format}"


def write_new(path: Path, content: bytes) -> Path:
    """Write to ``path``, or to the first of name-2, name-3, ... that is free; return where. Raises CommandError."""
    for candidate in _candidates(path):
        try:
            _write(candidate, content)
        except FileExistsError:
            continue
        except OSError as error:
            raise CommandError(f"{candidate} cannot be written: {error.strerror}") from None
        return candidate
    raise AssertionError("the candidates never end")


def _write(path: Path, content: bytes) -> None:
    """Write a file as a whole, or none."""
    with path.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _candidates(path: Path) -> itertools.chain[Path]:
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return itertools.chain([path], numbered)


def _writable(folder: Path) -> Path:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"the folder {folder} cannot be written to by this user")
    return folder


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"the folder {folder} cannot be made: {error.strerror}") from None
