"""The node of the tests: pods really run, and nothing of it is left afterwards."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.api import Api
from cluster.binary_images import HELLO, compiled_image
from cluster.guard import marked
from cluster.namespaces import create_namespace
from cluster.node import NodeCluster
from cluster.node_files import CLUSTER_DOMAIN
from server_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.node]

_LABELS = {"app": "hello"}
_SECONDS = 60.0
_CGROUPS = Path("/sys/fs/cgroup")


@pytest.fixture(scope="module")
def hello_image(node_cluster: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    node_cluster.import_image(compiled_image("hello", HELLO, tmp_path_factory.mktemp("hello")))
    return HELLO


@pytest.fixture
def node_api(node_cluster: NodeCluster) -> Iterator[Api]:
    api = node_cluster.api(create_namespace(node_cluster.api()))
    yield api
    api.delete("Namespace", api.namespace)


def _restricted_container(image: str) -> dict[str, Any]:
    """A container as Pod Security "restricted" wants it."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "name": "hello",
        "image": image,
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
        "securityContext": security,
    }


def _deployment(image: str, replicas: int) -> dict[str, Any]:
    template = {"metadata": {"labels": _LABELS}, "spec": {"containers": [_restricted_container(image)]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": _LABELS}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hello"}, "spec": spec}


_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "hello"},
    "spec": {"selector": _LABELS, "ports": [{"port": 80, "targetPort": "http"}]},
}


def test_a_service_answers_from_running_pods(node_cluster: NodeCluster, node_api: Api, hello_image: str) -> None:
    node_api.create(_deployment(hello_image, 2))
    address = node_api.create(_SERVICE)["spec"]["clusterIP"]
    node_api.wait_for("Deployment", "hello", lambda found: found["status"].get("readyReplicas") == 2, seconds=_SECONDS)
    names = {pod["metadata"]["name"] for pod in node_api.list("pods")}
    seen: set[str] = set()

    def all_answered() -> bool:
        with suppress(httpx.TransportError):  # kube-proxy hears of the pods a moment later
            seen.add(node_cluster.get(address, 80).text)
        return seen == names

    wait_until(all_answered, _SECONDS, "an answer of each pod")
    pod = node_api.list("pods")[0]
    assert node_cluster.get(pod["status"]["podIP"], 8080).text == pod["metadata"]["name"]
    log = node_cluster.control_plane.kubectl("logs", pod["metadata"]["name"], "-n", node_api.namespace)
    assert log == ""


def test_names_of_services_resolve(node_cluster: NodeCluster, node_api: Api) -> None:
    address = node_api.create(_SERVICE)["spec"]["clusterIP"]
    name = f"hello.{node_api.namespace}.svc.{CLUSTER_DOMAIN}"
    wait_until(lambda: node_cluster.resolve(name) == [address], _SECONDS, f"an answer to {name}")


def test_pods_run_on_fake_gpus(node_cluster: NodeCluster, node_api: Api, hello_image: str) -> None:
    node_cluster.set_gpus(1)
    deployment = _deployment(hello_image, 2)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    node_api.create(deployment)
    node_api.wait_for("Deployment", "hello", lambda found: found["status"].get("readyReplicas") == 1, seconds=_SECONDS)
    wait_until(lambda: "Insufficient nvidia.com/gpu" in _why_pending(node_api), _SECONDS, "the other pod to wait")


def _why_pending(api: Api) -> str:
    pending = [pod["status"].get("conditions", ()) for pod in api.list("pods") if pod["status"]["phase"] == "Pending"]
    return " ".join(condition.get("message", "") for conditions in pending for condition in conditions)


def test_pods_reach_a_server_of_the_test(node_cluster: NodeCluster) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.handle_request, daemon=True)
    thread.start()
    try:
        url = node_cluster.expose(server.server_port)
        fetch = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=10).status)"
        assert node_cluster.run(sys.executable, "-c", fetch).strip() == "200"
    finally:
        thread.join(10)
        server.server_close()


def test_two_nodes_do_not_meet_and_stop_leaves_nothing(
    node_cluster: NodeCluster, node_api: Api, hello_image: str, tmp_path: Path
) -> None:
    node_api.create(_deployment(hello_image, 1))
    node_api.wait_for("Deployment", "hello", lambda found: found["status"].get("readyReplicas") == 1, seconds=_SECONDS)
    uid = node_api.list("pods")[0]["metadata"]["uid"]
    before = _of_the_machine()
    other = NodeCluster(node_cluster.control_plane.binary)
    try:
        other.start()
        other.import_image(compiled_image("hello", HELLO, tmp_path))
        api = other.api()
        api.create(_deployment(HELLO, 1))
        api.wait_for("Deployment", "hello", lambda found: found["status"].get("readyReplicas") == 1, seconds=_SECONDS)
        processes = marked(str(other.folder))
        assert "hello" in _names(processes)
        assert list(_CGROUPS.glob(f"*/{other.folder.name}/**/pod*"))
    finally:
        other.stop()
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)
    assert not other.folder.exists()
    assert not list(_CGROUPS.glob(f"*/{other.folder.name}"))
    assert _of_the_machine() == before
    assert str(other.folder) not in _output("findmnt", "--raw", "--noheadings", "--output", "TARGET")
    pod = node_api.list("pods")[0]
    assert (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) == (uid, 0)


def _names(processes: Iterable[int]) -> set[str]:
    names: set[str] = set()
    for pid in processes:
        with suppress(OSError):  # it has ended meanwhile
            names.add(Path(f"/proc/{pid}/comm").read_text().strip())
    return names


def _of_the_machine() -> dict[str, str]:
    """What a node could leave outside of its folder: links, named namespaces."""
    return {"links": _output("ip", "-o", "link", "show"), "namespaces": _output("ip", "netns", "list")}


def _output(*command: str) -> str:
    return subprocess.check_output(command, text=True, timeout=30)
