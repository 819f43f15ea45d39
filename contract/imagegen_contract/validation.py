"""Turns msgspec's validation errors into field path and rule, in the words of JSON.

msgspec says "Expected `int` >= 1 - at `$.inference.steps`". People need the path without the dollar, the value that
they wrote, and what is allowed; the request decoder, the catalog and the settings all use this one reading.
"""

import difflib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import msgspec
from msgspec import inspect

_AT = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<field>.*)`$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>.*)`$", re.DOTALL)
_TYPES = re.compile(r"`([a-z |]+)`")
_USER_OF_URL = re.compile(r"(?<=//)[^/@\s]+(?=@)")
_PATH_PART = re.compile(r"\[[^\]]*\]|[^.\[\]]+")
_SHOWN_CHARACTERS = 60

_MSGSPEC_WORDS = ("Expected", "Invalid", "Number out of", "Integer value out of")
_NOT_EMPTY = re.compile(r"expected (?:string|array) of length >= 1$")
_MISSING_RULE = "missing, and it is required"
_JSON_WORDS = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One broken rule: where (``inference.steps``, "" for the whole document), and which."""

    path: str
    rule: str
    kind: str = "invalid"
    """``unknown``, ``missing`` or ``invalid``."""


def violation(error: msgspec.ValidationError, struct: type[msgspec.Struct] | None = None) -> Violation:
    """Read the path and the rule out of ``error``.

    With ``struct``, the type that was decoded, the rule also says what is allowed: the values of an enum, the names
    of the fields, the meaning of a pattern.
    """
    return _read(str(error), struct, "")


def violations(document: object, struct: type[msgspec.Struct], *, strict: bool = True) -> list[Violation]:
    """Return every broken rule of a decoded ``document``, where msgspec itself stops at the first one.

    Rules between fields (``__post_init__``) are looked at once each field by itself is right. ``strict`` is
    msgspec.convert's: False reads numbers and booleans out of text.
    """
    found = list(_of_fields(cast("dict[str, object]", document), struct, strict)) if isinstance(document, dict) else []
    if not found:
        try:
            msgspec.convert(document, struct, strict=strict)
        except msgspec.ValidationError as error:
            found.append(violation(error, struct))
    return found


def without_unknown(document: object, struct: type[msgspec.Struct]) -> tuple[object, list[Violation]]:
    """Return a decoded ``document`` without the fields that ``struct`` does not know at any depth, and these."""
    unknown: list[Violation] = []
    return _known(document, _inspected(struct), "", unknown), unknown


def value_at(document: object, path: str) -> object:
    """Return the value at ``path`` of a decoded document, None when there is none (or the path has a wildcard)."""
    value = document
    for part in (part.strip("[]") for part in _PATH_PART.findall(path)):
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(part)]
        else:
            return None
    return value


def shown(value: object) -> str:
    """Return ``value`` as JSON, cut to a length that fits an error message, and without the password of a URL."""
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # environment variables that are not UTF-8 hold lone surrogates
        text = ascii(value)
    text = _USER_OF_URL.sub("...", text)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def type_options(kind: inspect.Type) -> list[inspect.Type]:
    """Return the types that ``kind`` may be, without metadata and unions around them."""
    if isinstance(kind, inspect.Metadata):
        return type_options(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [inner for option in kind.types for inner in type_options(option)]
    return [kind]


def meaning_of(kind: inspect.Type) -> str:
    """Return what the pattern of ``kind`` means in words (`allowed` of its Meta's extra), "" where it has none.

    They name what is expected, or are a rule that begins with "must".
    """
    if isinstance(kind, inspect.UnionType):
        return next((words for option in kind.types if (words := meaning_of(option))), "")
    if not isinstance(kind, inspect.Metadata):
        return ""
    extra = cast("dict[str, str]", kind.extra or {})  # pyright: ignore[reportUnknownMemberType] - untyped in msgspec
    return extra.get("allowed", "") or meaning_of(kind.type)


def field_types(struct: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    """Return the type of each field of ``struct`` by its name on the wire."""
    return {field.encode_name: field.type for field in _inspected(struct).fields}


@cache
def _inspected(struct: type[msgspec.Struct]) -> inspect.StructType:
    return cast("inspect.StructType", inspect.type_info(struct))


def _known(value: object, kind: inspect.Type, path: str, unknown: list[Violation]) -> object:
    for option in type_options(kind):
        if isinstance(option, inspect.StructType) and isinstance(value, dict):
            return _known_fields(cast("dict[str, object]", value), option.cls, path, unknown)
        if isinstance(option, inspect.VarTupleType) and isinstance(value, list):
            items = enumerate(cast("list[object]", value))
            return [_known(item, option.item_type, f"{path}[{index}]", unknown) for index, item in items]
    return value


def _known_fields(
    values: dict[str, object], struct: type[msgspec.Struct], path: str, unknown: list[Violation]
) -> dict[str, object]:
    types = field_types(struct)
    strange = [name for name in values if name not in types]
    unknown += [Violation(path=_join(path, name), rule=_unknown(name, struct), kind="unknown") for name in strange]
    return {
        name: _known(value, types[name], _join(path, name), unknown) for name, value in values.items() if name in types
    }


def _of_fields(values: dict[str, object], struct: type[msgspec.Struct], strict: bool) -> Iterator[Violation]:
    known = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name in values if struct.__struct_config__.forbid_unknown_fields else ():
        if name not in known:
            yield Violation(path=name, rule=_unknown(name, struct), kind="unknown")
    for name, field in known.items():
        if name in values:
            yield from _of_field(values[name], field, struct, strict)
        elif field.required:
            yield Violation(path=name, rule=_MISSING_RULE, kind="missing")


def _of_field(
    value: object, field: msgspec.structs.FieldInfo, struct: type[msgspec.Struct], strict: bool
) -> Iterator[Violation]:
    name = field.encode_name
    inner = _struct_among(field_types(struct)[name])
    if inner and isinstance(value, dict):
        for broken in violations(cast("object", value), inner, strict=strict):
            yield msgspec.structs.replace(broken, path=_join(name, broken.path))
        return
    try:
        msgspec.convert(value, field.type, strict=strict)
    except msgspec.ValidationError as error:
        yield _read(str(error), struct, name)
    except UnicodeEncodeError:
        yield Violation(path=name, rule="not UTF-8")


def _read(text: str, struct: type[msgspec.Struct] | None, prefix: str) -> Violation:
    """Read msgspec's message about the value at ``prefix`` of a ``struct``."""
    match = _AT.search(text)
    path = _join(prefix, match["path"].removeprefix(".") if match else "")
    rule = text[: match.start()] if match else text
    if found := _UNKNOWN.search(rule):
        parent = struct and _struct_at(struct, path)
        return Violation(path=_join(path, found["field"]), rule=_unknown(found["field"], parent), kind="unknown")
    if found := _MISSING.search(rule):
        return Violation(path=_join(path, found["field"]), rule=_MISSING_RULE, kind="missing")
    return Violation(path=path, rule=_in_words(rule, _type_at(struct, path) if struct else None))


def _in_words(rule: str, kind: inspect.Type | None) -> str:
    """Return ``rule``, broken at a place of type ``kind``, as it is told to people: no regular expression, no enum."""
    if not rule.startswith(_MSGSPEC_WORDS):
        return rule  # our own __post_init__
    allowed = _allowed_values(kind)
    if rule.startswith("Invalid enum value"):
        return allowed or "is not among the allowed values"
    if "matching regex" in rule:
        return _form(kind)
    words = _TYPES.sub(lambda match: " or ".join(_JSON_WORDS.get(word, word) for word in match[1].split(" | ")), rule)
    words = _NOT_EMPTY.sub("must not be empty", words[:1].lower() + words[1:])
    return f"{words}; {allowed}" if allowed else words


def _allowed_values(kind: inspect.Type | None) -> str:
    literals = [option for option in type_options(kind) if isinstance(option, inspect.LiteralType)] if kind else []
    values = ", ".join(str(value) for literal in literals for value in literal.values)
    return f"allowed: {values}" if values else ""


def _form(kind: inspect.Type | None) -> str:
    """Say in words what a text at a place of type ``kind`` looks like."""
    if kind is None:
        return "has not the right form"
    if not (meaning := meaning_of(kind)):
        return f"has not the right form: {_description(kind)}"
    return meaning if meaning.startswith("must ") else f"expected {meaning}"


def _description(kind: inspect.Type) -> str:
    """Return the innermost description of ``kind``: that of the type comes before that of the field."""
    if isinstance(kind, inspect.UnionType):
        return next((text for option in kind.types if (text := _description(option))), "")
    if not isinstance(kind, inspect.Metadata):
        return ""
    schema = cast("dict[str, Any]", kind.extra_json_schema or {})  # pyright: ignore[reportUnknownMemberType] - untyped in msgspec
    return _description(kind.type) or str(schema.get("description", ""))


def _unknown(name: str, struct: type[msgspec.Struct] | None) -> str:
    if struct is None:
        return "unknown field"
    names = list(field_types(struct))
    near = difflib.get_close_matches(name[:_SHOWN_CHARACTERS], names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown field; {hint}allowed: {', '.join(names)}"


def _type_at(struct: type[msgspec.Struct], path: str) -> inspect.Type | None:
    kind: inspect.Type | None = _inspected(struct)
    for part in _PATH_PART.findall(path):
        kind = next(filter(None, (_step(option, part) for option in type_options(kind))), None)
        if kind is None:
            return None
    return kind


def _step(kind: inspect.Type, part: str) -> inspect.Type | None:
    if isinstance(kind, inspect.StructType):
        return next((field.type for field in kind.fields if field.encode_name == part), None)
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return kind.item_type
    return kind.value_type if isinstance(kind, inspect.DictType) else None


def _struct_at(struct: type[msgspec.Struct], path: str) -> type[msgspec.Struct] | None:
    kind = _type_at(struct, path)
    return _struct_among(kind) if kind else None


def _struct_among(kind: inspect.Type) -> type[msgspec.Struct] | None:
    return next((option.cls for option in type_options(kind) if isinstance(option, inspect.StructType)), None)


def _join(path: str, field: str) -> str:
    separator = "." if path and field and not field.startswith("[") else ""
    return f"{path}{separator}{field}"
