"""Operators die, vanish, or are two; what is in the cluster does not mind.

Each test has its row in docs/faults.md.
"""

import pytest

from cluster.api import Api
from cluster.api_requests import matching
from conftest import Show
from operator_faults import SECONDS, Scene, elapsed, of_models
from server_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.acceptance, pytest.mark.usefixtures("crd")]

CHILDREN = ("Deployment", "Service", "PersistentVolumeClaim")


def test_fault_leader_terminated(scene: Scene, show: Show) -> None:
    first, second = scene.lead("--lease-seconds", "15"), scene.start("--lease-seconds", "15")
    scene.apply("one")
    second.next_line("waiting for the lease", SECONDS)
    first.terminate()
    seconds = elapsed(lambda: second.wait_leading(10))
    assert seconds < 3
    assert first.wait() == 0
    scene.apply("one", inference={"steps": 20})
    show("5.1 hand-over on SIGTERM", f"{seconds:.1f} s with a Lease of 15 s")


LOOK = 1.25
"""Seconds between two looks at a Lease, at most."""


def test_fault_leader_killed(scene: Scene, show: Show) -> None:
    lease = 5
    first, second = (start("--lease-seconds", str(lease)) for start in (scene.lead, scene.start))
    scene.apply("one")
    second.next_line("waiting for the lease", SECONDS)
    first.kill()
    seconds = elapsed(lambda: second.wait_leading(lease + 10))
    assert seconds < lease + 2 * LOOK + 1, "the Lease, and two looks"
    scene.apply("one", inference={"steps": 20})
    show("5.1 hand-over on SIGKILL", f"{seconds:.1f} s with a Lease of {lease} s")


def test_fault_terminated_before_the_first_lists(scene: Scene) -> None:
    scene.proxy.answer(500, matching(verb="list"), times=None)
    operator = scene.start()
    operator.wait_leading()
    operator.next_line("the first lists failed", SECONDS)
    operator.terminate()
    assert operator.wait(10) == 0
    assert scene.kubernetes.get("Lease", "imagegen-operator")["spec"]["holderIdentity"] == ""


def test_fault_two_leaders(scene: Scene, show: Show) -> None:
    """Two Leases make two leaders for as long as the test wants; real ones are two for some seconds."""
    scene.lead("--lease-name", "first")
    scene.lead("--lease-name", "second")
    cache = {"size": "1Gi"}
    for steps in range(10, 20):
        scene.edit("one", cache=cache, inference={"steps": steps})
        scene.edit(f"other-{steps}")
    scene.wait_applied("one")
    for steps in range(10, 20):
        scene.wait_applied(f"other-{steps}")
    scene.proxy.wait_quiet(of_models, quiet=3.0)
    together = contents(scene.kubernetes, "one")
    count = len(scene.proxy.requested(of_models))
    assert '"steps": 19' in together or '"steps":19' in together
    show("5.1 two leaders at once", f"11 models, 10 edits: {count} writes, then none; the newest spec is applied")


def contents(kubernetes: Api, name: str) -> str:
    return str(kubernetes.get("Deployment", name)["spec"]["template"])


def test_fault_deleted_while_no_operator_runs(scene: Scene, show: Show) -> None:
    operator = scene.lead()
    scene.apply("one", cache={"size": "1Gi"})
    names = list(zip(CHILDREN, ("one", "one", "one-cache"), strict=True))
    for kind, name in names:
        assert scene.kubernetes.find(kind, name)
    operator.kill()
    scene.kubernetes.delete("ImageModel", "one")
    seconds = elapsed(lambda: [scene.kubernetes.wait_gone(kind, name) for kind, name in names])
    scene.kubernetes.wait_gone("ImageModel", "one")
    wait_until(lambda: not scene.kubernetes.list("Pod"), SECONDS, "the pods to go")
    show("5.1 deletion with the operator down", f"nothing is left after {seconds:.1f} s")
