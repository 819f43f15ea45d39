"""deploy/: what is applied without Helm, and the examples: all of it is taken by a real API server."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from cluster.api import Api
from cluster.control_plane import ControlPlane
from conftest import Show
from helm_binary import NoHelm, kubectl
from helm_client import HELMS, Helm, Manifest
from imagegen_contract import names
from imagegen_contract.catalog import load_catalog
from pod_security import broken_rules

DEPLOY = Path(__file__).parents[2] / "deploy"
EXAMPLES = sorted(path.parent for path in (DEPLOY / "examples").glob("*/values.yaml"))
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Kinds that need an operator of their own in the cluster."""


def _kustomized() -> list[Manifest]:
    try:
        program = kubectl()
    except NoHelm as error:
        pytest.skip(str(error))
    done = subprocess.run([program, "kustomize", str(DEPLOY)], capture_output=True, text=True, timeout=60, check=True)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def _dry_run(api: Api, manifest: Manifest) -> None:
    """Have the API server judge an object: admission, defaults, unknown fields, Pod Security."""
    path = api.path(f"{manifest['apiVersion']}/{manifest['kind']}")
    api.request("POST", path, manifest, params={"dryRun": "All", "fieldValidation": "Strict"})


@pytest.fixture
def restricted(kubernetes: Api) -> Api:
    """Return a client of a namespace that takes restricted pods only."""
    enforced = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
    kubernetes.patch("Namespace", kubernetes.namespace, {"metadata": {"labels": enforced}})
    return kubernetes


@pytest.fixture
def model_path(crd: None, kubernetes: Api) -> str:  # noqa: ARG001 - ImageModels are known
    """Return where ImageModels are created."""
    return kubernetes.path(names.KIND)


def test_kubectl_apply_k_is_the_chart_with_its_defaults(restricted: Api) -> None:
    manifests = _kustomized()
    rendered = Helm(HELMS[0]).template({"crds": {"enabled": False}})
    assert {(each["kind"], each["metadata"]["name"]) for each in manifests} == {
        ("Namespace", "imagegen"),
        ("CustomResourceDefinition", "imagemodels.imagegen.dev"),
        *((each["kind"], each["metadata"]["name"]) for each in rendered if each["kind"] != "Pod"),
    }
    for manifest in manifests:
        if manifest["kind"] in {"Namespace", "CustomResourceDefinition"}:
            continue
        assert manifest["metadata"]["namespace"] == "imagegen"
        manifest["metadata"]["namespace"] = restricted.namespace
        _dry_run(restricted, manifest)


def test_kubectl_apply_k_into_a_cluster(control_plane: ControlPlane) -> None:
    """One command makes all of it, its namespace included; other tests may have made the definition."""
    try:
        said = control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(DEPLOY))
        assert said.count("serverside-applied") == len(_kustomized())
        assert control_plane.api("imagegen").find("Deployment", "imagegen-router")
    finally:
        control_plane.api().delete("Namespace", "imagegen")


def test_each_example_is_told_of() -> None:
    told = (DEPLOY / "examples" / "README.md").read_text()
    assert EXAMPLES
    assert [path.name for path in EXAMPLES if f"({path.name})" not in told] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_taken_by_helm_and_kubernetes(example: Path, restricted: Api, show: Show) -> None:
    values: dict[str, Any] = yaml.safe_load((example / "values.yaml").read_text())
    if (catalog := example / "models_info.json").exists():
        values["catalog"] = {"modelsInfo": catalog.read_text()}
    for version in HELMS:
        Helm(version).lint(values)
    manifests = Helm(HELMS[0]).template(values)
    for manifest in manifests:
        if manifest["kind"] not in {*FOREIGN, "CustomResourceDefinition"}:
            manifest["metadata"].pop("namespace", None)
            _dry_run(restricted, manifest)
    show(f"7 example {example.name}", f"{len(manifests)} objects taken by the API server")


@pytest.mark.parametrize(
    "file", sorted((DEPLOY / "examples").rglob("models_info.json")), ids=lambda path: path.parent.name
)
def test_the_models_of_an_example_are_taken(file: Path, kubernetes: Api, model_path: str) -> None:
    for entry in load_catalog(file):
        spec = msgspec.to_builtins(entry)
        manifest = {"apiVersion": f"{names.API_GROUP}/{names.API_VERSION}", "kind": names.KIND}
        body = {**manifest, "metadata": {"generateName": "x-"}, "spec": spec}
        kubernetes.request("POST", model_path, body, params={"dryRun": "All", "fieldValidation": "Strict"})


@pytest.mark.parametrize(
    "file",
    [path for path in sorted((DEPLOY / "examples").rglob("*.yaml")) if path.name != "values.yaml"],
    ids=lambda path: path.name,
)
def test_the_manifests_of_an_example_are_taken(file: Path, restricted: Api) -> None:
    for manifest in yaml.safe_load_all(file.read_text()):
        _dry_run(restricted, manifest)
        if manifest["kind"] == "Pod":
            assert broken_rules(manifest["spec"]) == []
