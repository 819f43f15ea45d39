"""The resource definition of ImageModels, made from the structs of their spec and status.

**Defaults.** The API server fills them into each object, so that it says all that it means: `kubectl get -o yaml` shows
the steps that a request gets, `kubectl scale` and autoscalers see `replicas`, and rules speak of the values in force.
What is filled in belongs to no field manager: whoever applies another value takes the field without a conflict, and
whoever stops to apply it gives it back to the default. What is filled in is also stored, so a default that changed
later would hold for new objects only, and for the old ones the operator would have to write what was a default before:
their pods would restart. So within a version of the API a default never changes; a test holds them. What is not filled
in, and why, says structural_schema.

**Changes.** All fields may be changed while a model runs, the id too: pods are found by the object's name.
"""

from imagegen_contract import names
from imagegen_contract.conditions import ImageModelStatus
from imagegen_contract.crd_rules import OBJECT_RULES, SPEC_RULES
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.structural_schema import Json, structural_schema

NAME = f"{names.PLURAL}.{names.API_GROUP}"

_KIND_DESCRIPTION = (
    "A text-to-image model, served by pods of its own. The operator makes a Deployment and a Service from it, and says "
    "in its status how far they are."
)
_SPEC_DESCRIPTION = "What the model is, how it makes pictures, and how its pods run"
_STATUS_DESCRIPTION = "What is; written by the operator"


def resource_definition() -> Json:
    """Return the CustomResourceDefinition (apiextensions.k8s.io/v1)."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": names.API_GROUP,
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": ["im", "imodel"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def _version() -> Json:
    return {
        "name": names.API_VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": _columns(),
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "schema": {"openAPIV3Schema": _schema()},
    }


def _schema() -> Json:
    spec = structural_schema(ImageModelSpec, SPEC_RULES, filled=True)
    status = structural_schema(ImageModelStatus, {}, filled=False)
    return {
        "type": "object",
        "description": _KIND_DESCRIPTION,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            # Named, so that a rule can point at it. Kubernetes itself bounds it by 253.
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": {**spec, "description": _SPEC_DESCRIPTION},
            "status": {**status, "description": _STATUS_DESCRIPTION},
        },
        "x-kubernetes-validations": list(OBJECT_RULES),
    }


def _columns() -> list[Json]:
    """Return the columns of `kubectl get`; those of a priority are for `-o wide`."""
    ready = '.status.conditions[?(@.type=="Ready")]'
    return [
        _column("Ready", f"{ready}.status"),
        _column("Reason", f"{ready}.reason"),
        _column("Desired", ".spec.replicas", "integer"),
        _column("Available", ".status.availableReplicas", "integer"),
        _column("Model", ".spec.id"),
        _column("Device", ".status.device"),
        _column("Age", ".metadata.creationTimestamp", "date"),
        {**_column("Source", ".spec.source"), "priority": 1},
        {**_column("Message", f"{ready}.message"), "priority": 1},
    ]


def _column(name: str, path: str, kind: str = "string") -> Json:
    return {"name": name, "type": kind, "jsonPath": path}
