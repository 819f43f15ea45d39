"""What a change of each field of a spec changes in the children. Whatever is under `template` restarts the pods.

A field that is new in ImageModelSpec needs its row here.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

import golden_models
from conftest import Show
from image_model_corpus import CREATED, SHARED, Json, pod, spec
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.names import APPLIED_ANNOTATION
from imagegen_contract.validation import type_options
from imagegen_operator.objects import Observed
from imagegen_operator.plan import plan

TEMPLATE = "Deployment.spec.template"
POD = f"{TEMPLATE}.spec"
SERVER = f"{POD}.containers[server]"
ENV = f"{SERVER}.env"
MODEL = f"{ENV}[IMAGEGEN_SERVER_MODEL].value"
GPUS = f"{SERVER}.resources.limits"
CLAIM = "PersistentVolumeClaim"
HOME = f"{POD}.volumes[cache]"

NOTHING: set[str] = set()


def created(**fields: object) -> Json:
    """Return a spec with a claim to create."""
    return spec(cache={**CREATED, **fields})


Row = tuple[Json, Json, set[str]]

IDENTITY_ROWS: dict[str, Row] = {
    "publisher": (spec(), spec(publisher="other"), {f"{MODEL}.publisher"}),
    "family": (spec(), spec(family="sd"), {f"{MODEL}.family"}),
    "version": (spec(), spec(version="1.1"), {f"{MODEL}.version"}),
    "id": (
        spec(),
        spec(id="acme/two"),
        {f"{MODEL}.id", f"{TEMPLATE}.metadata.annotations.imagegen.dev/model-id"},
    ),
    "aliases": (spec(), spec(aliases=["one"]), NOTHING),
    "description": (spec(), spec(description="One."), NOTHING),
    "license": (spec(), spec(license="MIT"), NOTHING),
    "source": (spec(), spec(source="hf://acme/three"), {f"{MODEL}.source"}),
    "source (to a volume)": (
        spec(source="file:///models/one"),
        spec(source="pvc://models/one"),
        {f"{MODEL}.source", f"{POD}.volumes[weights]", f"{SERVER}.volumeMounts[/mnt/weights]"},
    ),
    "source (another folder of the volume)": (
        spec(source="pvc://models/one"),
        spec(source="pvc://models/two"),
        {f"{MODEL}.source"},
    ),
    "source (another volume)": (
        spec(source="pvc://models/one"),
        spec(source="pvc://weights/one"),
        {f"{POD}.volumes[weights].persistentVolumeClaim.claimName"},
    ),
    "revision": (spec(), spec(revision="main"), {f"{MODEL}.revision"}),
    "config": (spec(), spec(config="hf://acme/base"), {f"{MODEL}.config"}),
}
INFERENCE: Json = {
    "steps": 10,
    "maxSteps": 200,
    "guidanceScale": 5,
    "maxGuidanceScale": 20,
    "size": "512x512",
    "sizes": ["512x512"],
    "maxPixels": 262144,
    "scheduler": "euler",
    "schedulers": ["euler"],
    "quality": {"low": 1, "medium": 2, "high": 3},
    "negativePrompt": "blur",
    "promptSuffix": "sharp",
    "safetyChecker": False,
}
INFERENCE_ROWS: dict[str, Row] = {
    **{
        f"inference.{field}": (spec(), spec(inference={field: value}), {f"{MODEL}.inference.{field}"})
        for field, value in INFERENCE.items()
        if field != "quality"
    },
    **{
        f"inference.quality.{level}": (
            spec(inference={"quality": INFERENCE["quality"]}),
            spec(inference={"quality": {**INFERENCE["quality"], level: 9}}),
            {f"{MODEL}.inference.quality.{level}"},
        )
        for level in INFERENCE["quality"]
    },
}
WORKLOAD_ROWS: dict[str, Row] = {
    "replicas": (spec(), spec(replicas=2), {"Deployment.spec.replicas"}),
    "gpu.count": (spec(), spec(gpu={"count": 2}), {f"{GPUS}.nvidia.com/gpu"}),
    "gpu.count (to none)": (
        spec(),
        spec(gpu={"count": 0}),
        {GPUS, f"{ENV}[IMAGEGEN_SERVER_DEVICE].value", f"{ENV}[NVIDIA_VISIBLE_DEVICES]"},
    ),
    "gpu.resourceName": (
        spec(),
        spec(gpu={"resourceName": "amd.com/gpu"}),
        {f"{GPUS}.nvidia.com/gpu", f"{GPUS}.amd.com/gpu"},
    ),
    "gpu.resourceName (of no GPU)": (
        spec(gpu={"count": 0}),
        spec(gpu={"count": 0, "resourceName": "amd.com/gpu"}),
        NOTHING,
    ),
    "cache.claimName": (
        spec(),
        spec(cache={"claimName": "models"}),
        {f"{HOME}.emptyDir", f"{HOME}.persistentVolumeClaim"},
    ),
    "cache.size": (created(), created(size="20Gi"), {f"{CLAIM}.spec.resources.requests.storage"}),
    "cache.size (in other words)": (created(), created(size="10240Mi"), NOTHING),
    "cache.size (from none)": (spec(), created(), {CLAIM, f"{HOME}.emptyDir", f"{HOME}.persistentVolumeClaim"}),
    "cache.storageClassName": (created(), created(storageClassName="fast"), {f"{CLAIM}.spec.storageClassName"}),
    "cache.accessMode": (created(), created(accessMode="ReadWriteMany"), {f"{CLAIM}.spec.accessModes"}),
    "cache.reclaimPolicy": (
        created(),
        created(reclaimPolicy="Retain"),
        {f"{CLAIM}.metadata.ownerReferences", f"{CLAIM}.metadata.annotations.imagegen.dev/reclaim-policy"},
    ),
    "rollout.maxSurge": (
        spec(),
        spec(rollout={"maxSurge": 1}),
        {"Deployment.spec.strategy.rollingUpdate.maxSurge", "Deployment.spec.strategy.rollingUpdate.maxUnavailable"},
    ),
    "rollout.maxSurge (further)": (
        spec(cache=SHARED, rollout={"maxSurge": 1}),
        spec(cache=SHARED, rollout={"maxSurge": 2}),
        {"Deployment.spec.strategy.rollingUpdate.maxSurge"},
    ),
    "rollout.drainSeconds": (
        spec(),
        spec(rollout={"drainSeconds": 90}),
        {f"{POD}.terminationGracePeriodSeconds", f"{ENV}[IMAGEGEN_SERVER_DRAIN_SECONDS]"},
    ),
    "rollout.loadTimeoutSeconds": (
        spec(),
        spec(rollout={"loadTimeoutSeconds": 7200}),
        {"Deployment.spec.progressDeadlineSeconds", f"{ENV}[IMAGEGEN_SERVER_LOAD_TIMEOUT]"},
    ),
    "hubTokenSecretRef.name": (
        spec(hubTokenSecretRef={"name": "hub"}),
        spec(hubTokenSecretRef={"name": "other"}),
        {f"{POD}.volumes[hub-token].secret.secretName"},
    ),
    "hubTokenSecretRef.name (from none)": (
        spec(),
        spec(hubTokenSecretRef={"name": "hub"}),
        {
            f"{POD}.volumes[hub-token]",
            f"{SERVER}.volumeMounts[/var/run/secrets/imagegen/hub]",
            f"{ENV}[IMAGEGEN_SERVER_HUB_TOKEN_FILE]",
        },
    ),
    "hubTokenSecretRef.key": (
        spec(hubTokenSecretRef={"name": "hub"}),
        spec(hubTokenSecretRef={"name": "hub", "key": "HF_TOKEN"}),
        {f"{POD}.volumes[hub-token].secret.items[token].key"},
    ),
}
POD_ROWS: dict[str, Row] = {
    "pod.image": (spec(), pod(image="registry.example/own:1"), {f"{SERVER}.image"}),
    "pod.resources.limits": (
        pod(resources={"requests": {"cpu": 1}}),
        pod(resources={"requests": {"cpu": 1}, "limits": {"memory": "8Gi"}}),
        {f"{GPUS}.memory"},
    ),
    "pod.resources.requests": (
        spec(),
        pod(resources={"requests": {"memory": "8Gi"}}),
        {f"{SERVER}.resources.requests.memory", f"{SERVER}.resources.requests.cpu"},
    ),
    "pod.env": (spec(), pod(env=[{"name": "A", "value": "b"}]), {f"{ENV}[A]"}),
    "pod.env (of the operator's own)": (
        spec(),
        pod(env=[{"name": "IMAGEGEN_SERVER_DEVICE", "value": "cpu"}]),
        {f"{ENV}[IMAGEGEN_SERVER_DEVICE].value"},
    ),
    "pod.nodeSelector": (spec(), pod(nodeSelector={"a": "b"}), {f"{POD}.nodeSelector"}),
    "pod.tolerations": (spec(), pod(tolerations=[{"operator": "Exists"}]), {f"{POD}.tolerations"}),
    "pod.affinity": (spec(), pod(affinity={"nodeAffinity": {}}), {f"{POD}.affinity"}),
    "pod.runtimeClassName": (spec(), pod(runtimeClassName="nvidia"), {f"{POD}.runtimeClassName"}),
    "pod.priorityClassName": (spec(), pod(priorityClassName="high"), {f"{POD}.priorityClassName"}),
}
ROWS = {**IDENTITY_ROWS, **INFERENCE_ROWS, **WORKLOAD_ROWS, **POD_ROWS}


def leaves(value: Any, path: str) -> Iterator[tuple[str, object]]:
    """Return what is in a manifest by its path; the model in a pod's environment is taken apart too."""
    if path == MODEL:
        value = json.loads(value)
    if isinstance(value, dict) and (value or path.endswith(".annotations")):
        for name, each in value.items():
            yield from leaves(each, f"{path}.{name}")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, each in enumerate(value):
            yield from leaves(each, f"{path}[{each.get('mountPath') or each.get('path') or each.get('name', index)}]")
    else:
        yield path, value


def written(document: Json) -> dict[str, object]:
    """Return what the operator writes for a spec, by path; without the digests, which follow from it."""
    planned = plan(Observed(model=golden_models.model("one", document)), golden_models.SETTINGS)
    found: dict[str, object] = {}
    for manifest in msgspec.to_builtins(planned.apply):
        del manifest["metadata"]["annotations"][APPLIED_ANNOTATION]
        found |= dict(leaves(manifest, manifest["kind"]))
    return found


def changes(before: Json, after: Json, expected: set[str]) -> set[str]:
    """Return the paths that differ; one below an expected path is that one."""
    one, other = written(before), written(after)
    absent = object()
    paths = {path for path in one.keys() | other.keys() if one.get(path, absent) != other.get(path, absent)}
    return {next((each for each in expected if _is_below(path, each)), path) for path in paths}


def _is_below(path: str, above: str) -> bool:
    return path == above or path.startswith((f"{above}.", f"{above}["))


def fields(struct: type[Any], path: str = "") -> Iterator[str]:
    """Return the paths of all fields of a struct, those of structs in it instead of these."""
    information = inspect.type_info(struct)
    assert isinstance(information, inspect.StructType)
    for field in information.fields:
        inner = [kind for kind in type_options(field.type) if isinstance(kind, inspect.StructType)]
        if inner:
            yield from fields(inner[0].cls, f"{path}{field.encode_name}.")
        else:
            yield f"{path}{field.encode_name}"


@pytest.mark.acceptance
def test_each_field_of_a_spec_has_its_row(show: Show) -> None:
    every = sorted(fields(ImageModelSpec))
    assert sorted({row.partition(" ")[0] for row in ROWS}) == every
    quiet = [row for row, (_, _, expected) in ROWS.items() if not any(TEMPLATE in path for path in expected)]
    show(
        "5.4 what a change of each field changes",
        f"{len(every)} fields, {len(ROWS)} rows, {len(quiet)} restart nothing",
    )


@pytest.mark.parametrize(("before", "after", "expected"), ROWS.values(), ids=ROWS.keys())
def test_a_change_of_a_field_changes_only_what_it_should(before: Json, after: Json, expected: set[str]) -> None:
    assert changes(before, after, expected) == expected
