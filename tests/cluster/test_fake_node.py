"""Fake nodes: what the real scheduler and controllers make of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.accounts import account_kubeconfig, account_token
from cluster.api import Api, ApiError
from cluster.control_plane import ControlPlane
from cluster.fake_node import GPU, FakeKubelet, FakeNode
from cluster.pod_status import crashed, running, unschedulable, waiting
from server_process import wait_until

pytestmark = pytest.mark.slow


def _pod(name: str, gpus: int = 0) -> dict[str, Any]:
    container = {"name": "main", "image": "localhost/none", "resources": {"limits": {GPU: str(gpus)}} if gpus else {}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 30},
    }


def _deployment(replicas: int) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": _pod("", 1)["spec"]}
    selector = {"matchLabels": {"app": "web"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }


@pytest.fixture
def node(kubernetes: Api) -> Iterator[FakeNode]:
    with FakeNode(kubernetes, gpus=1) as node:
        yield node


def _ready(pod: dict[str, Any]) -> bool:
    return {"Ready": "True"}.items() <= {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}.items()


def test_the_scheduler_counts_fake_gpus(kubernetes: Api, node: FakeNode) -> None:
    kubernetes.create(_pod("first", gpus=1))
    kubernetes.wait_for("Pod", "first", lambda pod: pod["spec"].get("nodeName") == node.name)
    kubernetes.create(_pod("second", gpus=1))
    waits = kubernetes.wait_for("Pod", "second", lambda pod: pod["status"].get("conditions"))
    assert "Insufficient nvidia.com/gpu" in waits["status"]["conditions"][0]["message"]
    node.set_gpus(2)
    kubernetes.wait_for("Pod", "second", lambda pod: pod["spec"].get("nodeName") == node.name)


def test_a_fake_kubelet_rolls_a_deployment_on_one_gpu(kubernetes: Api, node: FakeNode) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    with FakeKubelet(node, kubernetes):
        kubernetes.create(_deployment(1) | {"spec": _deployment(1)["spec"] | {"strategy": rolling}})
        kubernetes.wait_for("Deployment", "web", lambda found: found["status"].get("availableReplicas") == 1)
        kubernetes.patch("Deployment", "web", {"spec": {"template": {"metadata": {"labels": {"colour": "red"}}}}})
        wait_until(lambda: _all_red(kubernetes), 30, "the pod of the new template alone")
        kubernetes.delete("Deployment", "web")
        wait_until(lambda: not kubernetes.list("pods"), 30, "no pods")


def _all_red(kubernetes: Api) -> bool:
    pods = kubernetes.list("pods")
    return [pod["metadata"]["labels"].get("colour") for pod in pods] == ["red"] and _ready(pods[0])


def test_statuses_are_what_the_api_server_takes(kubernetes: Api, node: FakeNode) -> None:
    pod = kubernetes.create(_pod("web", gpus=1))
    kubernetes.wait_for("Pod", "web", lambda pod: pod["spec"].get("nodeName") == node.name)
    for status in (waiting(pod, "ErrImagePull", "no such image"), crashed(pod, 137, reason="OOMKilled"), running(pod)):
        written = kubernetes.patch_status("Pod", "web", status)["status"]
        assert written["containerStatuses"][0]["state"] == status["containerStatuses"][0]["state"]
    assert _ready(kubernetes.get("Pod", "web"))
    kubernetes.create(_pod("big", gpus=64))
    status = unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    assert kubernetes.patch_status("Pod", "big", status)["status"]["conditions"][0]["reason"] == "Unschedulable"


def test_removing_a_node_removes_its_pods(kubernetes: Api) -> None:
    with FakeNode(kubernetes) as node:
        kubernetes.create(_pod("web"))
        kubernetes.wait_for("Pod", "web", lambda pod: pod["spec"].get("nodeName") == node.name)
    kubernetes.wait_gone("Pod", "web")
    assert kubernetes.find("Node", node.name) is None


def test_an_account_may_do_what_its_role_says(control_plane: ControlPlane, kubernetes: Api, tmp_path: Path) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    token = account_token(kubernetes, "reader", rules)
    with Api(control_plane.url, token=token, ca=control_plane.ca, namespace=kubernetes.namespace) as reader:
        assert reader.list("pods") == []
        with pytest.raises(
            ApiError, match=f"cannot list resource .services.* in the namespace .{kubernetes.namespace}"
        ):
            reader.list("services")
    path = account_kubeconfig(kubernetes, tmp_path / "kubeconfig", rules)
    assert control_plane.kubectl("get", "pods", f"--kubeconfig={path}") == ""
    with pytest.raises(AssertionError, match="Forbidden"):
        control_plane.kubectl("get", "services", f"--kubeconfig={path}")


def test_the_client_gives_the_events_of_a_watch(kubernetes: Api) -> None:
    kubernetes.create(_pod("web"))
    path = kubernetes.path("pods")
    lines = list(kubernetes.lines(path, {"watch": "1", "timeoutSeconds": "1"}))
    assert any('"ADDED"' in line for line in lines)
    with pytest.raises(ApiError):
        list(kubernetes.lines(path, {"watch": "1", "resourceVersion": "what"}))
