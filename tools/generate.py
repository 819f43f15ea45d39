#!/usr/bin/env python3
"""Writes the files that are made from others: docs/settings.md, docs/openapi.json, the packaged models_info.json.

`python tools/generate.py` writes them, `--check` writes nothing and fails when one differs from what it would write.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

import msgspec
from msgspec import inspect

from imagegen_contract.openapi import openapi_document
from imagegen_contract.server_settings import ENVIRONMENT_PREFIX, ServerSettings
from imagegen_contract.validation import field_types, type_options

ROOT = Path(__file__).resolve().parent.parent

_SETTINGS_INTRODUCTION = """\
# Settings of the server

Made by `python tools/generate.py` from `contract/imagegen_contract/server_settings.py`; edit it there.

Each setting is an environment variable and a flag of `imagegen-server`; a flag wins over the variable. A list is
written with commas, a switch as `true` or `false`. A wrong value or a misspelt name stops the server at its start with
a message that says what is allowed.

| variable | flag | values | default | what it does |
|---|---|---|---|---|
"""

_VALUES: dict[type[inspect.Type], str] = {
    inspect.BoolType: "`true`, `false`",
    inspect.NoneType: "",
    inspect.StrType: "text",
    inspect.StructType: "JSON",
    inspect.VarTupleType: "list",
}


def main(arguments: list[str]) -> int:
    """Write the files, or with --check compare them; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    check = parser.parse_args(arguments).check
    stale = {path: content for path, content in generated_files().items() if not _is_current(path, content)}
    for path, content in stale.items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        verb = "is out of date; run python tools/generate.py" if check else "written"
        sys.stdout.write(f"{path.relative_to(ROOT)}: {verb}\n")
    return 1 if check and stale else 0


def generated_files() -> dict[Path, bytes]:
    """Return what each generated file should hold."""
    return {
        ROOT / "docs/settings.md": settings_page().encode(),
        ROOT / "docs/openapi.json": openapi_page().encode(),
        ROOT / "contract/imagegen_contract/models_info.json": (ROOT / "models_info.json").read_bytes(),
    }


def openapi_page() -> str:
    """Return the OpenAPI document of this version, indented."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return json.dumps(openapi_document(project["version"]), indent=2, ensure_ascii=False) + "\n"


def settings_page() -> str:
    """Return the table of all settings of the server."""
    types = field_types(ServerSettings)
    rows = [_row(field, types[field.encode_name]) for field in msgspec.structs.fields(ServerSettings)]
    return _SETTINGS_INTRODUCTION + "".join(rows)


def _row(field: msgspec.structs.FieldInfo, kind: inspect.Type) -> str:
    flag = field.name.replace("_", "-")
    cells = (
        f"`{ENVIRONMENT_PREFIX}{field.name.upper()}`",
        f"`--{flag}`",
        " or ".join(filter(None, map(_values, type_options(kind)))),
        _default(field.default),
        _description(kind).replace("|", "\\|"),
    )
    return f"| {' | '.join(cells)} |\n"


def _values(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return _range(kind)
    return _VALUES[type(kind)]


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    noun = "integer" if isinstance(kind, inspect.IntType) else "number"
    least = f"above {kind.gt:g}" if kind.gt is not None else f"from {kind.ge}"
    return f"{noun} {least} to {kind.le}"


def _default(value: object) -> str:
    if value is None or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _description(kind: inspect.Type) -> str:
    extra: dict[str, str] = getattr(kind, "extra_json_schema", None) or {}
    return extra["description"]


def _is_current(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
