"""What a model lacks is said by its ImageModel, in words, while the other models go on: seen with real pods."""

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from conftest import Show
from hub_folders import write_repository
from hub_server import Hub, hub_server
from imagegen_contract.conditions import ConditionType, Reason
from installed_chart import SCENES, Installation, image_model
from operator_scenes import condition
from sdk_pictures import right_pictures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.node,
    pytest.mark.e2e,
    pytest.mark.acceptance,
    pytest.mark.timeout(900),
]

SECONDS = 180.0
WRONG_TOKEN = "hf_nobody0123456789abcdef"  # noqa: S105 - of nobody
SMALL = {"requests": {"cpu": "100m", "memory": "256Mi"}}


@pytest.fixture(scope="module")
def hub(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, str]]:
    """Return a Hub with one gated repository, and its URL for pods."""
    folder = write_repository(tmp_path_factory.mktemp("hub"))
    with ExitStack() as stack:
        running = stack.enter_context(hub_server({"acme/gated": folder}))
        running.faults.gated = True
        yield running, installation.node.expose(urlsplit(running.url).port or 0)


def _expect(installation: Installation, name: str, kind: ConditionType, reason: Reason, *words: str) -> str:
    """Wait for a reason, check that the summary says it too, and return the message."""
    model = installation.wait_for_model(name, lambda found: condition(found, kind)["reason"] == reason, SECONDS)
    message = condition(model, kind)["message"]
    assert not [word for word in words if word not in message], message
    ready = condition(model, ConditionType.READY)
    assert (ready["status"], ready["reason"]) == ("False", reason)
    return message


def _fails(
    installation: Installation, show: Show, what: str, kind: ConditionType, reason: Reason, *words: str, **spec: Any
) -> None:
    """Have a model that cannot be served, see why, and take it away again."""
    name = f"imagegen-{what.replace(' ', '-')}"
    installation.api.apply(image_model(what.replace(" ", "-"), **spec))
    try:
        message = _expect(installation, name, kind, reason, *words)
        shown = installation.kubectl("get", "imagemodel", name)
        assert reason in shown
    finally:
        installation.api.delete("ImageModel", name)
        installation.api.wait_gone("Deployment", name)
    assert right_pictures(installation.client(), SCENES[:1]) == 1
    show(f"7.5 {what}", f"{kind}: {reason}: {message[:150]}")


def test_image_missing(installation: Installation, show: Show) -> None:
    image = "localhost/nobody/has-this:1"
    _fails(
        installation, show, "image missing", ConditionType.DEGRADED, Reason.IMAGE_PULL_FAILED, image,
        pod={"image": image, "resources": SMALL},
    )  # fmt: skip


def test_gpu_missing(installation: Installation, show: Show) -> None:
    _fails(
        installation, show, "gpu missing", ConditionType.SCHEDULED, Reason.INSUFFICIENT_GPU, "nvidia.com/gpu",
        gpu={"count": 2},
    )  # fmt: skip


def test_weights_missing(installation: Installation, hub: tuple[Hub, str], show: Show) -> None:
    _fails(
        installation, show, "weights missing", ConditionType.WEIGHTS_READY, Reason.WEIGHTS_FAILED, "acme/none",
        source="hf://acme/none", pod=_asking(hub[1]),
    )  # fmt: skip


def test_bad_token(installation: Installation, hub: tuple[Hub, str], show: Show) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"}}
    installation.api.apply({**secret, "data": {"token": base64.b64encode(WRONG_TOKEN.encode()).decode()}})
    _fails(
        installation, show, "bad token", ConditionType.WEIGHTS_READY, Reason.WEIGHTS_FAILED, "acme/gated", "token",
        source="hf://acme/gated", hubTokenSecretRef={"name": "hub"}, pod=_asking(hub[1]),
    )  # fmt: skip
    logs = "".join(
        installation.kubectl("logs", "-l", f"app.kubernetes.io/component={each}", "--tail=-1")
        for each in ("operator", "router")
    )
    assert WRONG_TOKEN not in logs


def test_out_of_memory(installation: Installation, show: Show) -> None:
    memory = {"requests": {"cpu": "100m", "memory": "200Mi"}, "limits": {"memory": "200Mi"}}
    _fails(
        installation, show, "out of memory", ConditionType.DEGRADED, Reason.OUT_OF_MEMORY, "200Mi",
        pod={"resources": memory},
    )  # fmt: skip


def test_load_times_out(installation: Installation, hub: tuple[Hub, str], show: Show) -> None:
    running, url = hub
    running.faults.gated, running.faults.stall_at = False, 0
    try:
        _fails(
            installation, show, "load time-out", ConditionType.WEIGHTS_READY, Reason.WEIGHTS_FAILED, "60",
            source="hf://acme/gated", rollout={"loadTimeoutSeconds": 60}, pod=_asking(url),
        )  # fmt: skip
    finally:
        running.faults.gated, running.faults.stall_at = True, None


def _asking(url: str) -> dict[str, Any]:
    return {"env": [{"name": "IMAGEGEN_SERVER_HUB_ENDPOINT", "value": url}], "resources": SMALL}
