"""Field paths as the API server writes them in conflicts: `.spec.replicas`, `.spec.pod.env[name="A"].value`. Pure."""

import copy
import re
from collections.abc import Iterable
from typing import Any

from imagegen_operator.objects import Manifest

_STEP = re.compile(r'\.(?P<field>[^.\[\]]+)|\[(?P<key>\w+)="(?P<value>(?:[^"\\]|\\.)*)"\]|\[.*?\]')


def without(manifest: Manifest, paths: Iterable[str]) -> Manifest:
    """Return a copy of ``manifest`` without the fields at ``paths``; a path that leads nowhere changes nothing."""
    left: dict[str, Any] = copy.deepcopy(dict(manifest))
    for path in paths:
        _remove(left, list(_STEP.finditer(path)))
    return left


def _remove(value: Any, steps: list[re.Match[str]]) -> None:
    step, rest = steps[0], steps[1:]
    if field := step["field"]:
        if not isinstance(value, dict) or field not in value:
            return
        # An item of a list that has no key (a set) cannot be told from others: the list goes as a whole.
        if not rest or (not rest[0]["field"] and not rest[0]["key"]):
            del value[field]
        else:
            _remove(value[field], rest)
    elif isinstance(value, list) and rest:
        for item in value:
            if isinstance(item, dict) and item.get(step["key"]) == step["value"]:
                _remove(item, rest)
