"""Requests that take longer than they may: who is refused at once, in which words, and what a router makes of it."""

import pytest

from answers import valid_error
from conftest import Show
from router_process import endpoints, sleeping_server, start_router
from server_process import Server, wait_until

pytestmark = pytest.mark.slow

STEP = 0.1
"""Seconds of a step of 64x64."""
LONG = {
    "model": "imagegen/shapes",
    "prompt": "a red circle",
    "size": "64x64",
    "num_inference_steps": 100,
    "guidance_scale": 1,
}
LIMIT = {"x-request-timeout": "2"}


def too_late(server: Server, **changes: object) -> tuple[str, str | None]:
    """Return what a refusal says, and whether the device had begun."""
    answer = server.post(LONG | changes, headers=LIMIT)
    error = valid_error(answer.status_code, answer.headers, answer.content)
    assert (answer.status_code, error.code, answer.headers.get("x-should-retry")) == (504, "deadline_exceeded", "false")
    return error.message, answer.headers.get("x-imagegen-started")


@pytest.mark.acceptance
def test_a_request_that_always_runs_out_of_time_does_so_once(show: Show) -> None:
    """Before anything was measured it is tried; then it is refused at once, by the pod and through a router."""
    with sleeping_server(seconds=STEP) as server, start_router(*endpoints([server])) as router:
        server.wait_ready()
        wait_until(lambda: router.serving() == 1, 20, "the router to find the server")
        assert server.status()["costs"] == []
        first, started = too_late(server)
        assert (first, started) == ("the request took longer than 2 s", "1")
        message, started = too_late(server)
        assert started == "0"
        assert "(100 steps at 64x64), and its limit is 2 s; about " in message
        assert " steps at 64x64 would fit, or a limit of " in message
        passed_on, _ = too_late(router)
        assert "the request would take about 1" in passed_on
        [costs] = server.status()["costs"]
        [cost] = costs["evaluations"]
        assert (cost["pixels"], cost["guided"], cost["rows"]) == (64 * 64, False, 1)
        assert cost["seconds"] >= STEP
        fits = int(message.partition("about ")[2].partition("about ")[2].partition(" ")[0])
        assert server.post(LONG | {"num_inference_steps": max(1, fits // 2)}, headers=LIMIT).status_code == 200
    show("14 the next request is refused at once", message)
