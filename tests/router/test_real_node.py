"""Two routers in the network of a real node, real pods behind a real Service: pods come and go under load, and the API
server is away for a minute.
"""

import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cluster.api import Api
from cluster.binary_images import compiled_image
from cluster.kubeconfig import write_kubeconfig
from cluster.namespaces import create_namespace
from cluster.node import NodeCluster
from cluster.resource_definition import make_known
from conftest import Show
from endpoint_slices import endpoint, endpoint_slice
from imagegen_contract import names
from operator_scenes import image_model
from router_load import Load
from router_process import RouterProcess, start_router
from server_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.acceptance]

IMAGE = "localhost/imagegen-test/pod:1"
LABELS = {"app": "one"}
SECONDS = 60.0
API_SERVER_AWAY_SECONDS = 60.0
CLIENTS = 6

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "one", "labels": {names.MODEL_LABEL: "one"}},
    "spec": {
        "clusterIP": "None",
        "selector": LABELS,
        "ports": [
            {"name": "http", "port": names.PUBLIC_PORT, "targetPort": "http"},
            # The pod of this test answers everything on one port.
            {"name": "management", "port": names.MANAGEMENT_PORT, "targetPort": "http"},
        ],
    },
}


@pytest.fixture(scope="module")
def image(node_cluster: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    node_cluster.import_image(compiled_image("pod", IMAGE, tmp_path_factory.mktemp("pod")))
    return IMAGE


@pytest.fixture
def api(node_cluster: NodeCluster) -> Iterator[Api]:
    everywhere = node_cluster.api()
    make_known(everywhere)
    inside = node_cluster.api(create_namespace(everywhere))
    yield inside
    inside.delete("Namespace", inside.namespace)


@pytest.fixture
def routers(node_cluster: NodeCluster, api: Api, image: str, tmp_path: Path) -> Iterator[list[RouterProcess]]:
    """Return two routers in front of two pods."""
    api.apply(image_model("one"))
    api.create(deployment(image, 2))
    api.create(SERVICE)
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", api.url, token=api.token, ca=api.ca, namespace=api.namespace)
    environment = {"KUBECONFIG": str(kubeconfig)}
    with ExitStack() as stack:
        running = [
            stack.enter_context(start_router(environment=environment, inside=node_cluster.inside_network))
            for _ in range(2)
        ]
        for router in running:
            router.url = node_cluster.url("127.0.0.1", urlsplit(router.url).port or 0)
            wait_until(lambda router=router: router.serving() == 2, SECONDS, "both pods to take work")
        yield running


def deployment(image: str, replicas: int) -> dict[str, Any]:
    """Return a Deployment whose pods are replaced one after the other, the new one first."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "server",
        "image": image,
        "ports": [{"name": "http", "containerPort": names.PUBLIC_PORT}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
        "securityContext": security,
    }
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template, "strategy": rolling}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one"}, "spec": spec}


def rolled_out(found: dict[str, Any], replicas: int) -> bool:
    status = found["status"]
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    return status.get("observedGeneration") == found["metadata"]["generation"] and counts == {replicas}


def test_fault_rollout_and_scaling_under_load(api: Api, routers: list[RouterProcess], show: Show) -> None:
    with Load(routers, {"model": "acme/one"}, clients=CLIENTS) as load:
        again = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
        api.patch("Deployment", "one", again)
        api.wait_for("Deployment", "one", lambda found: rolled_out(found, 2), seconds=SECONDS)
        api.patch("Deployment", "one", {"spec": {"replicas": 4}})
        wait_until(lambda: [router.serving() for router in routers] == [4, 4], SECONDS, "four pods in both routers")
        api.patch("Deployment", "one", {"spec": {"replicas": 1}})
        wait_until(lambda: [len(router.pods()) for router in routers] == [1, 1], SECONDS, "one pod in both routers")
    assert set(load.outcomes) == {"200"}
    assert len(load.replies) >= 6
    show(
        "6.6 rollout of real pods, then 2 to 4 to 1, two routers",
        f"{load.total()} requests, answered by {len(load.replies)} pods, 0 failed",
    )


@contextmanager
def unreachable(node_cluster: NodeCluster, address: str) -> Generator[None]:
    """Drop all packets to and from an address, without a word to either side."""
    rules = [["OUTPUT", "-d", address, "-j", "DROP"], ["INPUT", "-s", address, "-j", "DROP"]]

    def change(action: str) -> None:
        for chain, *rule in rules:
            subprocess.run([*node_cluster.inside_network, "iptables", action, chain, *rule], check=True, timeout=20)

    change("-I")
    try:
        yield
    finally:
        change("-D")


def busy(router: RouterProcess, name: str) -> int:
    """Return how many requests a router has on a pod."""
    return sum(pod["running_requests"] for pod in router.pods() if pod["pod"] == name)


def test_fault_half_open_connections_of_a_pod(
    node_cluster: NodeCluster, api: Api, routers: list[RouterProcess], show: Show
) -> None:
    """As when a node loses its power: nothing says that the other side is gone."""
    lost = api.list("Pod")[0]
    name = lost["metadata"]["name"]
    with Load(routers, {"model": "acme/one"}, clients=CLIENTS) as load:
        wait_until(lambda: load.total() > 20, SECONDS, "some load")
        with unreachable(node_cluster, lost["status"]["podIP"]):
            for router in routers:
                wait_until(lambda router=router: router.serving() == 1, SECONDS, "the pod to be given up")
                wait_until(lambda router=router: busy(router, name) == 0, SECONDS, "its requests to be run elsewhere")
            before = load.total()
            wait_until(lambda: load.total() > before + 20, SECONDS, "the other pod to serve")
        for router in routers:
            wait_until(lambda router=router: router.serving() == 2, SECONDS, "the pod to be back")
    assert set(load.outcomes) == {"200"}
    show("6.4 half-open connections", f"{load.total()} requests, 0 failed, the slowest {load.slowest:.0f} s")


def test_fault_api_server_away_for_a_minute(
    node_cluster: NodeCluster, api: Api, routers: list[RouterProcess], show: Show
) -> None:
    with Load(routers, {"model": "acme/one"}, clients=CLIENTS) as load:
        node_cluster.control_plane.stop_api_server()
        try:
            away_since = time.monotonic()
            wait_until(lambda: time.monotonic() - away_since > API_SERVER_AWAY_SECONDS, 2 * SECONDS, "a minute", 0.5)
            meanwhile = load.total()
        finally:
            node_cluster.control_plane.start_api_server()
        back = time.monotonic()
        # Written by hand: Kubernetes' own controllers take up to a minute until they look again.
        api.apply(image_model("two"))
        api.apply(endpoint_slice("two", "two", endpoint("new")))
        for router in routers:
            wait_until(lambda router=router: len(router.pods()) == 3, SECONDS, "the new pod")
            wait_until(lambda router=router: len(router.get("/v1/models").json()["data"]) == 2, SECONDS, "the model")
        seconds = time.monotonic() - back
    assert set(load.outcomes) == {"200"}
    assert meanwhile > 500
    show(
        "6.6 API server away for a minute",
        f"{meanwhile} requests meanwhile, 0 failed; what is new is known {seconds:.0f} s after it is back",
    )
