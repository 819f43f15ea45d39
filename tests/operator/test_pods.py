"""What pods say, read from pods that were recorded from a real cluster."""

from typing import Any

import pytest

from imagegen_operator.pods import Waiting, newest_template, parse_pod
from model_scenes import RECORDED, pod, restarted

READY = {"ready"}
WITHOUT_NODE = {"no GPU free", "no node matches", "wrong node and no GPU", "claim missing", "claim unbound"}
OVER = {"evicted", "refused by its node"}

WAITING = {
    "image pull backs off": "ImagePullBackOff",
    "image name invalid": "InvalidImageName",
    "image absent and never pulled": "ErrImageNeverPull",
    "secret missing": "CreateContainerConfigError",
    "command missing": "RunContainerError",
    "crash loop": "CrashLoopBackOff",
}

LOOPS = {
    "a container that never ended does not loop": (pod("running, not ready"), False),
    "one that ended once and runs again does not": (restarted(1), False),
    "one that ended twice and runs again does": (restarted(2), True),
    "one that waits between two tries does": (pod("crash loop"), True),
    "one that has just ended again does": (pod("crashed just now"), True),
    "one that became ready does not, whatever was": (restarted(5, ready=True), False),
}


@pytest.mark.parametrize("state", sorted(RECORDED))
def test_every_recorded_pod_is_read(state: str) -> None:
    pod = parse_pod(RECORDED[state])
    assert pod.name == RECORDED[state]["metadata"]["name"]
    assert pod.uid
    assert pod.template
    assert pod.created.startswith("2026-")
    assert not pod.leaving
    assert pod.ready is (state in READY)
    assert bool(pod.scheduler_words) is (state in WITHOUT_NODE)
    assert (pod.node == "") is (state in WITHOUT_NODE)
    assert pod.over is (state in OVER)
    assert pod.running is (state in {"ready", "running, not ready"})


@pytest.mark.parametrize(("state", "reason"), WAITING.items())
def test_a_container_that_waits_says_why(state: str, reason: str) -> None:
    (container,) = parse_pod(pod(state)).containers
    assert isinstance(container.waiting, Waiting)
    assert container.waiting.reason == reason
    assert container.waiting.message


@pytest.mark.parametrize(("manifest", "loops"), LOOPS.values(), ids=LOOPS.keys())
def test_a_crash_loop_is_one_through_all_its_states(manifest: dict[str, Any], loops: bool) -> None:
    (container,) = parse_pod(manifest).containers
    assert container.crash_loops is loops


def test_the_last_end_is_that_of_the_newest_run() -> None:
    (container,) = parse_pod(pod("crashed just now")).containers
    assert container.ended
    assert container.ended.exit_code == 3
    assert "did you mean port?" in container.ended.message
    again = pod("crashed just now")
    again["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] = 9
    (container,) = parse_pod(again).containers
    assert container.ended
    assert container.ended.exit_code == 3


def test_the_memory_limit_is_as_the_spec_writes_it() -> None:
    killed = parse_pod(pod("killed for memory"))
    assert killed.memory_limit("server") == "16Mi"
    assert parse_pod(pod("ready")).memory_limit("server") == ""
    assert killed.memory_limit("no such container") == ""


def test_a_pod_that_is_being_deleted_is_not_ready() -> None:
    manifest = pod("ready", leaving=True)
    assert parse_pod(manifest).leaving
    assert not parse_pod(manifest).ready


def test_an_address_is_there_once_a_pod_has_one() -> None:
    assert parse_pod(RECORDED["ready"]).address.startswith("10.244.")
    assert parse_pod(RECORDED["no GPU free"]).address == ""


NEWEST = {
    "there are none": ([], []),
    "all are of one template": ([("b", "x", "12:00"), ("a", "x", "12:01")], ["a", "b"]),
    "the template that began last counts": ([("a", "old", "11:00"), ("b", "new", "12:00")], ["b"]),
    "an old pod made anew does not make its template the newest": (
        [("a", "old", "11:00"), ("b", "new", "12:00"), ("c", "old", "12:30")],
        ["b"],
    ),
}


@pytest.mark.parametrize(("pods", "expected"), NEWEST.values(), ids=NEWEST.keys())
def test_the_newest_template(pods: list[tuple[str, str, str]], expected: list[str]) -> None:
    parsed = [parse_pod(pod("ready", name, template=template, created=at)) for name, template, at in pods]
    assert [each.name for each in newest_template(parsed)] == expected
    assert [each.name for each in newest_template(reversed(parsed))] == expected
