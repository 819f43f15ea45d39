"""JSON as YAML in block style, for people to read: the one thing that a YAML library would be needed for here."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9/._-]*")
_NOT_TEXT = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Words that YAML 1.1, which kubectl reads, takes for something else than text when they stand without quotes."""

_WHOLE_EXPONENT = re.compile(r"^(-?\d+)e")


def yaml_document(value: Mapping[str, Any]) -> str:
    """Return ``value``, which is JSON, as one YAML document with the line end of its last line."""
    return "".join(f"{line}\n" for line in _lines(dict(value)))


def _lines(value: object) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in cast("dict[str, object]", value).items():
            yield from _field(_text(key), inner)
    elif isinstance(value, list) and value:
        for inner in cast("list[object]", value):
            first, *rest = _lines(inner)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(cast("object", value))


def _field(name: str, value: object) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield f"{name}:"
        yield from (f"  {line}" for line in _lines(cast("object", value)))
    else:
        yield f"{name}: {_scalar(cast('object', value))}"


def _scalar(value: object) -> str:
    """Return text, a number, a boolean or null; an empty list or object is written as in JSON."""
    if isinstance(value, str):
        return _text(value)
    # YAML 1.1 reads 1e-07 as text.
    return _WHOLE_EXPONENT.sub(r"\1.0e", json.dumps(value))


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(character if character.isprintable() else _escape(character) for character in quoted)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
