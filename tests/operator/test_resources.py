"""The children of an ImageModel on a real API server: taken, allowed, and recognized afterwards."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import golden_models
from cluster.api import Api, ApiError
from conftest import Show
from golden_models import SPECS, Json
from image_model_corpus import GOOD, pod
from imagegen_contract import names
from imagegen_operator.models import parse_model
from imagegen_operator.objects import Model, Observed
from imagegen_operator.plan import plan
from imagegen_operator.resources.comparison import covers
from imagegen_operator.settings import OperatorSettings

pytestmark = pytest.mark.slow

_SELECTOR = {"matchLabels": {}, "matchExpressions": []}
_PODS = {"topologyKey": "kubernetes.io/hostname", "labelSelector": _SELECTOR, "namespaces": [], "namespaceSelector": {}}
_TERM = {"matchExpressions": [{"key": "a", "operator": "Exists", "values": []}], "matchFields": None}
UNUSUAL: dict[str, Json] = {
    "affinity with what is not stored": pod(
        affinity={
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_PODS]},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_TERM]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1.0, "preference": _TERM}],
            },
        }
    ),
    "unusual quantities": pod(
        resources={"limits": {"memory": "12345.678M", "cpu": "007"}, "requests": {"cpu": "0.0001", "memory": "0.3Ki"}}
    ),
}
EVERY = {**SPECS, **GOOD, **UNUSUAL}


def children(model: Model, settings: OperatorSettings = golden_models.SETTINGS) -> list[Json]:
    """Return what is written for a model that has nothing yet."""
    return list(msgspec.to_builtins(plan(Observed(model=model), settings).apply))


def observed(model: Model, live: list[Json]) -> Observed:
    """Return a model with these children."""
    kinds = {manifest["kind"]: manifest for manifest in live}
    return Observed(
        model=model,
        deployment=kinds.get("Deployment"),
        service=kinds.get("Service"),
        claim=kinds.get("PersistentVolumeClaim"),
    )


def would_be(kubernetes: Api, manifest: Json) -> Json:
    """Return what the API server would store."""
    path = kubernetes.path(manifest["kind"], manifest["metadata"]["name"])
    return kubernetes.request(
        "PATCH",
        path,
        manifest,
        params={"fieldManager": names.OPERATOR, "force": "true", "fieldValidation": "Strict", "dryRun": "All"},
        headers={"content-type": "application/apply-patch+yaml"},
    )


def in_namespace(kubernetes: Api, document: Json) -> Model:
    """Return a model of the test's namespace."""
    return msgspec.structs.replace(golden_models.model("one", document), namespace=kubernetes.namespace)


@pytest.mark.acceptance
def test_what_was_applied_needs_no_second_write(kubernetes: Api, show: Show) -> None:
    """Whatever form the API server gives it: else the operator would write for ever."""
    for case, document in EVERY.items():
        model, settings = in_namespace(kubernetes, document), golden_models.settings_of(case)
        wanted = children(model, settings)
        live = [would_be(kubernetes, manifest) for manifest in wanted]
        assert [covers(*pair) for pair in zip(live, wanted, strict=True)] == [True] * len(wanted), case
        assert plan(observed(model, live), settings).apply == (), case
    show("5.1 quiet: what was applied needs no second write", f"{len(EVERY)} kinds of models")


@pytest.fixture
def restricted(kubernetes: Api) -> Iterator[Api]:
    """Return the test's namespace under Pod Security "restricted", with the classes that the models name."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    kubernetes.patch("Namespace", kubernetes.namespace, {"metadata": {"labels": labels}})
    priority: Json = {"kind": "PriorityClass", "metadata": {"name": "pictures"}, "value": 1, "globalDefault": False}
    runtime: Json = {"kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"}
    classes: list[Json] = [
        {"apiVersion": "scheduling.k8s.io/v1", **priority},
        {"apiVersion": "node.k8s.io/v1", **runtime},
    ]
    for each in classes:
        kubernetes.apply(each)
    yield kubernetes
    for each in classes:
        kubernetes.delete(each["kind"], each["metadata"]["name"])


def dry_run_pod(kubernetes: Api, template: Json) -> None:
    """Have a pod of a template looked at by everything that admits pods."""
    document = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "one", **template["metadata"]}}
    params = {"dryRun": "All", "fieldValidation": "Strict"}
    kubernetes.request("POST", kubernetes.path("Pod"), document, params=params)


@pytest.mark.acceptance
def test_pods_are_allowed_under_the_restricted_standard(restricted: Api, show: Show) -> None:
    for name, document in SPECS.items():
        *_, deployment = children(in_namespace(restricted, document), golden_models.settings_of(name))
        template = deployment["spec"]["template"]
        dry_run_pod(restricted, template)
        del template["spec"]["containers"][0]["securityContext"]["capabilities"]
        with pytest.raises(ApiError, match="violates PodSecurity"):
            dry_run_pod(restricted, template)
    show("5.4 pods under Pod Security restricted", f"{len(SPECS)} golden models allowed")


EDITS: dict[str, tuple[str, Any]] = {
    "replicas": ("Deployment", [{"op": "replace", "path": "/spec/replicas", "value": 7}]),
    "an image": ("Deployment", [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "x"}]),
    "a variable": (
        "Deployment",
        [{"op": "replace", "path": "/spec/template/spec/containers/0/env/0/value", "value": "::"}],
    ),
    "a variable gone": ("Deployment", [{"op": "remove", "path": "/spec/template/spec/containers/0/env/1"}]),
    "a limit gone": ("Deployment", [{"op": "remove", "path": "/spec/template/spec/containers/0/resources/limits"}]),
    "a probe gone": ("Deployment", [{"op": "remove", "path": "/spec/template/spec/containers/0/livenessProbe"}]),
    "a node label beside ours": (
        "Deployment",
        [{"op": "add", "path": "/spec/template/spec/nodeSelector/zone", "value": "b"}],
    ),
    "a toleration beside ours": (
        "Deployment",
        [{"op": "add", "path": "/spec/template/spec/tolerations/-", "value": {"operator": "Exists"}}],
    ),
    "root": ("Deployment", [{"op": "remove", "path": "/spec/template/spec/securityContext/runAsNonRoot"}]),
    "the digest": ("Deployment", [{"op": "remove", "path": "/metadata/annotations/imagegen.dev~1applied"}]),
    "the owner gone": ("Service", [{"op": "remove", "path": "/metadata/ownerReferences"}]),
    "a selector": ("Service", [{"op": "add", "path": "/spec/selector/version", "value": "1"}]),
    "the name of a port": ("Service", [{"op": "replace", "path": "/spec/ports/0/name", "value": "web"}]),
    "a target": ("Service", [{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 9090}]),
    "our label": ("PersistentVolumeClaim", [{"op": "remove", "path": "/metadata/labels/imagegen.dev~1model"}]),
}
ADDITIONS: dict[str, tuple[str, Any]] = {
    "a label": ("Deployment", [{"op": "add", "path": "/metadata/labels/team", "value": "art"}]),
    "a pause": ("Deployment", [{"op": "add", "path": "/spec/paused", "value": True}]),
    "a restart by hand": (
        "Deployment",
        [{"op": "add", "path": "/spec/template/metadata/annotations/restartedAt", "value": "now"}],
    ),
    "a variable": (
        "Deployment",
        [{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "A", "value": "b"}}],
    ),
    "a port of the same number": (
        "Deployment",
        [
            {
                "op": "add",
                "path": "/spec/template/spec/containers/0/ports/-",
                "value": {"containerPort": 8000, "protocol": "UDP"},
            }
        ],
    ),
    "a sidecar": (
        "Deployment",
        [{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "proxy", "image": "proxy"}}],
    ),
    "an annotation": ("Service", [{"op": "add", "path": "/metadata/annotations/note", "value": "mine"}]),
    "an annotation of the provisioner": (
        "PersistentVolumeClaim",
        [{"op": "add", "path": "/metadata/annotations/volume.kubernetes.io~1storage-provisioner", "value": "x"}],
    ),
}


@pytest.fixture
def model(crd: None, kubernetes: Api) -> Model:
    """Return an ImageModel that is there (nobody collects its children) and has all of them."""
    del crd
    header: Json = {"apiVersion": f"{names.API_GROUP}/{names.API_VERSION}", "kind": names.KIND}
    document = {**SPECS["everything-overridden"], "cache": {"size": "10Gi"}, "replicas": 0}
    made = parse_model(kubernetes.apply({**header, "metadata": {"name": "one"}, "spec": document}))
    for manifest in children(made):
        kubernetes.apply(manifest, manager=names.OPERATOR)
    return made


def after(kubernetes: Api, model: Model, kind: str, patch: Any) -> list[str]:
    """Return the kinds that are written after a patch, until nothing more is."""
    wanted = children(model)
    (name,) = (each["metadata"]["name"] for each in wanted if each["kind"] == kind)
    kubernetes.patch(kind, name, patch)
    written: list[str] = []
    for _ in range(2):
        live = [kubernetes.get(each["kind"], each["metadata"]["name"]) for each in wanted]
        needed: list[Json] = list(msgspec.to_builtins(plan(observed(model, live), golden_models.SETTINGS).apply))
        for manifest in needed:
            kubernetes.apply(manifest, manager=names.OPERATOR)
        written += [manifest["kind"] for manifest in needed]
    return written


@pytest.mark.parametrize(("kind", "patch"), EDITS.values(), ids=EDITS.keys())
def test_an_edit_of_a_field_of_ours_is_put_right_by_one_write(
    kubernetes: Api, model: Model, kind: str, patch: Any
) -> None:
    assert after(kubernetes, model, kind, patch) == [kind]


@pytest.mark.parametrize(("kind", "patch"), ADDITIONS.values(), ids=ADDITIONS.keys())
def test_what_others_add_stays(kubernetes: Api, model: Model, kind: str, patch: Any) -> None:
    assert after(kubernetes, model, kind, patch) == []


_HOST_PATH = {"name": "tmp", "hostPath": {"path": "/srv"}}
REFUSED: dict[str, tuple[str, Any, str]] = {
    "a volume of another kind": (
        "Deployment",
        [{"op": "replace", "path": "/spec/template/spec/volumes/1", "value": _HOST_PATH}],
        "may not specify more than 1 volume type",
    ),
    "the number of a port": (
        "Service",
        [{"op": "replace", "path": "/spec/ports/0/port", "value": 80}],
        r"spec.ports\[1\].name: Duplicate value",
    ),
}


@pytest.mark.parametrize(("kind", "patch", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_an_edit_that_an_apply_cannot_put_right_is_seen_and_refused_in_words(
    kubernetes: Api, model: Model, kind: str, patch: Any, words: str
) -> None:
    """Server-side apply adds our item beside that of the other manager, and the two do not go together."""
    with pytest.raises(ApiError, match=words):
        after(kubernetes, model, kind, patch)
