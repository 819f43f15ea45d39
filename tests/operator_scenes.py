"""ImageModels for tests of the operator, and what to look at of them."""

from typing import Any

from cluster.api import Api
from imagegen_contract import names

IMAGE = "registry.example/imagegen-server:1"


def image_model(name: str, **spec: Any) -> dict[str, Any]:
    """Return an ImageModel on the CPU unless ``spec`` says otherwise."""
    fields = {"publisher": "acme", "family": "sd", "version": "1", "id": f"acme/{name}", "gpu": {"count": 0}, **spec}
    api_version = f"{names.API_GROUP}/{names.API_VERSION}"
    return {"apiVersion": api_version, "kind": names.KIND, "metadata": {"name": name}, "spec": fields}


def condition(model: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return one condition of an ImageModel, an empty one when it is not there yet."""
    found = [each for each in model.get("status", {}).get("conditions", ()) if each["type"] == kind]
    return found[0] if found else {"status": "", "reason": "", "message": "", "observedGeneration": 0}


def is_ready(model: dict[str, Any], reason: str = "AllReplicasReady") -> bool:
    """Return whether Ready is True with this reason, and said of the newest generation."""
    ready = condition(model, "Ready")
    newest = ready["observedGeneration"] == model["metadata"]["generation"]
    return newest and (ready["status"], ready["reason"]) == ("True", reason)


def pods(kubernetes: Api, model: str) -> list[dict[str, Any]]:
    """Return the pods of a model."""
    return kubernetes.list("Pod", labels=f"{names.MODEL_LABEL}={model}")
