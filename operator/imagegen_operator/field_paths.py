"""Field paths as the API server writes them in conflicts: `.spec.replicas`, `.spec.pod.env[name="A"].value`. Pure."""

import copy
import json
import re
from collections.abc import Iterable
from typing import Any

from imagegen_operator.objects import Manifest

_ITEM = re.compile(r'\[(?P<keys>(?:"(?:[^"\\]|\\.)*"|[^"\]])*)\]')
_KEY = re.compile(r'(?P<name>\w+)=(?P<value>"(?:[^"\\]|\\.)*"|[^",]+)(?:,|$)')


def without(manifest: Manifest, paths: Iterable[str]) -> Manifest:
    """Return a copy of ``manifest`` without the fields at ``paths``; a path that leads nowhere changes nothing."""
    left: dict[str, Any] = copy.deepcopy(dict(manifest))
    for path in paths:
        _remove(left, path)
    return left


def _remove(value: Any, path: str) -> None:
    if isinstance(value, dict) and (name := _first_name(value, path)):
        rest = path[1 + len(name) :]
        if not rest or _is_unnamed_item(rest):
            del value[name]
        else:
            _remove(value[name], rest)
    elif isinstance(value, list) and (step := _ITEM.match(path)):
        rest = path[step.end() :]
        for item in [each for each in value if _has_keys(each, step["keys"])]:
            if rest:
                _remove(item, rest)
            else:
                value.remove(item)


def _first_name(value: dict[str, Any], path: str) -> str:
    """Return the field of ``value`` that ``path`` begins with, "" for none: names of labels have dots themselves."""
    begins = [name for name in value if path[:1] == "." and path[1:].startswith(name)]
    return max((name for name in begins if path[1 + len(name) :][:1] in {"", ".", "["}), key=len, default="")


def _is_unnamed_item(path: str) -> bool:
    """Return whether an item of a set or of a plain list comes next: it has no key, so the list goes as a whole."""
    step = _ITEM.match(path)
    return step is not None and not _KEY.match(step["keys"])


def _has_keys(item: Any, keys: str) -> bool:
    wanted = {key["name"]: json.loads(key["value"]) for key in _KEY.finditer(keys)}
    return isinstance(item, dict) and all(item.get(name) == value for name, value in wanted.items())
