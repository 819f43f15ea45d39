"""Each part of an installation dies under load, and comes back by itself. Clients are those of the official SDK."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from conftest import Show
from installed_chart import Installation, image_model
from sdk_load import SdkLoad
from sdk_pictures import MODEL
from server_process import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.node,
    pytest.mark.e2e,
    pytest.mark.acceptance,
    pytest.mark.timeout(900),
]

SMALL = {"model": MODEL, "size": "128x128", "extra_body": {"num_inference_steps": 4}}
SECONDS = 120.0
AWAY_SECONDS = 60.0
SETTLE_SECONDS = 300.0
CALM_SECONDS = 15.0
"""Longer than Kubernetes' controllers take from one look at a node to the next."""


@pytest.fixture
def load(installation: Installation) -> Iterator[SdkLoad]:
    """Return clients at work."""
    with SdkLoad(installation.router().url, installation.key, SMALL) as running:
        wait_until(lambda: running.calls > 8, SECONDS, "some pictures", every=0.1)
        yield running


def _more(load: SdkLoad) -> None:
    """Wait until each client has had pictures since now."""
    before = load.calls
    wait_until(lambda: load.calls > before + 8, SECONDS, "pictures afterwards", every=0.1)


def _restarts(pod: dict[str, Any]) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ()))


def _is_back(installation: Installation, name: str, restarts: int) -> Callable[[], bool]:
    def back() -> bool:
        pod = installation.api.get("Pod", name)
        ready = [each["status"] for each in pod["status"]["conditions"] if each["type"] == "Ready"]
        return _restarts(pod) > restarts and ready == ["True"]

    return back


def _kill(installation: Installation, pod: dict[str, Any]) -> None:
    """Kill a pod's process and wait until the kubelet has it back."""
    installation.node.kill_container(pod)
    wait_until(
        _is_back(installation, pod["metadata"]["name"], _restarts(pod)), SECONDS, "the pod to be back", every=0.2
    )


def test_fault_installed_model_pod_killed(installation: Installation, load: SdkLoad, show: Show) -> None:
    """It is the only pod of its model: what was on it waits until it is back."""
    _kill(installation, installation.api.list("Pod", labels="imagegen.dev/model=imagegen-shapes")[0])
    _more(load)
    load.end()
    show("7.4 the only pod of a model killed", load.summary())
    assert load.failed == 0, load.pictures


def test_fault_installed_router_killed(installation: Installation, load: SdkLoad, show: Show) -> None:
    _kill(installation, installation.pods("router")[0])
    _more(load)
    load.end()
    show("7.4 one of two routers killed", load.summary())
    assert load.failed == 0, load.pictures
    assert sum(load.retried.values()) <= 8, load.retried


def test_fault_installed_operator_killed(installation: Installation, load: SdkLoad, show: Show) -> None:
    _kill(installation, installation.pods("operator")[0])
    installation.api.apply(image_model("after", replicas=0))
    installation.wait_for_model("imagegen-after", lambda model: model.get("status", {}).get("conditions"), SECONDS)
    installation.api.delete("ImageModel", "imagegen-after")
    _more(load)
    load.end()
    show("7.4 the operator killed", f"{load.summary()}; a new ImageModel is taken up afterwards")
    assert (load.failed, load.retried) == (0, {})


def test_fault_installed_kubelet_restarted(installation: Installation, load: SdkLoad, show: Show) -> None:
    before = installation.model_pods()
    began = time.time()
    installation.node.restart_kubelet()
    wait_until(lambda: _renewed(installation) > began, SECONDS, "the kubelet to be back", every=0.5)
    _more(load)
    load.end()
    show("7.4 the kubelet killed and started again", load.summary())
    assert (load.failed, load.retried) == (0, {})
    assert installation.model_pods() == before


def _renewed(installation: Installation) -> float:
    """Return when the kubelet renewed its Lease, as seconds since the epoch."""
    lease = installation.api.request("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node")
    return datetime.fromisoformat(lease["spec"]["renewTime"]).timestamp()


class Calm:
    """Whether the kubelet was heard of since a moment, and routers and models have been endpoints for a while."""

    def __init__(self, installation: Installation, since: float) -> None:
        self._installation = installation
        self._since = since
        self._calm_from: float | None = None

    def __call__(self) -> bool:
        """Look."""
        now = time.monotonic()
        if not (_renewed(self._installation) > self._since and self._all_ready()):
            self._calm_from = None
            return False
        self._calm_from = now if self._calm_from is None else self._calm_from
        return now - self._calm_from >= CALM_SECONDS

    def _all_ready(self) -> bool:
        slices = self._installation.api.list("EndpointSlice")
        endpoints = [each for found in slices for each in found["endpoints"] or ()]
        return bool(endpoints) and all(each["conditions"]["ready"] for each in endpoints)


def test_fault_installed_api_server_away(installation: Installation, load: SdkLoad, show: Show) -> None:
    """Clients keep their connections. Kubernetes holds a node for lost that it did not hear of for a minute, and so all
    its pods for not ready: until it has changed its mind, Services lead to nobody who connects anew.
    """
    plane = installation.node.control_plane
    before = installation.model_pods()
    plane.stop_api_server()
    try:
        away_since = time.monotonic()
        wait_until(lambda: time.monotonic() - away_since > AWAY_SECONDS, 2 * SECONDS, "a minute", every=0.5)
        meanwhile = load.calls
    finally:
        plane.start_api_server()
    back = time.time()
    installation.api.apply(image_model("after", replicas=0))
    installation.wait_for_model("imagegen-after", lambda model: model.get("status", {}).get("conditions"), SECONDS)
    installation.api.delete("ImageModel", "imagegen-after")
    _more(load)
    wait_until(Calm(installation, back), SETTLE_SECONDS, "Kubernetes to trust its node again", every=0.5)
    settled = time.time() - back
    load.end()
    show(
        "7.4 API server away for a minute",
        f"{load.summary()}; {meanwhile} of them meanwhile; Services lead to pods again after {settled:.0f} s",
    )
    assert (load.failed, load.retried) == (0, {})
    assert installation.model_pods() == before
