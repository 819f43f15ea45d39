"""models_info.json as the text that people wrote: an entry is appended, nothing else is touched.

The file is replaced in one step, so that whoever reads it sees the old one or the new one.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imagegen_cli.command import CommandError
from imagegen_contract.catalog import CatalogError, parse_catalog
from imagegen_contract.edited_text import FileError, MissingFileError, read_file
from imagegen_contract.image_model import ImageModelSpec

_UNIT = "  "


class CatalogText:
    """One catalog file as it was when it was read; a file that is not there is an empty catalog."""

    def __init__(self, path: Path) -> None:
        """Raise CommandError when the file cannot be read, or is no right catalog before anything is added."""
        self._path = path
        try:
            self._before = read_file(path)
        except MissingFileError:
            self._before = None
        except FileError as error:
            raise CommandError(f"{path}: {error}") from None
        self.specs = () if self._before is None else self._checked(self._before)

    @property
    def is_new(self) -> bool:
        """Whether there was no such file."""
        return self._before is None

    def names(self) -> Mapping[str, str]:
        """Return who has each name: id of the model by id and alias."""
        return {name: spec.id for spec in self.specs for name in (spec.id, *spec.aliases)}

    def with_entry(self, entry: Mapping[str, Any]) -> bytes:
        """Return the whole file with ``entry`` at its end; raise CommandError when the entry is not right."""
        text = "[]\n" if self._before is None else self._before.decode()
        content = appended(text, entry).encode()
        try:
            specs = parse_catalog(content, str(self._path))
        except CatalogError as error:
            raise CommandError(f"the entry would not be right: {'; '.join(error.problems)}") from None
        if specs[:-1] != self.specs:
            raise AssertionError("an entry was lost")
        return content

    def replace(self, content: bytes) -> None:
        """Put ``content`` in the file's place; raise CommandError when it was edited meanwhile or cannot be written."""
        target = self._path.resolve()  # a link stays a link
        new = target.with_name(f".{target.name}.{os.getpid()}.new")
        try:
            _write(new, content)
            if target.exists():
                shutil.copymode(target, new)
            if (target.read_bytes() if target.exists() else None) != self._before:
                raise CommandError(f"{self._path} was edited meanwhile; nothing was written: run the command again")
            new.replace(target)
        except OSError as error:
            raise CommandError(f"{self._path} cannot be written: {error.strerror}") from None
        finally:
            new.unlink(missing_ok=True)

    def _checked(self, content: bytes) -> tuple[ImageModelSpec, ...]:
        try:
            return parse_catalog(content, str(self._path))
        except CatalogError as error:
            raise CommandError(
                f"{self._path} is broken, so nothing is added to it: see `imagegen models check {self._path}` "
                f"({error.problems[0]})"
            ) from None


def appended(text: str, entry: Mapping[str, Any]) -> str:
    """Return the JSON list ``text`` with ``entry`` at its end, in the indentation of the entries before it."""
    end = text.rindex("]")
    head = text[:end].rstrip()
    gap = text[len(head) : end]
    newline = next((end for end in ("\r\n", "\n", "\r") if end in text), "\n")
    if not head.endswith("[") and newline not in head:
        return f"{head}, {json.dumps(entry, ensure_ascii=False)}{gap}{text[end:]}"
    outer, unit = (_UNIT, _UNIT) if head.endswith("[") else _indentation(text)
    block = newline.join(outer + line for line in entry_lines(entry, unit))
    if head.endswith("["):
        return f"{head}{newline}{block}{newline}{text[end:]}"
    return f"{head},{newline}{block}{gap}{text[end:]}"


def entry_lines(entry: Mapping[str, Any], unit: str = _UNIT) -> Iterator[str]:
    """Yield the lines of an entry: each field on its own line, lists and numbers of a field on that line."""
    yield "{"
    for index, (name, value) in enumerate(entry.items()):
        comma = "," if index < len(entry) - 1 else ""
        first, *more = entry_lines(value, unit) if isinstance(value, dict) else [json.dumps(value, ensure_ascii=False)]  # pyright: ignore[reportUnknownArgumentType] - JSON
        lines = [f"{json.dumps(name)}: {first}", *more]
        yield from (f"{unit}{line}" for line in lines[:-1])
        yield f"{unit}{lines[-1]}{comma}"
    yield "}"


def _indentation(text: str) -> tuple[str, str]:
    """Return (indentation of an entry, what its fields have in addition) as the file has them."""
    lines = text.replace("\r", "\n")
    brace = re.search(r"^([ \t]*)\{", lines, re.MULTILINE)
    field = re.search(r'^([ \t]+)"', lines, re.MULTILINE)
    outer = brace[1] if brace else ""
    unit = field[1].removeprefix(outer) if field else ""
    return outer, unit or outer or _UNIT


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # left by a killed process that had our number
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
