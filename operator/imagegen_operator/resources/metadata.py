"""Names, labels and owner of everything that belongs to an ImageModel."""

from typing import Any

from imagegen_contract import names
from imagegen_operator.kinds import RESOURCES, Kind
from imagegen_operator.objects import IMAGE_MODEL, Model


def header(kind: Kind, model: Model, name: str) -> dict[str, Any]:
    """Return apiVersion, kind and metadata of a child. It goes with the ImageModel, also while no operator runs."""
    return {
        "apiVersion": RESOURCES[kind].api_version,
        "kind": str(kind),
        "metadata": {
            "name": name,
            "namespace": model.namespace,
            "labels": labels(model),
            "ownerReferences": [owner(model)],
        },
    }


def labels(model: Model) -> dict[str, str]:
    """Return the labels of children and pods: none that changes with a version, since that would restart pods."""
    return {
        names.MANAGED_BY_LABEL: names.OPERATOR,
        names.NAME_LABEL: "imagegen",
        names.COMPONENT_LABEL: "model",
        **selector(model),
    }


def selector(model: Model) -> dict[str, str]:
    """Return what tells a model's pods: Kubernetes lets nobody change it later, so it is only this."""
    return {names.MODEL_LABEL: model.name}


def owner(model: Model) -> dict[str, Any]:
    """Return the owner reference to ``model``. It blocks no deletion: that would need rights on finalizers."""
    return {
        **IMAGE_MODEL,
        "name": model.name,
        "uid": model.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
