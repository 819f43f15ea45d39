"""What the operator asks of the API server is what its Role allows, both ways."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.accounts import account_token
from cluster.api import Api
from cluster.api_proxy import ApiProxy
from conftest import Show
from operator_process import OperatorProcess, start_operator
from operator_scenes import IMAGE, condition, image_model
from server_process import wait_until

RULES_FILE = Path(__file__).parents[2] / "charts/imagegen/files/operator-rules.yaml"
SECONDS = 30.0
RELEASE = "rbac-tests"
CHILDREN = ("Deployment", "Service", "PersistentVolumeClaim")

Permission = tuple[str, str, str]


def rules() -> list[dict[str, Any]]:
    return yaml.safe_load(RULES_FILE.read_text())


def allowed() -> set[Permission]:
    return {each for rule in rules() for each in product(rule["apiGroups"], rule["resources"], rule["verbs"])}


def used(proxy: ApiProxy) -> set[Permission]:
    """Return what the requests for resources needed; discovery is open to every account."""
    return {each for request in proxy.requests if request.resource for each in request.permissions}


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return tmp_path / "models_info.json"


@pytest.fixture
def operator(api_proxy: ApiProxy, kubernetes: Api, tmp_path: Path, catalog: Path) -> Iterator[OperatorProcess]:
    """Return an operator with an account that has the rights of the Role and no others."""
    write_catalog(catalog, {})
    token = account_token(kubernetes, "operator", rules())
    kubeconfig = api_proxy.kubeconfig(tmp_path / "kubeconfig", token=token, namespace=kubernetes.namespace)
    flags = ("--server-image", IMAGE, "--lease-seconds", "4", "--catalog", str(catalog), "--release", RELEASE)
    with start_operator(kubeconfig, kubernetes.namespace, *flags) as running:
        yield running


def write_catalog(file: Path, entries: dict[str, dict[str, Any]]) -> None:
    specs = [image_model(name)["spec"] | {"aliases": [], **fields} for name, fields in entries.items()]
    file.write_text(json.dumps(specs))


@pytest.mark.slow
@pytest.mark.acceptance
@pytest.mark.usefixtures("crd")
def test_the_role_allows_what_the_operator_does_and_nothing_else(
    operator: OperatorProcess, api_proxy: ApiProxy, kubernetes: Api, catalog: Path, show: Show
) -> None:
    operator.wait_leading()
    scene_of_the_catalog(kubernetes, catalog)
    scene_of_a_model(kubernetes)
    operator.terminate()
    assert operator.wait() == 0
    forbidden = [str(request) for request in api_proxy.requests if request.status == 403]
    assert forbidden == []
    needed, permitted = used(api_proxy), allowed()
    assert sorted(needed - permitted) == [], "missing in the Role"
    assert sorted(permitted - needed) == [], "in the Role, but not used"
    show("5.5 RBAC", f"{len(api_proxy.requests)} requests; {len(permitted)} permissions: none missing, none unused")


def scene_of_the_catalog(kubernetes: Api, catalog: Path) -> None:
    """An entry comes, is edited beside a person's own value, and goes: create, patch, an Event, delete."""
    write_catalog(catalog, {"one": {"replicas": 1}})
    kubernetes.wait_for("ImageModel", "acme-one", reconciled)
    kubernetes.patch("ImageModel", "acme-one", {"spec": {"replicas": 0}})
    write_catalog(catalog, {"one": {"replicas": 1, "description": "edited"}})
    kubernetes.wait_for("ImageModel", "acme-one", lambda model: model["spec"].get("description") == "edited")
    wait_until(lambda: "CatalogFieldKept" in reasons(kubernetes), SECONDS, "the Event")
    write_catalog(catalog, {})
    kubernetes.wait_gone("ImageModel", "acme-one")


def scene_of_a_model(kubernetes: Api) -> None:
    """A model with a cache comes, drifts, is edited, and goes."""
    cache = {"size": "1Gi"}
    kubernetes.apply(image_model("two", cache=cache))
    kubernetes.wait_for("ImageModel", "two", reconciled)
    kubernetes.wait_for("PersistentVolumeClaim", "two-cache")
    kubernetes.delete("Service", "two")
    kubernetes.wait_for("Service", "two")
    kubernetes.patch("Deployment", "two", {"spec": {"replicas": 5}})
    kubernetes.wait_for("Deployment", "two", lambda deployment: deployment["spec"]["replicas"] == 1)
    kubernetes.apply(image_model("two", cache=cache, inference={"steps": 20}))
    kubernetes.wait_for("ImageModel", "two", reconciled)
    kubernetes.delete("ImageModel", "two")
    for kind, name in zip(CHILDREN, ("two", "two", "two-cache"), strict=True):
        wait_until(lambda kind=kind, name=name: is_leaving(kubernetes, kind, name), SECONDS, f"{kind} to go")


def is_leaving(kubernetes: Api, kind: str, name: str) -> bool:
    """Return whether an object is gone, or waits for what protects a claim."""
    found = kubernetes.find(kind, name)
    return found is None or "deletionTimestamp" in found["metadata"]


def reconciled(model: dict[str, Any]) -> bool:
    """Return whether the operator has applied the newest generation."""
    found = condition(model, "Reconciled")
    return (found["status"], found["observedGeneration"]) == ("True", model["metadata"]["generation"])


def reasons(kubernetes: Api) -> list[str]:
    return [event["reason"] for event in kubernetes.list("Event")]


def test_the_role_names_no_wildcard_and_no_secret() -> None:
    for group, resource, verb in allowed():
        assert "*" not in group + resource + verb
        assert resource not in {"secrets", "configmaps"}
        assert not resource.endswith("/finalizers")
