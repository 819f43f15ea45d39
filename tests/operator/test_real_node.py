"""The whole way on a real node with the real image: apply, pods, Ready, a picture; edit on one GPU; delete."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.api import Api
from cluster.kubeconfig import write_kubeconfig
from cluster.namespaces import create_namespace
from cluster.node import NodeCluster
from cluster.resource_definition import make_known
from conftest import Show
from container_image import Built
from operator_process import OperatorProcess, start_operator
from operator_scenes import condition, image_model, is_ready, pods
from sdk_pictures import right_pictures
from server_process import Server
from shapes_oracle import random_scenes

pytestmark = [pytest.mark.slow, pytest.mark.images, pytest.mark.node, pytest.mark.timeout(1500)]

LOAD_SECONDS = 180.0
SCENES = random_scenes(31, 3)
SHAPES = {
    "id": "imagegen/shapes",
    "source": "builtin://shapes",
    "gpu": {"count": 1},
    # The GPU is one for the scheduler only. A person with a GPU leaves this out.
    "pod": {"env": [{"name": "IMAGEGEN_SERVER_DEVICE", "value": "cpu"}]},
}


@pytest.fixture(scope="module")
def node(node_with_server: NodeCluster) -> NodeCluster:
    """Return the node, which knows ImageModels."""
    make_known(node_with_server.api())
    return node_with_server


@pytest.fixture
def kubernetes(node: NodeCluster) -> Iterator[Api]:
    """Return a client for a new namespace in which only restricted pods may run."""
    api = node.api()
    inside = api.within(create_namespace(api))
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.patch("Namespace", inside.namespace, {"metadata": {"labels": enforced}})
    yield inside
    api.delete("Namespace", inside.namespace)


@pytest.fixture
def operator(node: NodeCluster, kubernetes: Api, built: Built, tmp_path: Path) -> Iterator[OperatorProcess]:
    """Return an operator in the node's network: it asks pods by their address."""
    path = write_kubeconfig(
        tmp_path / "kubeconfig",
        kubernetes.url,
        token=kubernetes.token,
        ca=kubernetes.ca,
        namespace=kubernetes.namespace,
    )
    namespace = kubernetes.namespace
    flags = ("--server-image", built.name, "--status-poll-seconds", "1")
    with start_operator(path, namespace, *flags, inside=node.inside_network) as running:
        running.wait_leading()
        yield running


def _server(node: NodeCluster, kubernetes: Api, model: str) -> Server:
    """Return the server behind the one ready address of the model's Service."""
    slices = kubernetes.list("EndpointSlice", labels=f"kubernetes.io/service-name={model}")
    endpoints = [each for found in slices for each in found["endpoints"] or () if each["conditions"]["ready"]]
    assert len(endpoints) == 1, slices
    return Server(node.url(endpoints[0]["addresses"][0], slices[0]["ports"][0]["port"]))


@pytest.mark.acceptance
@pytest.mark.usefixtures("operator")
def test_apply_edit_delete_on_a_real_node(node: NodeCluster, kubernetes: Api, show: Show) -> None:
    began = time.monotonic()
    kubernetes.apply(image_model("shapes", **SHAPES))
    kubernetes.wait_for("ImageModel", "shapes", is_ready, seconds=LOAD_SECONDS)
    first = time.monotonic() - began
    # The kubelet tells of readiness, the pod itself of its device: asked each second here, so a moment later.
    model = kubernetes.wait_for("ImageModel", "shapes", lambda model: model["status"]["device"] == "cpu")
    assert condition(model, "WeightsReady")["reason"] == "Loaded"
    (pod,) = pods(kubernetes, "shapes")
    assert pod["status"]["phase"] == "Running"
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    pictures = right_pictures(_server(node, kubernetes, "shapes").client(), SCENES)
    assert pictures == len(SCENES)

    began = time.monotonic()
    kubernetes.apply(image_model("shapes", **SHAPES, inference={"steps": 6}))
    kubernetes.wait_for("ImageModel", "shapes", is_ready, seconds=LOAD_SECONDS)
    second = time.monotonic() - began
    (successor,) = pods(kubernetes, "shapes")
    assert successor["metadata"]["uid"] != pod["metadata"]["uid"]
    assert right_pictures(_server(node, kubernetes, "shapes").client(), SCENES) == len(SCENES)

    began = time.monotonic()
    kubernetes.delete("ImageModel", "shapes")
    for kind in ("Deployment", "Service"):
        kubernetes.wait_gone(kind, "shapes")
    kubernetes.wait_gone("Pod", successor["metadata"]["name"], seconds=60)
    gone = time.monotonic() - began
    show(
        "5.6 a real node, the real image",
        f"apply to Ready {first:.0f} s, {pictures} of {len(SCENES)} pictures right; edit rolled on one GPU in "
        f"{second:.0f} s; deleted in {gone:.0f} s",
    )
