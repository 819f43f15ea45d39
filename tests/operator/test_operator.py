"""A real operator against a real API server and scheduler: an ImageModel's life as people see it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Api
from cluster.control_plane import ControlPlane
from cluster.fake_node import FakeKubelet, FakeNode
from cluster.pod_status import running
from conftest import Show
from operator_process import OperatorProcess, metric, start_operator, writes
from operator_scenes import IMAGE, condition, image_model, is_ready, pods
from server_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("crd", "operator")]

SECONDS = 30.0
CHILDREN = ("Deployment", "Service")


@pytest.fixture
def operator(kubeconfig: Path, kubernetes: Api) -> Iterator[OperatorProcess]:
    """Return an operator that leads in the test's namespace."""
    flags = ("--server-image", IMAGE, "--lease-seconds", "4", "--status-poll-seconds", "0.5")
    with start_operator(kubeconfig, kubernetes.namespace, *flags) as running:
        yield running


@pytest.fixture
def node(kubernetes: Api) -> Iterator[FakeNode]:
    """Return a node with one GPU."""
    with FakeNode(kubernetes, gpus=1) as fake:
        yield fake


def versions(kubernetes: Api, name: str) -> list[str]:
    return [kubernetes.get(kind, name)["metadata"]["resourceVersion"] for kind in CHILDREN]


SERVING = {
    "Ready": "True",
    "Available": "True",
    "Progressing": "False",
    "Reconciled": "True",
    "Scheduled": "True",
    "WeightsReady": "True",
    "Degraded": "False",
}


def _statuses(model: Any) -> dict[str, str]:
    return {each["type"]: each["status"] for each in model["status"]["conditions"]}


def test_an_image_model_becomes_ready_and_nothing_is_written_afterwards(
    operator: OperatorProcess, control_plane: ControlPlane, kubernetes: Api, node: FakeNode
) -> None:
    url = operator.listening()
    with FakeKubelet(node, kubernetes):
        kubernetes.apply(image_model("one"))
        inside = ("-n", kubernetes.namespace)
        control_plane.kubectl(*inside, "wait", "--for=condition=Ready", "imagemodel/one", "--timeout=30s")
        # The Deployment's event may come a moment before those of its pods.
        model = kubernetes.wait_for("ImageModel", "one", lambda found: _statuses(found) == SERVING, seconds=SECONDS)
        assert model["status"]["serverImage"] == IMAGE
        assert "finalizers" not in model["metadata"], "it could not be deleted while no operator runs"
        assert "annotations" not in model["metadata"], "kopf leaves no trace"
        requests = "imagegen_operator_requests_total"
        wait_until(lambda: metric(url, requests, method="post", kind="Event") == 1, SECONDS, "the last write", 0.05)
        before, written = versions(kubernetes, "one"), writes(url)
        looks = metric(url, "imagegen_operator_reconciles_total")
        # An event that changes nothing: the operator looks and has nothing to do.
        kubernetes.patch("ImageModel", "one", {"metadata": {"labels": {"seen": "yes"}}})
        wait_until(lambda: metric(url, "imagegen_operator_reconciles_total") > looks, SECONDS, "another look", 0.05)
        assert (versions(kubernetes, "one"), writes(url)) == (before, written)
        row = control_plane.kubectl(*inside, "get", "im").splitlines()[1].split()
        assert row[:5] == ["one", "True", "AllReplicasReady", "1", "1"]
    events = [each["reason"] for each in kubernetes.list("Event") if each["involvedObject"]["kind"] == "ImageModel"]
    assert events == ["AllReplicasReady"], "rare and useful"


@pytest.mark.acceptance
def test_a_rollout_needs_no_spare_gpu(kubernetes: Api, node: FakeNode, show: Show) -> None:
    """The node has one GPU. The old pod goes first; the default strategy would wait for a second GPU for ever."""
    with FakeKubelet(node, kubernetes):
        kubernetes.apply(image_model("one", gpu={"count": 1}))
        kubernetes.wait_for("ImageModel", "one", is_ready)
        old = pods(kubernetes, "one")[0]["metadata"]["uid"]
        kubernetes.apply(image_model("one", gpu={"count": 1}, inference={"steps": 20}))
        kubernetes.wait_for("ImageModel", "one", is_ready)
        assert [pod["metadata"]["uid"] for pod in pods(kubernetes, "one")] != [old]
    show("5.1 a rollout on a node with one GPU", "the old pod goes, the new one becomes Ready")


@pytest.mark.acceptance
def test_kubectl_scale_works_and_zero_is_a_number(
    control_plane: ControlPlane, kubernetes: Api, node: FakeNode, show: Show
) -> None:
    with FakeKubelet(node, kubernetes):
        kubernetes.apply(image_model("one"))
        kubernetes.wait_for("ImageModel", "one", is_ready)
        before = {pod["metadata"]["uid"] for pod in pods(kubernetes, "one")}
        for replicas, reason in ((3, "AllReplicasReady"), (0, "ScaledToZero")):
            control_plane.kubectl("-n", kubernetes.namespace, "scale", "im/one", f"--replicas={replicas}")
            model = kubernetes.wait_for("ImageModel", "one", partial(is_ready, reason=reason))
            assert model["status"]["replicas"] == replicas
            if replicas:
                assert before < {pod["metadata"]["uid"] for pod in pods(kubernetes, "one")}, "scaling restarts nothing"
        assert condition(model, "Available")["status"] == "False"
    show("5.1 kubectl scale", "1 to 3 without a restart, 3 to 0: ScaledToZero")


def test_editing_what_pods_need_not_know_restarts_nothing(kubernetes: Api, node: FakeNode) -> None:
    with FakeKubelet(node, kubernetes):
        kubernetes.apply(image_model("one"))
        kubernetes.wait_for("ImageModel", "one", is_ready)
        uid = pods(kubernetes, "one")[0]["metadata"]["uid"]
        kubernetes.apply(image_model("one", aliases=["uno"], description="first", license="MIT"))
        kubernetes.wait_for("ImageModel", "one", is_ready)
        assert [pod["metadata"]["uid"] for pod in pods(kubernetes, "one")] == [uid]


def test_a_pod_that_is_not_ready_yet_is_running(kubernetes: Api, node: FakeNode) -> None:
    def slow(pod: dict[str, Any]) -> dict[str, Any]:
        return running(pod, ready=False)

    with FakeKubelet(node, kubernetes, slow):
        kubernetes.apply(image_model("one"))
        model = kubernetes.wait_for(
            "ImageModel", "one", lambda model: condition(model, "Scheduled")["status"] == "True"
        )
        assert condition(model, "Ready")["status"] == "False"
        assert condition(model, "Degraded")["status"] == "False"


def test_a_cache_comes_and_goes_by_edits(kubernetes: Api) -> None:
    """The volume changes its kind under its name, which an apply can do with what it wrote itself."""
    for cache, kind in ((None, "emptyDir"), ({"size": "1Gi"}, "persistentVolumeClaim"), (None, "emptyDir")):
        kubernetes.apply(image_model("one", **({"cache": cache} if cache else {})))

        def applied(deployment: dict[str, Any], kind: str = kind) -> bool:
            volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}
            return kind in volumes["cache"]

        kubernetes.wait_for("Deployment", "one", applied)
        model = kubernetes.get("ImageModel", "one")
        assert condition(model, "Reconciled")["reason"] in {"", "Applied"}
    assert kubernetes.find("PersistentVolumeClaim", "one-cache"), "what it holds goes with the ImageModel only"
