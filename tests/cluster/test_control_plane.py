"""The control plane of the tests: a real one, alone on its ports, gone afterwards."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cluster.api import Api, ApiError
from cluster.control_plane import ControlPlane
from cluster.guard import marked
from cluster.kubeconfig import write_kubeconfig
from cluster.namespaces import create_namespace
from server_process import wait_until

pytestmark = pytest.mark.slow

_CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "colours"}, "data": {"sky": "blue"}}
_LABELS = {"app": "web"}
_DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": _LABELS},
        "template": {
            "metadata": {"labels": _LABELS},
            "spec": {"containers": [{"name": "web", "image": "localhost/web"}]},
        },
    },
}


@pytest.fixture(scope="module")
def lone(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Return a control plane that a test may damage, running beside the shared one."""
    running = ControlPlane(control_plane.binary)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def test_kubectl_and_the_client_see_the_same_objects(control_plane: ControlPlane, kubernetes: Api) -> None:
    kubernetes.apply(_CONFIG_MAP)
    printed = control_plane.kubectl("get", "cm", "colours", "-n", kubernetes.namespace, "-o", "jsonpath={.data.sky}")
    assert printed == "blue"


def test_controllers_make_pods_and_garbage_collection_removes_them(kubernetes: Api) -> None:
    kubernetes.create(_DEPLOYMENT)
    wait_until(lambda: len(kubernetes.list("pods", labels="app=web")) == 2, 20, "two pods")
    kubernetes.wait_for("deploy", "web", lambda found: found["status"].get("unavailableReplicas") == 2)
    kubernetes.delete("Deployment", "web")
    wait_until(lambda: not kubernetes.list("pods"), 20, "no pods")


def test_unknown_fields_are_refused_in_the_servers_words(kubernetes: Api) -> None:
    with pytest.raises(ApiError, match=r'unknown field "colour"') as refused:
        kubernetes.create(_CONFIG_MAP | {"colour": "red"})
    assert (refused.value.code, refused.value.reason) == (400, "BadRequest")


def test_apply_says_who_owns_a_field(kubernetes: Api) -> None:
    kubernetes.apply(_CONFIG_MAP, manager="first")
    with pytest.raises(ApiError, match='conflict with "first"') as refused:
        kubernetes.apply(_CONFIG_MAP | {"data": {"sky": "grey"}}, manager="second", force=False)
    assert refused.value.code == 409


def test_requests_without_the_token_are_refused(control_plane: ControlPlane) -> None:
    wrong = "a-token-of-nobody"
    with Api(control_plane.url, token=wrong, ca=control_plane.ca) as stranger, pytest.raises(ApiError) as refused:
        stranger.list("pods")
    assert refused.value.code == 401


def test_two_control_planes_at_once_do_not_meet(lone: ControlPlane, kubernetes: Api) -> None:
    kubernetes.apply(_CONFIG_MAP)
    other = lone.api()
    assert other.find("Namespace", kubernetes.namespace) is None
    assert other.get("Namespace", "default")["metadata"]["uid"] != kubernetes.get("ns", "default")["metadata"]["uid"]


def test_an_outage_refuses_clients_and_loses_nothing(lone: ControlPlane) -> None:
    api = lone.api(create_namespace(lone.api()))
    api.create(_CONFIG_MAP)
    lone.stop_api_server()
    with pytest.raises(httpx.ConnectError):
        api.get("ConfigMap", "colours")
    lone.start_api_server()
    assert api.get("ConfigMap", "colours")["data"] == {"sky": "blue"}
    api.create(_DEPLOYMENT)
    wait_until(lambda: len(api.list("pods")) == 2, 60, "controllers that work again")


def test_stop_leaves_no_process_and_no_file(control_plane: ControlPlane) -> None:
    running = ControlPlane(control_plane.binary)
    try:
        running.start()
        assert len(running.processes.alive()) == 4
    finally:
        running.stop()
    assert running.processes.alive() == []
    assert not running.folder.exists()


_KILLED_RUN = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from cluster.control_plane import ControlPlane
running = ControlPlane(Path(sys.argv[1]))
running.start()
print(running.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_test_run_leaves_no_process_and_no_file(control_plane: ControlPlane) -> None:
    tests = Path(__file__).parent.parent
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_RUN, str(control_plane.binary), str(tests)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert killed.returncode == -9, killed.stderr
    folder = killed.stdout.strip()
    wait_until(lambda: not marked(folder) and not Path(folder).exists(), 20, "everything of the killed run to be gone")


def test_a_program_that_ends_is_an_error_with_its_log(control_plane: ControlPlane, tmp_path: Path) -> None:
    broken = ControlPlane(Path("/bin/false"))
    try:
        with pytest.raises(AssertionError, match="ended with 1"):
            broken.start()
    finally:
        broken.stop()
    assert write_kubeconfig(tmp_path / "kubeconfig", control_plane.url, token="t").stat().st_mode & 0o077 == 0  # noqa: S106
