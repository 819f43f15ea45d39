"""Every documented reason of every condition is reached on a real API server, with the words that help."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from cluster.api import Api, ApiError
from cluster.fake_node import FakeNode
from cluster.pod_status import crashed, running, waiting
from conftest import Show
from imagegen_contract.conditions import ConditionType, Reason
from imagegen_contract.explanations import REASONS
from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_status import DownloadProgress, ModelStatus
from operator_process import start_operator
from operator_scenes import IMAGE, condition, image_model, pods
from server_process import wait_until
from status_answers import answering

pytestmark = [pytest.mark.slow, pytest.mark.acceptance, pytest.mark.usefixtures("crd")]

CRD_FILE = Path(__file__).parents[2] / "deploy/crd.yaml"
DRY_RUN = {"dryRun": "All", "fieldValidation": "Strict"}
HALFWAY = DownloadProgress(
    bytes_done=3_200_000_000, bytes_total=6_900_000_000, percent=46.4, bytes_per_second=2.5e7, eta_seconds=140.0
)


class Scene:
    """One namespace with an operator, a node without a kubelet, and what was seen so far."""

    def __init__(self, kubernetes: Api, node: FakeNode, stack: ExitStack) -> None:
        self.kubernetes = kubernetes
        self.node = node
        self.stack = stack
        self.seen: set[tuple[str, str, str]] = set()
        self._addresses = 40

    def expect(self, name: str, kind: ConditionType, reason: Reason, *words: str) -> None:
        """Wait until a condition has a reason, and note all that the model's conditions say then."""
        model = self.kubernetes.wait_for(
            "ImageModel", name, lambda model: condition(model, kind)["reason"] == reason, seconds=20
        )
        message = condition(model, kind)["message"]
        assert not [each for each in words if each not in message], message
        for each in model["status"]["conditions"]:
            self.seen.add((each["type"], each["status"], each["reason"]))

    def make(self, name: str, **spec: Any) -> dict[str, Any]:
        """Apply an ImageModel and return its first pod, bound to the node."""
        self.kubernetes.apply(image_model(name, **spec))
        wait_until(lambda: any("nodeName" in pod["spec"] for pod in pods(self.kubernetes, name)), 20, "a pod", 0.05)
        return next(pod for pod in pods(self.kubernetes, name) if "nodeName" in pod["spec"])

    def play(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        """Give a pod a status, as its kubelet would."""
        self.kubernetes.patch_status("Pod", pod["metadata"]["name"], status)

    def serve(self, name: str, **fields: Any) -> None:
        """Make a model whose one pod runs, is not ready, and answers /status with these fields."""
        self._addresses += 1
        address = f"127.0.0.{self._addresses}"
        self.stack.enter_context(answering(address, ModelStatus(id=f"acme/{name}", **fields)))
        pod = self.make(name)
        self.play(pod, running(pod, ready=False, ip=address))


def lives(scene: Scene) -> None:
    pod = scene.make("well")
    scene.expect("well", ConditionType.READY, Reason.STARTING)
    scene.play(pod, running(pod))
    scene.expect("well", ConditionType.READY, Reason.ALL_REPLICAS_READY)
    scene.kubernetes.apply(image_model("well", replicas=0))
    name = pod["metadata"]["name"]
    scene.kubernetes.wait_for("Pod", name, lambda pod: "deletionTimestamp" in pod["metadata"])
    scene.kubernetes.delete("Pod", name, grace_seconds=0)
    scene.expect("well", ConditionType.READY, Reason.SCALED_TO_ZERO)


def rolls(scene: Scene) -> None:
    pod = scene.make("rolling", rollout={"maxSurge": 1})
    scene.play(pod, running(pod))
    scene.expect("rolling", ConditionType.READY, Reason.ALL_REPLICAS_READY)
    scene.kubernetes.apply(image_model("rolling", rollout={"maxSurge": 1}, inference={"steps": 7}))
    scene.expect("rolling", ConditionType.PROGRESSING, Reason.ROLLING_OUT)


def stalls(scene: Scene) -> None:
    scene.make("stalled")
    timed_out = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": "no pod became ready in time",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "lastUpdateTime": "2026-01-01T00:00:00Z",
    }
    # The deadline is over ten minutes; once this stands, the Deployment's own controller stays with it. What that
    # writes of a new Deployment may come later and take its place, so it is written until it is there to stay.

    def time_out() -> bool:
        scene.kubernetes.patch_status("Deployment", "stalled", {"conditions": [timed_out]})
        model = scene.kubernetes.get("ImageModel", "stalled")
        return condition(model, ConditionType.PROGRESSING)["reason"] == Reason.STALLED

    wait_until(time_out, 20, "the Deployment to stay timed out", 0.25)
    scene.expect("stalled", ConditionType.PROGRESSING, Reason.STALLED)


def lacks_a_place(scene: Scene) -> None:
    scene.kubernetes.apply(image_model("gpu-less", gpu={"count": 1}))
    scene.expect("gpu-less", ConditionType.SCHEDULED, Reason.INSUFFICIENT_GPU, "nvidia.com/gpu")
    scene.kubernetes.apply(image_model("placeless", pod={"nodeSelector": {"no-such": "label"}}))
    scene.expect("placeless", ConditionType.SCHEDULED, Reason.UNSCHEDULABLE, "affinity/selector")
    scene.kubernetes.apply(image_model("unlooked", pod={"priorityClassName": "no-such-class"}))
    scene.expect("unlooked", ConditionType.DEGRADED, Reason.POD_REFUSED, "no-such-class")


def loads(scene: Scene) -> None:
    scene.serve("downloading", state="loading", stage="fetching weights", progress=HALFWAY)
    scene.expect("downloading", ConditionType.READY, Reason.DOWNLOADING, "3.2 of 6.9 GB", "46 %")
    scene.serve("loading", state="loading", stage="placing the UNet")
    scene.expect("loading", ConditionType.WEIGHTS_READY, Reason.LOADING, "Placing the UNet")
    scene.serve("unready", state="ready", device="cpu", revision="abc", load_seconds=3.0)
    scene.expect("unready", ConditionType.READY, Reason.REPLICAS_NOT_READY)


def fails_to_load(scene: Scene) -> None:
    words = "acme/gated is gated; accept its terms"
    scene.serve("gated", state="failed", reason=LoadFailure.ACCESS_DENIED, error=words)
    scene.expect("gated", ConditionType.WEIGHTS_READY, Reason.WEIGHTS_FAILED, words)
    scene.expect("gated", ConditionType.DEGRADED, Reason.WEIGHTS_FAILED, words)
    scene.serve("broken-gpu", state="failed", reason=LoadFailure.GPU_UNUSABLE, error="no CUDA driver")
    scene.expect("broken-gpu", ConditionType.DEGRADED, Reason.GPU_UNUSABLE, "no CUDA driver")


def crashes(scene: Scene) -> None:
    pod = scene.make("crashing")
    scene.play(pod, crashed(pod, 2, "imagegen-server: cannot listen"))
    scene.expect("crashing", ConditionType.DEGRADED, Reason.CRASH_LOOPING, "exit code 2", "cannot listen")
    pod = scene.make("hungry", pod={"resources": {"limits": {"memory": "1Gi"}}})
    scene.play(pod, crashed(pod, 137, reason="OOMKilled"))
    scene.expect("hungry", ConditionType.DEGRADED, Reason.OUT_OF_MEMORY, "1Gi")
    pod = scene.make("imageless")
    scene.play(pod, waiting(pod, "ErrImagePull", "manifest unknown"))
    scene.expect("imageless", ConditionType.DEGRADED, Reason.IMAGE_PULL_FAILED, IMAGE, "manifest unknown")
    pod = scene.make("secretless")
    scene.play(pod, waiting(pod, "CreateContainerConfigError", 'secret "hub" not found'))
    scene.expect("secretless", ConditionType.DEGRADED, Reason.CONTAINER_CONFIG_INVALID, 'secret "hub" not found')
    pod = scene.make("evicted")
    scene.play(pod, {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."})
    scene.expect("evicted", ConditionType.DEGRADED, Reason.EVICTED, "low on resource")


def is_refused(scene: Scene) -> None:
    kubernetes = scene.kubernetes
    kubernetes.apply(image_model("older"))
    kubernetes.wait_for("Deployment", "older")
    kubernetes.apply(image_model("younger", aliases=["acme/older"]))
    scene.expect("younger", ConditionType.RECONCILED, Reason.DUPLICATE_ID, "acme/older", "ImageModel older")
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken"}, "spec": {"ports": [{"port": 80}]}}
    kubernetes.create(foreign)
    kubernetes.apply(image_model("taken"))
    scene.expect("taken", ConditionType.RECONCILED, Reason.NAME_CONFLICT, "Service taken")
    assert kubernetes.find("Deployment", "taken") is None
    kubernetes.apply(image_model("claims", cache={"size": "2Gi"}))
    kubernetes.wait_for("PersistentVolumeClaim", "claims-cache")
    kubernetes.apply(image_model("claims", cache={"size": "1Gi"}))
    scene.expect("claims", ConditionType.RECONCILED, Reason.IMMUTABLE_FIELD, "2Gi", "1Gi", "cannot shrink")
    kubernetes.apply(image_model("odd", pod={"affinity": {"nodeAffinity": {"noSuchField": 1}}}))
    scene.expect("odd", ConditionType.RECONCILED, Reason.APPLY_FAILED, "noSuchField")


def is_of_another_version(scene: Scene) -> None:
    """Store a field that this operator does not know: the resource definition is a newer one for a moment."""
    with newer_definition(scene.kubernetes):
        scene.kubernetes.apply(image_model("newer", tomorrow="yes"))
        turns = count()

        def refused() -> bool:
            # A watch that began before goes on by the older definition for a moment, without the field.
            model = scene.kubernetes.patch("ImageModel", "newer", {"metadata": {"labels": {"turn": str(next(turns))}}})
            return condition(model, ConditionType.RECONCILED)["reason"] == Reason.INVALID_SPEC

        wait_until(refused, 20, "the operator to see the field", every=0.5)
        scene.expect("newer", ConditionType.RECONCILED, Reason.INVALID_SPEC, "spec.tomorrow")


@contextmanager
def newer_definition(kubernetes: Api) -> Generator[None]:
    definition = yaml.safe_load(CRD_FILE.read_text())
    newer = msgspec.json.decode(msgspec.json.encode(definition))
    schema = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["tomorrow"] = {"type": "string", "maxLength": 9}
    kubernetes.apply(newer)

    def knows() -> bool:
        try:
            kubernetes.request(
                "POST", kubernetes.path("ImageModel"), image_model("probe", tomorrow="yes"), params=DRY_RUN
            )
        except ApiError:
            return False
        return True

    wait_until(knows, 20, "the newer definition to be in force", every=0.1)
    try:
        yield
    finally:
        kubernetes.apply(definition)


SCENES: tuple[Callable[[Scene], None], ...] = (
    lives,
    rolls,
    stalls,
    lacks_a_place,
    loads,
    fails_to_load,
    crashes,
    is_refused,
    is_of_another_version,
)


@pytest.fixture
def scene(kubeconfig: Path, kubernetes: Api) -> Iterator[Scene]:
    flags = ("--server-image", IMAGE, "--status-poll-seconds", "0.3", "--lease-seconds", "10")
    with (
        ExitStack() as stack,
        FakeNode(kubernetes) as node,
        start_operator(kubeconfig, kubernetes.namespace, *flags) as operator,
    ):
        operator.wait_leading()
        yield Scene(kubernetes, node, stack)


def test_every_documented_reason_is_reached(scene: Scene, show: Show) -> None:
    for play in SCENES:
        play(scene)
    documented = {
        (kind, status, reason)
        for kind, by_status in REASONS.items()
        for status, reasons in by_status.items()
        for reason in reasons
    }
    reasons = {reason for _, _, reason in documented}
    reached = {reason for _, _, reason in scene.seen}
    # What the scheduler has not looked at is gone before a reader could see it; the tables of test_readiness have it.
    assert reasons - reached <= {Reason.WAITING_FOR_SCHEDULER}
    assert scene.seen <= documented
    show("5.1 every reason of docs/conditions.md", f"{len(reached)} of {len(reasons)} reached on the API server")
