"""ImageModels whose children are kept in operator/golden/, as the operator writes them, byte by byte.

A pod template that changes restarts pods that somebody pays for, so a change of these files is a decision.
`python tests/golden_models.py` writes them anew; the difference is to be read before it is kept.
"""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from imagegen_contract.image_model import ImageModelSpec
from imagegen_operator.objects import Model, Observed
from imagegen_operator.plan import plan
from imagegen_operator.settings import OperatorSettings

Json = dict[str, Any]

FOLDER = Path(__file__).parent / "operator" / "golden"
SETTINGS = OperatorSettings(server_image="registry.example/imagegen-server:1.0.0")

_TURBO: Json = {
    "publisher": "stabilityai",
    "family": "sdxl",
    "version": "turbo",
    "id": "stabilityai/sdxl-turbo",
    "aliases": ["sdxl-turbo"],
    "inference": {"steps": 1, "guidanceScale": 0, "size": "512x512"},
}

SPECS: dict[str, Json] = {
    "shapes-on-the-cpu": {
        "publisher": "imagegen",
        "family": "shapes",
        "version": "1",
        "id": "imagegen/shapes",
        "source": "builtin://shapes",
        "gpu": {"count": 0},
    },
    "sdxl-turbo-on-a-gpu": _TURBO,
    "gated-with-a-cache": {
        "publisher": "acme",
        "family": "sdxl",
        "version": "2",
        "id": "acme/gated",
        "revision": "refs/pr/3",
        "cache": {"size": "0.5Ti", "storageClassName": "fast", "reclaimPolicy": "Retain"},
        "hubTokenSecretRef": {"name": "hub", "key": "HF_TOKEN"},
    },
    "weights-on-a-volume": {
        **_TURBO,
        "source": "pvc://models/sdxl/turbo.safetensors",
        "config": "hf://stabilityai/sdxl-turbo",
        "cache": {"claimName": "downloads"},
    },
    "surge": {
        **_TURBO,
        "replicas": 3,
        "cache": {"size": "20Gi", "accessMode": "ReadWriteMany"},
        "rollout": {"maxSurge": 1, "drainSeconds": 120, "loadTimeoutSeconds": 7200},
    },
    "everything-overridden": {
        **_TURBO,
        "gpu": {"count": 2, "resourceName": "nvidia.com/mig-1g.5gb"},
        "pod": {
            "image": "registry.example/own-server@sha256:" + "0" * 64,
            "resources": {"limits": {"memory": "16384Mi"}, "requests": {"cpu": "0.5", "memory": "8Gi"}},
            "env": [
                {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
                {"name": "IMAGEGEN_SERVER_LOG_LEVEL", "value": "debug"},
                {"name": "IMAGEGEN_SERVER_DEVICE", "value": "auto"},
            ],
            "nodeSelector": {"accelerator": "a100"},
            "tolerations": [
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                {"key": "team", "value": "art", "effect": "NoExecute", "tolerationSeconds": 30},
            ],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "spot", "operator": "DoesNotExist"}]}]
                    }
                }
            },
            "runtimeClassName": "nvidia",
            "priorityClassName": "pictures",
        },
    },
}
"""Each kind of model, and each field of a spec that makes something in its children."""

OTHER_SETTINGS: dict[str, OperatorSettings] = {
    "everything-overridden": msgspec.structs.replace(
        SETTINGS,
        image_pull_policy="IfNotPresent",
        image_pull_secrets=("registry", "mirror"),
        hub_endpoint="https://hub.example/mirror",
    )
}
"""The operator's settings where they are not `SETTINGS`."""


def model(name: str, spec: Json, **fields: Any) -> Model:
    """Return the ImageModel ``name`` with ``spec``; ``fields`` are those of Model."""
    return Model(
        namespace="models",
        name=name,
        uid="00000000-0000-0000-0000-000000000001",
        spec=msgspec.convert(spec, ImageModelSpec),
        **fields,
    )


def settings_of(name: str) -> OperatorSettings:
    """Return the operator's settings for a golden model."""
    return OTHER_SETTINGS.get(name, SETTINGS)


def manifests(name: str) -> list[Json]:
    """Return what the operator writes for a golden model that has nothing yet."""
    planned = plan(Observed(model=model(name, SPECS[name])), settings_of(name))
    return list(msgspec.to_builtins(planned.apply))


def text(name: str) -> str:
    """Return the golden file of a model as it should be."""
    return yaml.safe_dump_all(manifests(name), sort_keys=False, width=1_000_000)


def path(name: str) -> Path:
    """Return where the golden file of a model is."""
    return FOLDER / f"{name}.yaml"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in SPECS:
        path(each).write_text(text(each), encoding="utf-8")
