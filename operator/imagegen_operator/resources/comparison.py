"""Compares what the operator wants with what is there.

The API server adds defaults, and others add fields of their own (labels, sidecars, a restart by hand); neither is a
difference. Lists of named things are compared by name, as server-side apply merges them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

_MERGE_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "ports": ("port", "containerPort"),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
}
"""The keys by which Kubernetes merges these lists; all other lists are replaced as a whole."""

_DIGEST_CHARACTERS = 16


def covers(live: object, wanted: object, field: str = "") -> bool:
    """Return whether everything in ``wanted`` is in ``live`` with an equal value. ``field`` names both."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and _covers_fields(_mapping(live), _mapping(wanted))
    if isinstance(wanted, list | tuple):
        return isinstance(live, list | tuple) and _covers_list(_items(live), _items(wanted), field)
    return live == wanted


def digest(manifest: Mapping[str, Any]) -> str:
    """Return a short hash of a manifest, the same for the same content whatever its order."""
    canonical = msgspec.json.encode(manifest, order="deterministic")
    return hashlib.sha256(canonical).hexdigest()[:_DIGEST_CHARACTERS]


def _covers_fields(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for name, value in wanted.items():
        if name not in live:
            # An empty value is not stored: an emptyDir is, an empty text or list is not.
            if value in ("", [], ()):
                continue
            return False
        if not covers(live[name], value, name):
            return False
    return True


def _covers_list(live: Sequence[Any], wanted: Sequence[Any], field: str) -> bool:
    key = next((key for key in _MERGE_KEYS.get(field, ()) if wanted and all(key in each for each in wanted)), None)
    if key is None:
        return len(live) == len(wanted) and all(map(covers, live, wanted))
    by_key = {each.get(key): each for each in live}
    return all(covers(by_key.get(each[key]), each) for each in wanted)


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value)


def _items(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value)
