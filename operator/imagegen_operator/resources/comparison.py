"""Compares what the operator wants with what is there.

The API server adds defaults, and others add fields of their own (labels, sidecars, a restart by hand); neither is a
difference. What Kubernetes owns as a whole, such as a selector, nobody else can add to. Lists of named things are
compared by name, as server-side apply merges them.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import msgspec

_MERGE_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "ports": ("port", "containerPort", "protocol"),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
}
"""The keys by which Kubernetes merges these lists; all other lists are replaced as a whole."""

_WHOLE = frozenset({"selector", "nodeSelector", "requiredDuringSchedulingIgnoredDuringExecution"})
"""Maps that Kubernetes replaces as a whole; all others are merged."""

_UNSTORED_MAPS = frozenset({"matchLabels"})
"""Maps that are not stored when they are empty, as texts and lists are not; an empty emptyDir is."""

_DIGEST_CHARACTERS = 16


def covers(live: object, wanted: object, field: str = "") -> bool:
    """Return whether everything in ``wanted`` is in ``live`` with an equal value. ``field`` names both."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and _covers_map(_mapping(live), _mapping(wanted), field)
    if isinstance(wanted, list | tuple):
        return isinstance(live, list | tuple) and _covers_list(_items(live), _items(wanted), field)
    return live == wanted


def digest(manifest: Mapping[str, Any]) -> str:
    """Return a short hash of a manifest, the same for the same content whatever the order of its fields."""
    canonical = msgspec.json.encode(manifest, order="deterministic")
    return hashlib.sha256(canonical).hexdigest()[:_DIGEST_CHARACTERS]


def _covers_map(live: Mapping[str, Any], wanted: Mapping[str, Any], field: str) -> bool:
    return _covers_fields(live, wanted) and (field not in _WHOLE or _covers_fields(wanted, live))


def _covers_fields(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(
        covers(live[name], value, name) if name in live else _is_unstored(name, value) for name, value in wanted.items()
    )


def _covers_list(live: Sequence[Any], wanted: Sequence[Any], field: str) -> bool:
    if field not in _MERGE_KEYS:
        pairs = list(zip(live, wanted, strict=False))
        return len(live) == len(wanted) and all(covers(one, other) and covers(other, one) for one, other in pairs)
    by_key = {_key(each, field): each for each in live}
    return all(covers(by_key.get(_key(each, field)), each) for each in wanted)


def _key(item: Mapping[str, Any], field: str) -> Hashable:
    return tuple(item.get(name) for name in _MERGE_KEYS[field])


def _is_unstored(name: str, value: object) -> bool:
    return value is None or value in ("", [], ()) or (value == {} and name in _UNSTORED_MAPS)


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value)


def _items(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value)
