"""The volumes of a pod: its writable home with the downloads, /tmp, the Hub token, weights on a claim."""

from typing import Any

from imagegen_contract.image_model import ImageModelSpec
from imagegen_operator.objects import Model
from imagegen_operator.resources.claim import claim_name

_HOME = "/var/cache/imagegen"
"""Home, Hub cache and compilers' caches of Dockerfile.server: all that it writes, besides /tmp."""

_WEIGHTS = "/mnt/weights"
_TOKEN_FOLDER = "/var/run/secrets/imagegen/hub"  # noqa: S105 - a folder
TOKEN_FILE = f"{_TOKEN_FOLDER}/token"

_CLAIM_SCHEME = "pvc://"
_READABLE = 0o440


def volumes(model: Model, spec: ImageModelSpec) -> list[dict[str, Any]]:
    """Return the volumes of the pod."""
    found: list[dict[str, Any]] = [{"name": "cache", **_cache(model, spec)}, {"name": "tmp", "emptyDir": {}}]
    if secret := spec.hub_token_secret_ref:
        # Optional, so that the server starts without it and says in words what is missing; it reads the file anew for
        # each download, so that the Secret may come later.
        items = [{"key": secret.key, "path": "token"}]
        source = {"secretName": secret.name, "optional": True, "items": items, "defaultMode": _READABLE}
        found.append({"name": "hub-token", "secret": source})
    if spec.weights.startswith(_CLAIM_SCHEME):
        claim, _ = _claim_and_path(spec)
        found.append({"name": "weights", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    return found


def mounts(spec: ImageModelSpec) -> list[dict[str, Any]]:
    """Return where the container has them."""
    found: list[dict[str, Any]] = [{"name": "cache", "mountPath": _HOME}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if spec.hub_token_secret_ref:
        found.append({"name": "hub-token", "mountPath": _TOKEN_FOLDER, "readOnly": True})
    if spec.weights.startswith(_CLAIM_SCHEME):
        found.append({"name": "weights", "mountPath": _WEIGHTS, "readOnly": True})
    return found


def served_source(spec: ImageModelSpec) -> str | None:
    """Return the source as the server in the pod knows it: a claim is a folder there."""
    if not spec.weights.startswith(_CLAIM_SCHEME):
        return spec.source
    _, path = _claim_and_path(spec)
    return f"file://{_WEIGHTS}/{path}".rstrip("/")


def _cache(model: Model, spec: ImageModelSpec) -> dict[str, Any]:
    if spec.cache is None:
        return {"emptyDir": {}}
    return {"persistentVolumeClaim": {"claimName": spec.cache.claim_name or claim_name(model)}}


def _claim_and_path(spec: ImageModelSpec) -> tuple[str, str]:
    claim, _, path = spec.weights.removeprefix(_CLAIM_SCHEME).partition("/")
    return claim, path
