"""The end of a server: signals under load, kills, a lost device. What was accepted is answered."""

import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Show
from raw_requests import RawRequest, queued, running
from server_process import ServerProcess, start_server, wait_until

pytestmark = pytest.mark.slow

SMALL = {"prompt": "a red circle on a blue background", "size": "128x128", "num_inference_steps": 2, "seed": 11}
LONG = {**SMALL, "num_inference_steps": 100}

Answer = tuple[int, dict[str, str], Any]


def code(answer: Answer) -> tuple[int, str, str]:
    """Return status, error code and whether the device had begun."""
    status, headers, body = answer
    return status, body["error"]["code"], headers["x-imagegen-started"]


def wait_draining(server: ServerProcess) -> None:
    wait_until(lambda: server.get("/readyz").status_code == 503, 5, "readyz to tell of the drain", every=0.002)


@pytest.mark.acceptance
def test_sigterm_under_load_completes_what_was_accepted_and_refuses_the_new(server: ServerProcess, show: Show) -> None:
    bodies = [{**SMALL, "seed": seed, "num_inference_steps": 40 if seed == 0 else 3} for seed in range(4)]
    expected = [server.post(body).json()["data"] for body in bodies]
    with start_server() as leaving, contextlib.ExitStack() as requests:
        leaving.wait_ready()
        accepted = [requests.enter_context(running(leaving, bodies[0]))]
        for position, body in enumerate(bodies[1:], 1):
            accepted.append(requests.enter_context(queued(leaving, body, position)))
        leaving.terminate()
        wait_draining(leaving)
        assert "shutting down" in leaving.get("/readyz").json()["error"]["message"]
        assert leaving.get("/healthz").status_code == 200
        refused = leaving.post(SMALL)
        status = leaving.status()
        assert (status["state"], status["capacity"]["free_rows"]) == ("draining", 0)
        assert status["capacity"]["queued_requests"] == 3, "the drain was over before it was looked at"
        answers = [request.read() for request in accepted]
        assert leaving.wait() == 0
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert refused.headers["x-imagegen-started"] == "0"
    assert [status for status, _, _ in answers] == [200] * 4
    assert [body["data"] for _, _, body in answers] == expected
    assert leaving.stderr == []
    show(
        "5 SIGTERM under load: running work completes, new work gets 503",
        "1 running and 3 queued completed with the right pictures, new: 503 draining, readyz 503, exit code 0",
    )


@pytest.mark.acceptance
def test_what_is_not_done_when_the_drain_is_over_gets_an_error(show: Show) -> None:
    with start_server("--drain-seconds", "0.5") as leaving:
        leaving.wait_ready()
        with running(leaving, LONG) as first, queued(leaving, LONG) as second:
            leaving.terminate()
            sent = time.monotonic()
            answers = [first.read(), second.read()]
            assert leaving.wait() == 0
            seconds = time.monotonic() - sent
    assert [code(answer) for answer in answers] == [(503, "draining", "1"), (503, "draining", "0")]
    assert all("retry-after" in headers for _, headers, _ in answers)
    assert seconds >= 0.5
    assert leaving.stderr == []
    show("5 drain time over: an error body for what still runs", f"503 draining, exit 0 after {seconds:.1f} s of 0.5 s")


def test_a_reply_that_is_being_written_when_the_drain_ends_is_sent_whole() -> None:
    body = {**SMALL, "size": "256x256", "num_inference_steps": 1, "n": 6}
    with start_server() as leaving:
        leaving.wait_ready()
        with RawRequest(leaving, body, receive_buffer=4096) as request:
            wait_until(lambda: leaving.status()["work"]["images_total"] == 6, 60, "the pictures", every=0.002)
            leaving.terminate()
            wait_until(lambda: _refuses(leaving), 10, "the drain to be over")
            status, _, reply = request.read()
        assert leaving.wait() == 0
    assert status == 200
    assert len(reply["data"]) == 6


def _refuses(server: ServerProcess) -> bool:
    try:
        server.get("/healthz")
    except httpx.TransportError:
        return True
    return False


@pytest.mark.acceptance
def test_a_second_sigterm_ends_the_process_at_once(show: Show) -> None:
    with start_server() as leaving:
        leaving.wait_ready()
        with running(leaving, LONG) as first, queued(leaving, LONG) as second:
            leaving.terminate()
            wait_draining(leaving)
            leaving.terminate()
            sent = time.monotonic()
            assert leaving.wait(10) == 0
            seconds = time.monotonic() - sent
            answers = [first.read(), second.read()]
    assert [code(answer) for answer in answers] == [(503, "draining", "1"), (503, "draining", "0")]
    assert seconds < 3
    assert leaving.stderr == []
    show("5 a second SIGTERM ends at once", f"{seconds:.2f} s with work for many seconds")


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_a_server_that_loads_ends_at_once(signals: list[signal.Signals]) -> None:
    with start_server() as leaving:
        wait_until(lambda: leaving.status()["models"][0]["state"] == "loading", 10, "the load to be on its way")
        sent = time.monotonic()
        for sign in signals:
            leaving.process.send_signal(sign)
        assert leaving.wait(10) == 0
        seconds = time.monotonic() - sent
    assert seconds < 2, "it waited for the import"
    assert leaving.stderr == []


@pytest.mark.acceptance
def test_a_killed_server_comes_back_with_the_same_pictures(server: ServerProcess, show: Show) -> None:
    expected = server.post(SMALL).json()["data"]
    with start_server() as killed:
        killed.wait_ready()
        assert killed.post(SMALL).json()["data"] == expected
        port = killed.url.rpartition(":")[2]
        with running(killed, LONG):
            killed.process.kill()
            assert killed.wait() == -signal.SIGKILL
    with start_server("--port", port) as again:
        again.wait_ready()
        assert again.post(SMALL).json()["data"] == expected
    show("5 SIGKILL in mid-generation and a restart on the same port", "the same picture before and after")


def test_a_lost_device_ends_the_process_with_an_error_and_answers_everyone() -> None:
    here = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with start_server(module="misbehaving.losing_server", environment=here) as losing:
        losing.wait_ready()
        with RawRequest(losing, LONG) as first, RawRequest(losing, LONG) as second:
            answers = [first.read(), second.read()]
        assert losing.wait(20) == 1
    started, waiting = sorted(answers, key=lambda answer: answer[0])
    assert code(started) == (500, "internal_error", "1")
    assert code(waiting) == (503, "draining", "0")
    lost = [line for line in losing.log if line["message"] == "the device is lost"]
    assert ["CUDA error" in line["cause"] for line in lost] == [True]
