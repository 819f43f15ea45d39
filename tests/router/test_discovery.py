"""A router that knows models and pods from a real API server: ImageModels and EndpointSlices come, change and go."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.accounts import account_token
from cluster.api import Api
from cluster.api_proxy import ApiProxy
from cluster.api_requests import watches
from conftest import Show
from endpoint_slices import endpoint, endpoint_slice
from operator_scenes import image_model
from router_process import RouterProcess, start_router
from server_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("crd")]

RULES_FILE = Path(__file__).parents[2] / "charts/imagegen/files/router-rules.yaml"
SECONDS = 20.0


def rules() -> list[dict[str, Any]]:
    return yaml.safe_load(RULES_FILE.read_text())


@pytest.fixture
def router(api_proxy: ApiProxy, kubernetes: Api, tmp_path: Path) -> Iterator[RouterProcess]:
    """Return a router with an account that has the rights of the Role and no others."""
    token = account_token(kubernetes, "router", rules())
    kubeconfig = api_proxy.kubeconfig(tmp_path / "kubeconfig", token=token, namespace=kubernetes.namespace)
    with start_router(environment={"KUBECONFIG": str(kubeconfig)}) as running:
        wait_until(lambda: running.get("/readyz").status_code == 200, SECONDS, "models and pods to be known")
        yield running


def listed(router: RouterProcess) -> dict[str, str]:
    """Return id and state of all models."""
    return {model["id"]: model["state"] for model in router.get("/v1/models").json()["data"]}


def pods(router: RouterProcess) -> dict[str, bool]:
    """Return the pods by name, and whether discovery says that they are ready."""
    return {pod["pod"]: pod["ready"] for pod in router.pods()}


def wait_listed(router: RouterProcess, expected: dict[str, str]) -> None:
    wait_until(lambda: listed(router) == expected, SECONDS, f"models {expected}")


def wait_pods(router: RouterProcess, expected: dict[str, bool]) -> None:
    wait_until(lambda: pods(router) == expected, SECONDS, f"pods {expected}")


def told(kubernetes: Api, name: str, **conditions: tuple[str, str, str]) -> None:
    """Write conditions as the operator does: status, reason and message by type."""
    written = [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for kind, (status, reason, message) in conditions.items()
    ]
    kubernetes.patch_status("ImageModel", name, {"conditions": written})


def test_models_come_change_and_go(router: RouterProcess, kubernetes: Api) -> None:
    kubernetes.apply(image_model("one", aliases=["uno"]))
    wait_listed(router, {"acme/one": "loading"})
    assert router.get("/v1/models/uno").json()["id"] == "acme/one"
    kubernetes.apply(image_model("one", aliases=["eins"]))
    wait_until(lambda: router.get("/v1/models/eins").status_code == 200, SECONDS, "the new alias")
    assert router.get("/v1/models/uno").status_code == 404
    kubernetes.apply(image_model("two", id="acme/one"))
    kubernetes.apply(image_model("three"))
    wait_listed(router, {"acme/one": "loading", "acme/three": "loading"})
    kubernetes.delete("ImageModel", "one")
    kubernetes.delete("ImageModel", "three")
    wait_listed(router, {"acme/one": "loading"})


@pytest.mark.parametrize(
    ("conditions", "replicas", "state", "words"),
    [
        pytest.param(
            {"Scheduled": ("False", "InsufficientGPU", "x"), "Ready": ("False", "NoReplicaAvailable", "needs a GPU.")},
            1,
            "waiting",
            "needs a GPU",
            id="waiting for a GPU",
        ),
        pytest.param(
            {
                "Ready": ("False", "NoReplicaAvailable", "Downloading 62 %."),
                "WeightsReady": ("False", "Downloading", "x"),
            },
            1,
            "loading",
            "Downloading 62 %",
            id="downloading",
        ),
        pytest.param(
            {
                "Ready": ("False", "NoReplicaAvailable", "No such repository."),
                "Degraded": ("True", "WeightsFailed", "x"),
            },
            1,
            "failed",
            "No such repository",
            id="weights failed",
        ),
        pytest.param(
            {"Ready": ("True", "ScaledToZero", "Scaled to zero.")}, 0, "scaled_to_zero", "Scaled to zero", id="zero"
        ),
    ],
)
def test_a_model_without_pods_says_why(
    router: RouterProcess,
    kubernetes: Api,
    conditions: dict[str, tuple[str, str, str]],
    replicas: int,
    state: str,
    words: str,
) -> None:
    kubernetes.apply(image_model("one", replicas=replicas))
    told(kubernetes, "one", **conditions)
    wait_listed(router, {"acme/one": state})
    assert router.get("/v1/models/acme/one").json()["error"] == words
    body = {"model": "acme/one", "prompt": "x"}
    refused = router.post(body, headers={"x-request-timeout": "1"})
    codes = {"failed": (503, "model_failed"), "scaled_to_zero": (503, "model_unavailable")}
    assert (refused.status_code, refused.json()["error"]["code"]) == codes.get(state, (504, "deadline_exceeded"))


def test_pods_come_change_and_go(router: RouterProcess, kubernetes: Api) -> None:
    kubernetes.apply(image_model("one"))
    kubernetes.apply(endpoint_slice("one-a", "one", endpoint("a"), endpoint("b", ready=False)))
    wait_pods(router, {"pod-a": True, "pod-b": False})
    kubernetes.apply(endpoint_slice("one-b", "one", endpoint("b"), endpoint("c")))
    wait_pods(router, {"pod-a": True, "pod-b": True, "pod-c": True})
    kubernetes.apply(endpoint_slice("one-a", "one", endpoint("a", ready=False, serving=True, terminating=True)))
    wait_pods(router, {"pod-a": False, "pod-b": True, "pod-c": True})
    kubernetes.delete("EndpointSlice", "one-a")
    kubernetes.delete("EndpointSlice", "one-b")
    wait_pods(router, {})


@pytest.mark.acceptance
def test_fault_router_watches_expired(router: RouterProcess, api_proxy: ApiProxy, kubernetes: Api, show: Show) -> None:
    kubernetes.apply(image_model("one"))
    wait_listed(router, {"acme/one": "loading"})
    assert api_proxy.expire_watches(count=2) == 2
    kubernetes.apply(image_model("two"))
    kubernetes.delete("ImageModel", "one")
    wait_listed(router, {"acme/two": "loading"})
    show("6.6 410 on the router's watches", "listed anew; what changed meanwhile is known")


@pytest.mark.acceptance
def test_fault_router_api_server_refuses(
    router: RouterProcess, api_proxy: ApiProxy, kubernetes: Api, show: Show
) -> None:
    kubernetes.apply(image_model("one"))
    kubernetes.apply(endpoint_slice("one-a", "one", endpoint("a")))
    wait_pods(router, {"pod-a": True})
    refused = api_proxy.answer(403, watches, times=None)
    api_proxy.cut()
    wait_until(lambda: refused.met >= 4, SECONDS, "four refused watches")
    assert listed(router) == {"acme/one": "loading"}
    assert pods(router) == {"pod-a": True}
    kubernetes.apply(image_model("two"))
    api_proxy.heal()
    wait_listed(router, {"acme/one": "loading", "acme/two": "loading"})
    show("6.6 403 on the router's watches", "the last state stays known; asked again with growing pauses")


@pytest.mark.acceptance
def test_the_role_allows_what_the_router_does_and_nothing_else(
    router: RouterProcess, api_proxy: ApiProxy, kubernetes: Api, show: Show
) -> None:
    kubernetes.apply(image_model("one"))
    wait_listed(router, {"acme/one": "loading"})
    needed = {each for request in api_proxy.requests if request.resource for each in request.permissions}
    permitted = {each for rule in rules() for each in product(rule["apiGroups"], rule["resources"], rule["verbs"])}
    assert needed == permitted
    assert [str(request) for request in api_proxy.requests if request.status == 403] == []
    show("6.6 the router's Role", f"{len(permitted)} permissions: none missing, none unused")
