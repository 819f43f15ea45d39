"""ImageModels of every kind that are taken; bad_image_models.py has those that are refused."""

from typing import Any

Json = dict[str, Any]

IDENTITY: Json = {"publisher": "acme", "family": "sdxl", "version": "1.0", "id": "acme/one"}

CREATED = {"size": "10Gi"}
"""A cache whose claim serves one pod."""
SHARED = {"size": "10Gi", "accessMode": "ReadWriteMany"}


def spec(**fields: object) -> Json:
    """Return the smallest spec with ``fields`` beside or in place of its own; None leaves one out."""
    return {name: value for name, value in {**IDENTITY, **fields}.items() if value is not None}


def inference(**fields: object) -> Json:
    """Return a spec with these inference settings."""
    return spec(inference=fields)


def pod(**fields: object) -> Json:
    """Return a spec with these overrides of the pod."""
    return spec(pod=fields)


GOOD: dict[str, Json] = {
    "the smallest": spec(),
    "an id without a slash": spec(id="one"),
    "an id of the greatest length": spec(id="a" * 128),
    "as many aliases as there may be": spec(aliases=[f"alias-{n}" for n in range(16)]),
    "names that differ in case are other names": spec(aliases=["Acme/One", "ACME/ONE"]),
    "everything empty": spec(aliases=[], description="", license="", revision="", pod={}, inference={}, gpu={}),
    "text in any language": spec(description="Gemälde 画 🎨", publisher="株式会社"),
    "weights of the Hub": spec(source="hf://acme/one", revision="refs/pr/3"),
    "one file of the Hub": spec(source="hf://acme/one/one.safetensors", config="hf://acme/base"),
    "weights on the node": spec(source="file:///models/one", config="file:///models/base"),
    "weights that ship inside": spec(source="builtin://shapes"),
    "weights on a volume": spec(source="pvc://models/sdxl/one"),
    "weights on the whole of a volume": spec(source="pvc://models"),
    "a hidden folder on a volume": spec(source="pvc://models/.cache/..data/one"),
    "a sampler among those that are allowed": inference(scheduler="ddim", schedulers=["euler", "ddim"]),
    "a sampler where all are allowed": inference(scheduler="lcm", schedulers=[]),
    "as many steps as there may be": inference(steps=999, maxSteps=999),
    "no guidance": inference(guidanceScale=0, maxGuidanceScale=0),
    "guidance as a whole number": inference(guidanceScale=7),
    "steps of each quality": inference(maxSteps=50, quality={"low": 1, "medium": 10, "high": 50}),
    "the smallest size": inference(size="64x64", maxPixels=4096),
    "the largest size": inference(size="8192x8192"),
    "sizes as large as they may be": inference(size="512x768", sizes=["768x512", "64x64"], maxPixels=393216),
    "a size twice": inference(sizes=["512x512", "512x512"]),
    "no safety checker": inference(safetyChecker=False),
    "no pods": spec(replicas=0),
    "many pods": spec(replicas=1000),
    "no GPU": spec(gpu={"count": 0}),
    "several GPUs": spec(gpu={"count": 16, "resourceName": "amd.com/gpu"}),
    "a part of a GPU": spec(gpu={"count": 1, "resourceName": "nvidia.com/mig-1g.5gb"}),
    "a claim that is there": spec(cache={"claimName": "models"}, replicas=3),
    "a claim to create": spec(cache={"size": "50Gi", "storageClassName": "fast.ssd", "reclaimPolicy": "Retain"}),
    "a claim of bytes": spec(cache={"size": 53687091200}),
    "a claim of a fraction": spec(cache={"size": "0.5Ti"}),
    "a claim for several pods": spec(cache=SHARED, replicas=3, rollout={"maxSurge": 1}),
    "no pods and a claim for one": spec(cache=CREATED, replicas=0),
    "a rollout at its limits": spec(rollout={"maxSurge": 100, "drainSeconds": 3600, "loadTimeoutSeconds": 86400}),
    "a token": spec(hubTokenSecretRef={"name": "hub"}),
    "a token under another key": spec(hubTokenSecretRef={"name": "hub.token", "key": ".HF_TOKEN"}),
    "an image by digest": pod(image="registry.example.com:5000/imagegen/server@sha256:" + "0" * 64),
    "resources": pod(
        resources={"limits": {"memory": "16Gi", "cpu": 4, "example.com/fpga": 1}, "requests": {"cpu": "500m"}}
    ),
    "memory in huge pages": pod(
        resources={"limits": {"hugepages-2Mi": "1Gi", "memory": "16Gi", "ephemeral-storage": "1G"}}
    ),
    "the resource of another GPU": spec(
        gpu={"resourceName": "amd.com/gpu"}, pod={"resources": {"limits": {"nvidia.com/gpu": 1}}}
    ),
    "variables": pod(env=[{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}, {"name": "_EMPTY"}]),
    "labels of nodes": pod(nodeSelector={"accelerator": "a100", "topology.kubernetes.io/zone": "", "x/Y.z_0": "A_b.c"}),
    "taints": pod(
        tolerations=[
            {"operator": "Exists"},
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "team", "value": "art", "effect": "NoExecute", "tolerationSeconds": 30},
            {"key": "team", "operator": "Equal"},
        ]
    ),
    "affinity": pod(affinity={"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}),
    "classes": pod(runtimeClassName="nvidia", priorityClassName="high"),
}
"""Specs that are taken."""
