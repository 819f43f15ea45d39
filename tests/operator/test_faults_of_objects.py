"""People delete, edit and make objects by hand.

Each test has its row in docs/faults.md.
"""

from typing import Any

import pytest

from cluster.api import Api
from conftest import Show
from operator_faults import Scene, elapsed
from operator_scenes import condition

pytestmark = [pytest.mark.slow, pytest.mark.acceptance, pytest.mark.usefixtures("crd")]

QUICK = 2.0
"""Seconds within which a child is as it should be again."""

NAMES = {"Deployment": "one", "Service": "one", "PersistentVolumeClaim": "one-cache"}


def test_fault_children_deleted(scene: Scene, show: Show) -> None:
    scene.lead()
    scene.apply("one", cache={"size": "1Gi"})
    took = [recreated(scene.kubernetes, kind, name) for kind, name in NAMES.items()]
    assert max(took) < QUICK
    show("5.1 children deleted", f"made again after {max(took):.2f} s at most")


def recreated(kubernetes: Api, kind: str, name: str) -> float:
    old = kubernetes.get(kind, name)["metadata"]["uid"]
    kubernetes.delete(kind, name)
    return elapsed(lambda: kubernetes.wait_for(kind, name, lambda each: each["metadata"]["uid"] != old))


def test_fault_children_edited(scene: Scene, show: Show) -> None:
    scene.lead()
    scene.apply("one", cache={"size": "1Gi"})
    container = {"name": "server", "image": "somebody.example/else:1"}
    edits = [
        ("Deployment", {"spec": {"replicas": 7}}),
        ("Deployment", {"spec": {"template": {"spec": {"containers": [container]}}}}),
        ("Deployment", {"metadata": {"labels": {"imagegen.dev/model": "other"}}}),
        ("Deployment", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}}),
        ("Service", {"spec": {"selector": {"imagegen.dev/model": "other"}}}),
        ("Service", {"metadata": {"labels": None}}),
        ("PersistentVolumeClaim", {"metadata": {"labels": {"imagegen.dev/model": None}}}),
    ]
    took = [undone(scene.kubernetes, kind, edit) for kind, edit in edits]
    assert max(took) < QUICK
    show("5.1 children edited", f"{len(edits)} edits, each undone after {max(took):.2f} s at most")


def undone(kubernetes: Api, kind: str, edit: dict[str, Any]) -> float:
    name = NAMES[kind]
    before = wanted(kubernetes.get(kind, name))
    kubernetes.patch(kind, name, edit, patch_type="strategic")
    return elapsed(lambda: kubernetes.wait_for(kind, name, lambda each: wanted(each) == before, seconds=10))


def wanted(child: dict[str, Any]) -> tuple[Any, Any]:
    return child["metadata"].get("labels"), child["spec"]


def test_fault_name_taken_by_somebody_else(scene: Scene, kubernetes: Api, show: Show) -> None:
    ports = [{"name": "web", "port": 80}]
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one"}, "spec": {"ports": ports}}
    version = kubernetes.create(foreign)["metadata"]["resourceVersion"]
    scene.lead()
    scene.edit("one")
    model = kubernetes.wait_for("ImageModel", "one", lambda each: condition(each, "Reconciled")["status"] == "False")
    assert condition(model, "Reconciled")["reason"] == "NameConflict"
    assert "Service one" in condition(model, "Reconciled")["message"]
    assert kubernetes.find("Deployment", "one") is None
    assert kubernetes.get("Service", "one")["metadata"]["resourceVersion"] == version
    kubernetes.delete("Service", "one")
    seconds = scene.wait_applied("one")
    assert kubernetes.get("Service", "one")["metadata"]["ownerReferences"]
    show("5.1 a name that is somebody else's", f"left alone, NameConflict; taken {seconds:.0f} s after it went")
