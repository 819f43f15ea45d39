"""Reads a component's settings struct from environment and flags: one way for all programs.

Environment variables are the prefix and the field's name in capitals. A value of a struct field is JSON, one of a
list field is comma-separated. Flags win over environment.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TypeVar, cast

import msgspec
from msgspec import inspect

from imagegen_contract.edited_text import decode_json
from imagegen_contract.validation import (
    Violation,
    field_types,
    shown,
    type_options,
    value_at,
    violations,
    without_unknown,
)

SettingsStruct = TypeVar("SettingsStruct", bound=msgspec.Struct)


class SettingsError(ValueError):
    """Settings that cannot be used; the message has a line for each: the variable, what was found, what is allowed."""


def read_settings(
    struct: type[SettingsStruct],
    prefix: str,
    environment: Mapping[str, str],
    flags: Mapping[str, str],
    warn: Callable[[str], None] | None = None,
) -> SettingsStruct:
    """Build ``struct`` from ``environment`` (names with ``prefix``) and ``flags`` (field names).

    Raises SettingsError with every unknown name (and the nearest right one) and every value out of its range. With
    ``warn`` unknown names, also of fields inside a value that is JSON, are told there and left out.
    """
    named = {name[len(prefix) :].lower(): text for name, text in environment.items() if name.startswith(prefix)}
    raw: dict[str, object] = {}
    problems: list[str] = []
    for name, text in {**named, **flags}.items():
        try:
            raw[name] = _parsed(name, text, struct)
        except ValueError as error:
            problems.append(f"{_variable(prefix, name)}: {error}")
    known = list(field_types(struct))
    if warn is not None:
        kept, unknown = without_unknown(raw, struct)
        for strange in unknown:
            warn(_sentence(raw, strange, prefix, known))
        raw = cast("dict[str, object]", kept)
    problems += [_sentence(raw, broken, prefix, known) for broken in violations(raw, struct, strict=False)]
    if problems:
        raise SettingsError("\n".join(problems))
    return msgspec.convert(raw, struct, strict=False)


def write_environment(settings: msgspec.Struct, prefix: str) -> dict[str, str]:
    """Return the environment of ``settings``: only what differs from the defaults, inside struct fields too.

    So servers of other versions, which may not know a newer setting, still start. The texts of a list field must hold
    neither a comma nor space around them (names of models never do).
    """
    return {_variable(prefix, name): _text(value) for name, value in _changed(settings).items()}


def _changed(settings: msgspec.Struct) -> dict[str, object]:
    """Return the fields that are not at their default, by name on the wire; structs as such dictionaries again."""
    fields = [(field, getattr(settings, field.name)) for field in _fields(type(settings))]
    return {field.encode_name: _plain(value) for field, value in fields if value != _default(field)}


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(struct)


def _default(field: msgspec.structs.FieldInfo) -> object:
    factory = field.default_factory
    return factory() if callable(factory) else field.default


def _plain(value: object) -> object:
    return _changed(value) if isinstance(value, msgspec.Struct) else value


def _parsed(name: str, text: str, struct: type[msgspec.Struct]) -> object:
    """Return what ``text`` holds for the field ``name``; raise ValueError when it should be JSON and is not."""
    kinds = type_options(field_types(struct)[name]) if name in field_types(struct) else []
    if any(isinstance(kind, inspect.StructType) for kind in kinds):
        return decode_json(text)
    if any(isinstance(kind, inspect.VarTupleType) for kind in kinds):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, cast("tuple[object, ...]", value)))
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sentence(raw: dict[str, object], broken: Violation, prefix: str, known: Iterable[str]) -> str:
    variable = _variable(prefix, broken.path)
    if broken.kind == "unknown" and broken.path in raw:
        near = difflib.get_close_matches(broken.path, known, n=1, cutoff=0.4)
        hint = f"did you mean {_variable(prefix, near[0])}? " if near else ""
        return f"{variable}: unknown setting; {hint}see docs/settings.md for all of them"
    if broken.kind == "invalid" and broken.path:
        rule = broken.rule.removesuffix(", got string").replace("boolean", "true or false")  # all variables are text
        return f"{variable}: found {shown(value_at(raw, broken.path))}; {rule}"
    return f"{variable}: {broken.rule}"


def _variable(prefix: str, path: str) -> str:
    head, _, tail = path.partition(".")
    return f"{prefix}{head.upper()}{f' field {tail}' if tail else ''}"
