"""Turns msgspec's validation errors into field path, rule and what was found.

msgspec says "Expected `int` >= 1 - at `$.inference.steps`". People need the path without the dollar, and the value
that they wrote; the request decoder, the catalog and the settings all use this one reading.
"""

import re
from typing import Any, cast

import msgspec

_AT = re.compile(r" - at `(?P<where>key in )?\$?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]*)`")
_SHOWN_CHARACTERS = 60


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One broken rule: where (``inference.steps``, "" for the whole document), and which."""

    path: str
    rule: str
    kind: str = "invalid"
    """``unknown``, ``missing`` or ``invalid``."""


def violation(error: msgspec.ValidationError) -> Violation:
    """Read the path and the rule out of ``error``."""
    text = str(error)
    match = _AT.search(text)
    path = match["path"].lstrip(".") if match else ""
    rule = text[: match.start()] if match else text
    for kind, pattern in (("unknown", _UNKNOWN), ("missing", _MISSING)):
        if found := pattern.search(rule):
            return Violation(path=_join(path, found["field"]), rule=rule, kind=kind)
    return Violation(path=path, rule=rule)


def value_at(document: object, path: str) -> object:
    """Return the value at ``path`` of a decoded document, None when there is none (or the path has a wildcard)."""
    value = document
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(part)]
        else:
            return None
    return value


def shown(value: object) -> str:
    """Return ``value`` as JSON, cut to a length that fits an error message."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field
