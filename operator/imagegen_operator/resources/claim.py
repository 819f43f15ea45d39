"""The PersistentVolumeClaim of a model's downloads, where its cache asks for one to be created."""

from typing import Any

from imagegen_contract import names
from imagegen_operator.kinds import Kind
from imagegen_operator.objects import Manifest, Model
from imagegen_operator.resources.metadata import header
from imagegen_operator.resources.quantity import canonical, number


def claim_name(model: Model) -> str:
    """Return the name of the claim that is created for ``model``."""
    return f"{model.name}-cache"


def claim(model: Model) -> dict[str, Any] | None:
    """Return the claim to create, None when the cache asks for none. A retained one has no owner, so that it stays."""
    cache = model.spec.cache if model.spec else None
    if cache is None or cache.size is None:
        return None
    manifest = header(Kind.CLAIM, model, claim_name(model))
    if cache.reclaim_policy == "Retain":
        del manifest["metadata"]["ownerReferences"]
        manifest["metadata"]["annotations"] = {names.RECLAIM_ANNOTATION: "Retain"}
    storage = {"requests": {"storage": canonical(cache.size)}}
    chosen = {} if cache.storage_class_name is None else {"storageClassName": cache.storage_class_name}
    return {**manifest, "spec": {"accessModes": [cache.access_mode], "resources": storage, **chosen}}


def with_its_class(live: Manifest, wanted: Manifest) -> Manifest:
    """Return a claim to write with the class that it has, where ``wanted`` names none; other kinds as they are.

    Whoever wrote a class and then leaves it out removes it, which Kubernetes refuses.
    """
    found = live["spec"].get("storageClassName")
    if wanted["kind"] != Kind.CLAIM or found is None:
        return wanted
    return {**wanted, "spec": {"storageClassName": found, **wanted["spec"]}}


def immutable_changes(live: Manifest, wanted: Manifest) -> list[str]:
    """Return in words what ``wanted`` would change of a claim and nobody may: class, access mode, a smaller size."""
    changes: list[str] = []
    before, after = live["spec"], wanted["spec"]
    if before.get("accessModes") != after["accessModes"]:
        modes = (", ".join(spec.get("accessModes") or ()) for spec in (before, after))
        changes.append("its access mode is {}, spec.cache.accessMode is {}".format(*modes))
    if "storageClassName" in after and before.get("storageClassName") != after["storageClassName"]:
        found = before.get("storageClassName") or "none"
        changes.append(f"its class is {found}, spec.cache.storageClassName is {after['storageClassName']}")
    sizes = [spec["resources"]["requests"]["storage"] for spec in (before, after)]
    if number(sizes[1]) < number(sizes[0]):
        changes.append(f"its size is {sizes[0]}, spec.cache.size is {sizes[1]}, and a claim cannot shrink")
    return changes
