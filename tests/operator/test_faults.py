"""The API server fails in every way that it has: the operator goes on by itself, or ends and says why.

Each test has its row in docs/faults.md.
"""

from functools import partial
from typing import Any

import pytest

from cluster.api import Api
from cluster.api_requests import matching, watches, writes
from cluster.control_plane import ControlPlane
from cluster.fake_node import FakeKubelet, FakeNode
from conftest import Show
from operator_faults import SECONDS, Scene, elapsed, wait_messages
from operator_process import metric
from operator_scenes import condition, is_ready
from server_process import wait_until

DEAF = "the watches ended; this process can do nothing without them"

pytestmark = [pytest.mark.slow, pytest.mark.acceptance, pytest.mark.usefixtures("crd")]


def test_fault_api_server_gone_longer_than_the_lease(scene: Scene, control_plane: ControlPlane, show: Show) -> None:
    operator = scene.lead()
    scene.apply("one")
    before = scene.generations("one")
    control_plane.stop_api_server()
    try:
        ended = elapsed(lambda: operator.wait(SECONDS))
        assert operator.wait() == 1
        assert operator.messages("the lease was lost; another operator may lead now")
        successor = scene.start()
        wait_messages(successor, "waiting for the API server", 2)
    finally:
        control_plane.start_api_server()
    again = elapsed(successor.wait_leading)
    assert scene.generations("one") == before
    scene.apply("one", inference={"steps": 20})
    show("5.1 API server gone", f"Lease of 10 s lost, ends after {ended:.1f} s; started anew leads {again:.1f} s after")


def test_fault_api_server_gone_shorter_than_the_lease(scene: Scene, show: Show) -> None:
    operator = scene.start("--lease-seconds", "30")
    url = operator.listening()
    operator.wait_leading()
    scene.apply("one")
    scene.proxy.refuse()
    unanswered = partial(metric, url, "imagegen_operator_requests_total", kind="Lease", code="none")
    wait_until(lambda: unanswered() >= 3, SECONDS, "three renewals to fail")
    scene.edit("one", inference={"steps": 20})
    scene.proxy.accept()
    seconds = scene.wait_applied("one")
    assert operator.process.poll() is None
    assert seconds < 5
    show(
        "5.1 API server gone for 3 s", f"the same leader goes on; an edit of that time is applied {seconds:.1f} s after"
    )


def test_fault_api_server_absent_at_start(scene: Scene) -> None:
    scene.proxy.refuse()
    operator = scene.start()
    wait_messages(operator, "waiting for the API server", 2)
    scene.proxy.accept()
    operator.wait_leading(10)
    scene.apply("one")


def test_fault_definition_absent_at_start(scene: Scene) -> None:
    discovery = scene.proxy.answer(404, lambda request: request.path.endswith("/v1alpha1"), times=None)
    operator = scene.start()
    lines = wait_messages(operator, "waiting for the API server", 2)
    assert all("install the CRD" in str(line["cause"]) for line in lines)
    assert discovery.met >= 2
    scene.proxy.heal()
    operator.wait_leading(10)
    scene.apply("one")


def test_fault_watches_expired(scene: Scene, show: Show) -> None:
    operator = scene.lead()
    scene.apply("one")
    assert scene.proxy.expire_watches(count=5) == 5
    seconds = scene.apply("one", inference={"steps": 20})
    assert seconds < 5
    assert operator.process.poll() is None
    show("5.1 410 on the watches", f"listed anew; an edit is applied {seconds:.1f} s after")


def test_fault_api_server_sheds_load(scene: Scene, show: Show) -> None:
    operator = scene.lead()
    refused = scene.proxy.answer(429, lambda each: writes(each) and each.resource != "leases", times=3, retry_after=1)
    silenced = scene.proxy.answer(429, watches, times=5, retry_after=1)
    scene.proxy.expire_watches(count=5)
    seconds = scene.apply("one")
    assert refused.met == 3
    wait_until(lambda: silenced.met == 5, SECONDS, "the watches to be refused")
    assert operator.process.poll() is None
    show("5.1 429, Retry-After: 1", f"3 writes and 5 watches refused: applied after {seconds:.1f} s")


def test_fault_errors_of_the_api_server(scene: Scene, show: Show) -> None:
    operator = scene.lead("--resync-seconds", "1")
    lists = scene.proxy.answer(500, matching(verb="list"), times=6)
    streams = scene.proxy.answer(500, watches, times=5)
    scene.proxy.cut()
    wait_messages(operator, "resync failed")
    seconds = scene.apply("one")
    assert lists.met >= 1
    wait_until(lambda: streams.met == 5, SECONDS, "the watches to be refused")
    assert operator.process.poll() is None
    show("5.1 500 on watches and lists", f"tried again: applied after {seconds:.1f} s")


def test_fault_watch_forbidden(scene: Scene, show: Show) -> None:
    operator = scene.lead()
    scene.apply("one")
    scene.proxy.answer(403, matching(verb="watch", resource="services"), times=None)
    scene.proxy.cut()
    ended = elapsed(lambda: operator.wait(SECONDS))
    assert operator.wait() == 1
    assert operator.messages(DEAF)
    scene.proxy.heal()
    assert elapsed(scene.lead) < SECONDS
    show("5.1 403 on a watch", f"ends with 1 after {ended:.0f} s (60 s by default), started anew it works")


def test_fault_watch_ends_with_an_error(scene: Scene) -> None:
    """What kopf does not know ends it; the process must not stay behind deaf."""
    operator = scene.lead()
    scene.proxy.expire_watches(matching(verb="watch", resource="pods"), status=500)
    assert operator.wait(20) == 1
    assert operator.messages(DEAF)
    lease = scene.kubernetes.get("Lease", "imagegen-operator")
    assert lease["spec"]["holderIdentity"] == "", "its successor need not wait"


def test_fault_write_forbidden(scene: Scene, kubernetes: Api, show: Show) -> None:
    with FakeNode(kubernetes) as node, FakeKubelet(node, kubernetes):
        scene.lead()
        scene.edit("one")
        kubernetes.wait_for("ImageModel", "one", is_ready)
        scene.proxy.answer(403, matching(verb="patch", resource="services", name="one"), times=None)
        kubernetes.delete("Service", "one")
        model = kubernetes.wait_for("ImageModel", "one", is_refused)
        assert condition(model, "Reconciled")["reason"] == "ApplyFailed"
        assert "Forbidden" in condition(model, "Reconciled")["message"]
        assert is_ready(model), "it serves as before"
        scene.apply("two")
        scene.proxy.heal()
        seconds = scene.wait_applied("one")
        assert kubernetes.find("Service", "one")
    show("5.1 403 on a write", f"ApplyFailed, Ready stays True, others go on; applied {seconds:.1f} s after it ended")


def is_refused(model: dict[str, Any]) -> bool:
    return condition(model, "Reconciled")["status"] == "False"


def test_fault_half_open_connections(scene: Scene, show: Show) -> None:
    operator = scene.lead()
    scene.apply("one")
    frozen = scene.proxy.freeze()
    assert frozen >= 5
    seconds = scene.apply("one", inference={"steps": 20})
    assert operator.process.poll() is None
    assert seconds < 45
    show(
        "5.1 half-open connections", f"all {frozen} stand still: an edit is applied after {seconds:.0f} s, same leader"
    )


def test_fault_deletion_never_told(scene: Scene, show: Show) -> None:
    """Its watch begins after the deletion and its list before: only a later list shows what is missing."""
    scene.lead("--resync-seconds", "2", "--watch-silence-seconds", "60")
    scene.apply("one")
    of_services = matching(verb="watch", resource="services")
    deaf = scene.proxy.hang(of_services, times=None)
    scene.proxy.expire_watches(of_services)
    scene.proxy.wait_requested(lambda each: of_services(each) and each.status is None, seconds=10)
    assert deaf.met == 1
    scene.kubernetes.delete("Service", "one")
    seconds = elapsed(lambda: scene.kubernetes.wait_for("Service", "one", seconds=10))
    show("5.1 a DELETED that never came", f"made again after {seconds:.1f} s where all is listed every 2 s")
