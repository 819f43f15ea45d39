"""What the operator knows of one ImageModel and everything that belongs to it, at one moment.

Kubernetes' own objects stay plain JSON dictionaries (`Manifest`): the pure rooms read the few fields that they need.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from imagegen_contract import names
from imagegen_contract.conditions import ImageModelStatus, Reason
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.server_status import ServerStatus

Manifest = Mapping[str, Any]
"""A Kubernetes object as JSON."""

IMAGE_MODEL: Manifest = {"apiVersion": f"{names.API_GROUP}/{names.API_VERSION}", "kind": names.KIND}
"""What every manifest of an ImageModel begins with."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One ImageModel. ``spec`` is None when this operator cannot read it, ``problem`` then says why."""

    namespace: str
    name: str
    uid: str
    generation: int = 1
    created: str = ""
    """creationTimestamp, RFC 3339."""
    annotations: Mapping[str, str] = {}
    spec: ImageModelSpec | None
    problem: str = ""
    status: ImageModelStatus = ImageModelStatus()
    deleting: bool = False


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One ImageModel with its children, pods, and what else decides about it."""

    model: Model
    deployment: Manifest | None = None
    service: Manifest | None = None
    claim: Manifest | None = None
    """The PersistentVolumeClaim that we created for its cache, None when there is none."""
    taken: tuple[str, ...] = ()
    """Children that cannot be made because that name is somebody else's, such as ``Service sdxl-turbo``."""
    rival: str = ""
    """Why an older ImageModel has the right to one of its names, in words."""
    pods: tuple[Manifest, ...] = ()
    servers: Mapping[str, ServerStatus] = {}
    """What /status of its pods said last, by pod UID; only of pods that are not ready, or became so since."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of writing the children: the condition Reconciled."""

    reason: Reason
    """``Applied``, ``InvalidSpec``, ``DuplicateId``, ``NameConflict``, ``ImmutableField`` or ``ApplyFailed``."""
    message: str


def reference(namespace: str, name: str, uid: str) -> Manifest:
    """Return what an Event says of the ImageModel that it regards."""
    return {**IMAGE_MODEL, "namespace": namespace, "name": name, "uid": uid}


def text_of(manifest: Manifest, *path: str) -> str:
    """Return the string at ``path`` of ``manifest``, "" when there is none."""
    value: Any = manifest
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON
    return value if isinstance(value, str) else ""
