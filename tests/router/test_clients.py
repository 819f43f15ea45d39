"""The client tests of one server pass unchanged when a router is in between; two routers share the same pods."""

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import Show
from router_process import endpoints, sleeping_servers, start_router
from server_process import wait_until

SHAPES = "imagegen/shapes"
CLIENT_TESTS = [
    f"tests/end_to_end/test_{name}.py" for name in ("sdk", "sdk_errors", "concurrency", "hostile_connections")
]

METHODS = "hostile_connections.py::test_another_method_is_told_the_right_ones"

UNLIKE = {
    "sdk_errors.py::test_retry_after_is_never_more_than_the_sdk_honours": "waits in the router when a pod has no queue",
    "sdk_errors.py::test_a_full_queue_is_waited_for": "the same",
    "concurrency.py::test_retry_after_is_when_the_queue_has_room_again": "the same",
    "sdk_errors.py::test_a_model_that_is_loading_is_waited_for": "waits in the router while the pod loads",
    "sdk_errors.py::test_a_server_that_drains_refuses_the_new_and_ends_the_old": "the same while its only pod drains",
    f"{METHODS}[PUT /v1/models/imagegen/shapes/load-expected7]": "a router loads no models",
    f"{METHODS}[OPTIONS /v1/models/imagegen/shapes/unload-expected9]": "the same",
    "concurrency.py::test_a_client_that_leaves_frees_the_device_within_a_step": (
        "takes half a minute; test_fault_clients_leave shows it of the router"
    ),
}
"""What is tested of a server alone, and how the router differs; tests/router has tests of that."""


@pytest.mark.parametrize("name", UNLIKE)
def test_what_is_left_out_is_there(name: str, repository: Path) -> None:
    file, _, test = name.partition("::")
    assert f"def {test.partition('[')[0]}(" in (repository / f"tests/end_to_end/test_{file}").read_text()


@pytest.mark.slow
@pytest.mark.acceptance
@pytest.mark.timeout(450)  # more than the time limit inside, which ends the servers, too
def test_client_tests_pass_through_the_router(show: Show) -> None:
    """In a pytest of its own, whose servers each have a router before them."""
    left_out = [f"--deselect=tests/end_to_end/test_{name}" for name in UNLIKE]
    options = ["-q", "--no-header", "-p", "no:cacheprovider"]
    environment = {**os.environ, "IMAGEGEN_TEST_ROUTED": "1"}  # noqa: TID251 - a child needs its parent's environment
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *left_out, *CLIENT_TESTS],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    outcome = done.stdout.strip().splitlines()[-1].strip("= ")
    show("6.1 the client tests through the router", outcome)


@pytest.mark.slow
@pytest.mark.acceptance
def test_two_routers_share_pods(show: Show) -> None:
    with sleeping_servers(2, seconds=0.01) as servers:
        flags = endpoints(servers)
        with start_router(*flags) as one, start_router(*flags) as other, ThreadPoolExecutor(40) as pool:
            for router in (one, other):
                wait_until(lambda router=router: router.serving() == 2, 10, "both pods")
            body = {"model": SHAPES, "prompt": "x", "size": "64x64", "num_inference_steps": 4}
            answers = [pool.submit((one, other)[number % 2].post, body) for number in range(200)]
            statuses = Counter(answer.result(60).status_code for answer in answers)
            made = [server.status()["work"]["images_total"] for server in servers]
    assert statuses == {200: 200}
    assert sum(made) == 200
    assert min(made) > 70, "both pods worked"
    show("6.6 two routers before the same pods", f"200 requests, 0 failed; pictures by pod: {made}")
