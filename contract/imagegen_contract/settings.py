"""Reads a component's settings struct from environment and flags: one way for all programs.

Environment variables are the prefix and the field's name in capitals. A value of a struct field is JSON, one of a
list field is comma-separated. Flags win over environment.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from imagegen_contract.validation import shown, value_at, violation

SettingsStruct = TypeVar("SettingsStruct", bound=msgspec.Struct)


class SettingsError(ValueError):
    """Settings that cannot be used; the message names the variable, what was found and what is allowed."""


def read_settings(
    struct: type[SettingsStruct], prefix: str, environment: Mapping[str, str], flags: Mapping[str, str]
) -> SettingsStruct:
    """Build ``struct`` from ``environment`` (names with ``prefix``) and ``flags`` (field names).

    Raises SettingsError for an unknown name (with the nearest right one) and for a value out of its range.
    """
    known = {field.name: field for field in msgspec.structs.fields(struct)}
    named = {name[len(prefix) :].lower(): text for name, text in environment.items() if name.startswith(prefix)}
    for name in named:
        if name not in known:
            raise SettingsError(_unknown(prefix, name, known))
    raw: dict[str, object] = {name: _parsed(name, text, prefix, struct) for name, text in {**named, **flags}.items()}
    try:
        return msgspec.convert(raw, struct, strict=False)
    except msgspec.ValidationError as error:
        broken = violation(error)
        found = shown(value_at(raw, broken.path))
        raise SettingsError(f"{_variable(prefix, broken.path)}: found {found}; {broken.rule}") from None


def write_environment(settings: msgspec.Struct, prefix: str) -> dict[str, str]:
    """Return the environment of ``settings``: only what differs from the defaults, so that servers of other
    versions, which may not know a newer setting, still start."""
    fields = msgspec.structs.fields(type(settings))
    changed = {field.name: getattr(settings, field.name) for field in fields}
    return {
        _variable(prefix, field.name): _text(changed[field.name])
        for field in fields
        if changed[field.name] != field.default
    }


def _parsed(name: str, text: str, prefix: str, struct: type[msgspec.Struct]) -> object:
    kind = next(field.type for field in msgspec.inspect.type_info(struct).fields if field.encode_name == name)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType] - a struct's type_info has fields
    kinds = _unwrapped(kind)
    if any(isinstance(option, msgspec.inspect.StructType) for option in kinds):
        try:
            return json.loads(text)
        except ValueError as error:
            raise SettingsError(f"{_variable(prefix, name)}: not JSON: {error}") from None
    if any(isinstance(option, msgspec.inspect.VarTupleType) for option in kinds):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _unwrapped(kind: Any) -> list[object]:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _unwrapped(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return [inner for option in kind.types for inner in _unwrapped(option)]
    return [kind]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - parts are strings
    if isinstance(value, msgspec.Struct):
        return msgspec.json.encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unknown(prefix: str, name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {_variable(prefix, near[0])}? " if near else ""
    return f"{_variable(prefix, name)}: unknown setting; {hint}see docs/settings.md for all of them"


def _variable(prefix: str, path: str) -> str:
    head, _, tail = path.partition(".")
    return f"{prefix}{head.upper()}{f' field {tail}' if tail else ''}"
