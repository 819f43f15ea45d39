"""The operator is killed at each of its writes, before and after; its successor ends in the undisturbed state.

A standby waits beside the leader all the time: it takes over when the leader's Lease is over, brings the model to its
end, and is the one that is killed next.
"""

import difflib
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal

import pytest

from cluster.api import Api
from cluster.api_faults import CrashPoint
from cluster.api_proxy import ApiProxy
from cluster.api_requests import ApiRequest
from conftest import Show
from imagegen_contract import names
from operator_process import OperatorProcess, start_operator
from operator_scenes import IMAGE, condition, image_model
from server_process import wait_until

SECONDS = 40.0
LEASE_SECONDS = 3
FLAGS = ("--server-image", IMAGE, "--lease-seconds", str(LEASE_SECONDS))
CHILDREN = ("Deployment", "Service", "PersistentVolumeClaim")
GIVEN_BY_KUBERNETES = ("clusterIP", "clusterIPs")
CREATED = {"cache": {"size": "1Gi"}}
EDITED = {**CREATED, "inference": {"steps": 20}}

Moment = Literal["before", "after"]
MOMENTS: tuple[Moment, ...] = ("before", "after")


class Relay:
    """Operators one after the other, by way of a proxy: one leads, the next one waits."""

    def __init__(self, proxy: ApiProxy, kubernetes: Api, kubeconfig: Path, stack: ExitStack) -> None:
        self.proxy = proxy
        self.kubernetes = kubernetes
        self.killed = 0
        self._kubeconfig = kubeconfig
        self._stack = stack
        self.leader = self._start()
        self.leader.wait_leading()
        self.standby = self._start()

    def _start(self) -> OperatorProcess:
        return self._stack.enter_context(start_operator(self._kubeconfig, self.kubernetes.namespace, *FLAGS))

    def crash(self, model: str, moment: Moment, n: int) -> CrashPoint:
        """Have the leader killed at its n-th write for that model from now."""
        at = self.proxy.before if moment == "before" else self.proxy.after
        return at(n, self.leader.process.kill, lambda request: concerns(request, model))

    def take_over(self) -> None:
        """Wait until the standby leads, and start another one."""
        self.killed += 1
        self.leader.wait()
        self.standby.wait_leading()
        self.leader, self.standby = self.standby, self._start()


def concerns(request: ApiRequest, model: str) -> bool:
    """Return whether a request writes the model's status or one of its children."""
    return request.is_write and request.name in {model, f"{model}-cache"}


@pytest.fixture
def relay(api_proxy: ApiProxy, kubernetes: Api, tmp_path: Path) -> Iterator[Relay]:
    kubeconfig = api_proxy.kubeconfig(tmp_path / "kubeconfig", namespace=kubernetes.namespace)
    with ExitStack() as stack:
        yield Relay(api_proxy, kubernetes, kubeconfig, stack)


def state(kubernetes: Api, name: str) -> str:
    """Return the children and the status of a model, without times, UIDs and its name."""
    children = [kubernetes.find(kind, name if kind != CHILDREN[2] else f"{name}-cache") for kind in CHILDREN]
    status = kubernetes.get("ImageModel", name).get("status", {})
    conditions = [without(each, "lastTransitionTime") for each in status.get("conditions", ())]
    found = [child and content(child) for child in children]
    return json.dumps([*found, {**status, "conditions": conditions}], indent=1, sort_keys=True).replace(name, "NAME")


def content(child: dict[str, Any]) -> dict[str, Any]:
    metadata = child["metadata"]
    return {
        "labels": metadata["labels"],
        # The digest holds name and UID of the model. That it is right shows by a successor that writes nothing.
        "annotations": without(metadata["annotations"], names.APPLIED_ANNOTATION),
        "owners": [without(owner, "uid") for owner in metadata["ownerReferences"]],
        "spec": without(child["spec"], *GIVEN_BY_KUBERNETES),
    }


def without(fields: dict[str, Any], *left_out: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in left_out}


def told(kubernetes: Api, name: str) -> bool:
    """Return whether the status tells of the newest generation, and of pods that nobody can place."""
    model = kubernetes.get("ImageModel", name)
    scheduled = condition(model, "Scheduled")
    return (scheduled["status"], scheduled["observedGeneration"]) == ("False", model["metadata"]["generation"])


def undisturbed(relay: Relay, name: str, spec: dict[str, Any]) -> tuple[str, int]:
    """Return the state that an apply leads to, and how many writes it takes."""
    relay.proxy.forget()
    relay.kubernetes.apply(image_model(name, **spec))
    wait_until(lambda: told(relay.kubernetes, name), SECONDS, f"a status of {name}", 0.1)
    relay.proxy.wait_quiet(lambda request: concerns(request, name), quiet=1.5)
    return state(relay.kubernetes, name), len(relay.proxy.requested(lambda request: concerns(request, name)))


def disturbed(relay: Relay, name: str, spec: dict[str, Any], moment: Moment, n: int, expected: str) -> bool:
    """Apply, kill at the n-th write, wait for the expected state; return whether there was an n-th write."""
    point = relay.crash(name, moment, n)
    relay.kubernetes.apply(image_model(name, **spec))

    def reached() -> bool:
        return point.request is not None or state(relay.kubernetes, name) == expected

    with suppress(AssertionError):  # what is in the way shows below
        wait_until(reached, SECONDS, "the crash point, or the state", 0.05)
    killed = point.request is not None
    relay.proxy.heal()
    if killed:
        relay.take_over()
    wait_for_state(relay.kubernetes, name, expected, f"killed {moment} write {n}: {point.request}")
    return killed


def wait_for_state(kubernetes: Api, name: str, expected: str, what: str) -> None:
    """Wait until a model and its children are in a state; show the difference when they never are."""
    deadline = time.monotonic() + SECONDS
    while (found := state(kubernetes, name)) != expected:
        if time.monotonic() > deadline:
            difference = difflib.unified_diff(expected.splitlines(), found.splitlines(), "expected", name, n=8)
            raise AssertionError("\n".join([what, *difference]))
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.acceptance
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
def test_killed_at_every_write_the_same_state_comes(relay: Relay, show: Show) -> None:
    created, writes_created = undisturbed(relay, "undisturbed", CREATED)
    edited, writes_edited = undisturbed(relay, "undisturbed", EDITED)
    assert writes_created >= len(CHILDREN) + 1
    assert writes_edited >= 2
    kills = {"create": 0, "rollout": 0}
    for n in range(1, max(writes_created, writes_edited) + 1):
        for moment in MOMENTS:
            name = f"{moment}-{n}"
            kills["create"] += disturbed(relay, name, CREATED, moment, n, created)
            kills["rollout"] += n <= writes_edited and disturbed(relay, name, EDITED, moment, n, edited)
    models = [model["metadata"]["name"] for model in relay.kubernetes.list("ImageModel")]
    relay.proxy.forget()
    relay.leader.kill()
    relay.take_over()
    relay.proxy.wait_quiet(quiet=3.0, match=lambda request: request.is_write and request.resource != "leases")
    late = [str(request) for request in relay.proxy.requests if any(concerns(request, model) for model in models)]
    assert late == [], "a successor finds nothing to do"
    # Later writes of the status may fall together; those of children and the first of the status do not.
    assert kills["create"] >= 2 * (len(CHILDREN) + 1)
    assert kills["rollout"] >= 2 * 2
    show(
        "5.3 crash points",
        f"create: killed {kills['create']} times at {writes_created} writes, rollout: {kills['rollout']} at "
        f"{writes_edited}; each time the same children, labels, annotations and conditions",
    )
