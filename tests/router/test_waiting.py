"""Requests that wait in a real router: for a pod to start, for their turn, and how clients see it."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import Show
from imagegen_contract.errors import ErrorCode
from misbehaving.pods import GOOD, MODEL, Answer, pod, reply, sends
from raw_requests import RawRequest
from router_process import endpoints, sleeping_server, sleeping_servers, start_router
from server_process import Server, wait_until

from .conftest import Ask, Route

SHAPES = "imagegen/shapes"
PICTURE = {"model": SHAPES, "prompt": "x", "size": "64x64", "num_inference_steps": 4, "seed": 1}
NOBODY = "http://127.0.0.1:9"


def test_a_request_is_held_until_a_pod_serves(ask: Ask) -> None:
    with sleeping_server(environment={"SLEEPING_LOAD": "3"}) as server, start_router(*endpoints([server])) as router:
        answer = ask(router, **PICTURE)
        wait_until(lambda: router.waiting() == 1, 10, "the request to wait")
        assert answer.result(20).status_code == 200


def test_who_was_held_in_vain_is_told_why(ask: Ask) -> None:
    with (
        sleeping_server(environment={"SLEEPING_LOAD": "20"}) as server,
        start_router(*endpoints([server]), "--hold-seconds", "1") as router,
    ):
        answer = ask(router, **PICTURE).result(20)
        server.kill()
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, ErrorCode.MODEL_LOADING)
    assert 0 < float(answer.headers["retry-after"]) <= 120
    assert "placing weights" in error["message"]


def test_a_model_that_cannot_be_loaded_is_refused_at_once(ask: Ask, tmp_path: Path) -> None:
    catalog = tmp_path / "models.json"
    entry = {"publisher": "a", "family": "sd", "version": "1", "id": SHAPES, "source": "file:///nowhere"}
    catalog.write_text(json.dumps([entry]))
    with sleeping_server("--catalog", str(catalog)) as server, start_router(*endpoints([server])) as router:
        wait_until(lambda: router.get(f"/v1/models/{SHAPES}").json()["state"] == "failed", 20, "the router to know")
        answer = ask(router, **PICTURE).result(10)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], answer.headers["x-should-retry"]) == (503, "model_failed", "false")
    assert "/nowhere" in error["message"]


def test_an_unknown_model_is_refused_with_near_names(route: Route, ask: Ask) -> None:
    with pod() as one:
        answer = ask(route([one]), model="acme/two").result(10)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, ErrorCode.MODEL_NOT_FOUND)
    assert MODEL in answer.json()["error"]["message"]


@pytest.mark.slow
def test_a_full_room_refuses_with_a_time_to_come_back(route: Route, ask: Ask) -> None:
    with sleeping_servers(1, seconds=0.4) as servers:
        router = route(servers, "--max-waiting-requests", "2", model=SHAPES)
        assert router.post(PICTURE).status_code == 200, "now the router knows what one costs, and sends none ahead"
        first = [ask(router, **PICTURE) for _ in range(3)]
        wait_until(lambda: router.waiting() == 2, 10, "two to wait")
        answer = ask(router, **PICTURE).result(10)
        assert [each.result(20).status_code for each in first] == [200] * 3
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, ErrorCode.QUEUE_FULL)
    assert 0 < float(answer.headers["retry-after"]) <= 120


@pytest.mark.slow
def test_a_drain_finishes_what_is_here_and_sends_clients_elsewhere(route: Route, ask: Ask) -> None:
    """Nobody is refused: each connection ends with its next reply, one that asks for nothing a moment later."""
    with sleeping_servers(1, seconds=0.4) as servers:
        router = route(servers, model=SHAPES)
        here = [ask(router, **PICTURE) for _ in range(3)]
        wait_until(lambda: router.waiting() + router.running() == 3, 10, "three requests")
        address = ("127.0.0.1", urlsplit(router.url).port or 0)
        with socket.create_connection(address, 20) as idle, socket.create_connection(address, 20) as begun:
            begun.sendall(b"GET /healthz HTT")
            idle.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            said = b""
            while b'"ok"}' not in said:  # so the bytes that were sent before have come too
                said += idle.recv(4096)
            router.terminate()
            router.next_line("draining", 10)
            begun.sendall(b"P/1.1\r\nhost: x\r\n\r\n")
            answered = begun.makefile("rb").read()
            assert idle.recv(4096) == b""
            assert answered.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answered
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, 20)
        answers = [each.result(20) for each in here]
        assert [each.status_code for each in answers] == [200] * 3
        assert {each.headers["connection"] for each in answers} == {"close"}
        assert router.wait(20) == 0


@pytest.mark.slow
@pytest.mark.acceptance
def test_a_thousand_clients_wait(route: Route, show: Show) -> None:
    """Each is a connection, a body and a place in the room; memory per client is what an operator plans with."""
    with sleeping_servers(4, seconds=0.002) as servers:
        router = route(servers, "--max-waiting-requests", "2000", model=SHAPES)
        before = _resident_mib(router.process.pid)
        peak = [before]
        with ThreadPoolExecutor(1000) as clients:
            answers = [clients.submit(router.post, PICTURE) for _ in range(1000)]
            while not all(answer.done() for answer in answers):
                peak.append(_resident_mib(router.process.pid))
                time.sleep(0.05)
        statuses = {answer.result().status_code for answer in answers}
    growth = max(peak) - before
    assert statuses == {200}
    assert growth < 64
    show("6.5 1,000 waiting clients", f"all 200; router's memory +{growth:.0f} MiB")


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@pytest.mark.slow
@pytest.mark.acceptance
def test_large_replies_are_not_kept(route: Route, show: Show) -> None:
    """Sixteen clients that read nothing at first: what a pod has sent waits in the system's buffers, not in memory."""
    content = bytes(2_000_000)
    with pod(sends(reply(content)), requests_at_once=16) as one:
        router = route([one])
        assert router.post({"model": MODEL, "prompt": "x"}).content == content
        before = _resident_mib(router.process.pid)
        peak = [before]
        with ExitStack() as stack:
            clients = [stack.enter_context(RawRequest(router, {"model": MODEL}, 16384)) for _ in range(16)]
            wait_until(lambda: len(one.requests) == 17, 20, "all requests on the pod")
            readers = [threading.Thread(target=client.read_whole) for client in clients]
            for reader in readers:
                peak.append(_resident_mib(router.process.pid))
                reader.start()
            while any(reader.is_alive() for reader in readers):
                peak.append(_resident_mib(router.process.pid))
                time.sleep(0.01)
        assert [client.received for client in clients] == [len(content)] * 16
    growth = max(peak) - before
    assert growth <= 32
    show("6.5 16 replies of 2 MB to slow readers", f"router's memory +{growth:.1f} MiB (target 32)")


def sse(*events: bytes) -> Answer:
    body = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return sends(head + body)


COMPLETED = b'event: image_generation.completed\ndata: {"type":"image_generation.completed"}\n\n'
DONE = b"data: [DONE]\n\n"


def streamed(router: Server) -> tuple[int, list[str]]:
    """Return status and non-empty lines of a streaming request."""
    body = {"model": MODEL, "prompt": "x", "stream": True}
    with httpx.stream("POST", f"{router.url}/v1/images/generations", json=body, timeout=30) as answer:
        return answer.status_code, [line for line in answer.iter_lines() if line]


def test_a_stream_is_passed_through(route: Route) -> None:
    with pod(sse(b": step 1/2\n\n", COMPLETED, DONE)) as one:
        status, lines = streamed(route([one]))
    assert status == 200
    assert lines == [": step 1/2", *COMPLETED.decode().split("\n")[:2], "data: [DONE]"]


@pytest.mark.slow
def test_a_waiting_stream_is_shown_its_place(route: Route, ask: Ask) -> None:
    with pod(sends(reply(), after=3.0), sse(COMPLETED, DONE)) as one:
        router = route([one])
        first = ask(router)
        wait_until(lambda: len(one.requests) == 1, 5, "the pod to be busy")
        status, lines = streamed(router)
        assert first.result(10).status_code == 200
    assert status == 200
    assert lines[0].startswith(": queued 0 eta ")
    assert lines[-1] == "data: [DONE]"


@pytest.mark.slow
def test_a_failure_after_signs_of_life_is_an_event_that_the_sdk_raises(route: Route) -> None:
    lost = sends(after=2.5, close=True)
    with pod(lost) as one:
        router = route([one])
        client = openai.OpenAI(base_url=f"{router.url}/v1", api_key="none", max_retries=0)
        with client, pytest.raises(openai.APIError, match="lost"):
            for _ in client.images.generate(model=MODEL, prompt="x", stream=True):
                pass


def test_a_failure_before_signs_of_life_keeps_its_status(route: Route) -> None:
    with pod(sends(reply(b'{"error":{}}', status=400))) as one:
        assert streamed(route([one]))[0] == 400


@pytest.mark.slow
def test_demand_is_told_and_a_change_answers_at_once(route: Route, ask: Ask) -> None:
    with sleeping_servers(1, seconds=0.4) as servers:
        router = route(servers, model=SHAPES)
        assert router.post(PICTURE).status_code == 200, "now the router knows what one costs, and sends none ahead"
        idle = router.get("/internal/demand").json()
        waited: list[httpx.Response] = []
        asking = threading.Thread(
            target=lambda: waited.append(router.get(f"/internal/demand?version={idle['version']}&wait=20"))
        )
        began = time.monotonic()
        asking.start()
        answers = [ask(router, **PICTURE) for _ in range(3)]
        asking.join(20)
        assert time.monotonic() - began < 10
        wait_until(lambda: router.waiting() == 2, 10, "two to wait")
        (model,) = router.get("/internal/demand").json()["models"]
        assert [each.result(20).status_code for each in answers] == [200] * 3
    assert waited[0].json()["version"] > idle["version"]
    assert (model["model"], model["waiting_requests"], model["running_requests"]) == (SHAPES, 2, 1)
    assert model["waiting_seconds"] > 0
    assert model["running_seconds"] > 0


def test_metrics_say_what_clients_got_and_who_serves(route: Route, ask: Ask) -> None:
    with pod() as one, pod() as silent:
        silent.silent = True
        router = route([one, silent], up=1)
        assert ask(router).result(10).status_code == 200
        assert ask(router, model="acme/none").result(10).status_code == 404
        text = router.get("/metrics").text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    route_label = "/v1/images/generations"
    assert samples["imagegen_router_requests_total", "", route_label, "200"] == 1
    assert samples["imagegen_router_requests_total", route_label, "404", "model_not_found"] == 1
    assert samples["imagegen_router_request_seconds_count", route_label] == 2
    assert (
        samples["imagegen_router_pods", MODEL, "serving"],
        samples["imagegen_router_pods", MODEL, "not_serving"],
    ) == (1, 1)
    assert samples["imagegen_router_waiting_requests", MODEL] == 0


def test_a_pod_gets_the_request_as_it_came_and_what_is_ours(route: Route) -> None:
    body = b'{"model": "acme/one",   "prompt": "\\u00e4", "unknown": [1, 2]}'
    sent = {
        "authorization": "Bearer secret",
        "cookie": "a=b",
        "x-imagegen-model": "another/one",
        "x-request-id": "id-1",
        "x-other": "kept",
        "te": "trailers",
    }
    with pod(GOOD) as one:
        answer = route([one]).post(body, headers=sent)
    got = one.requests[0]
    assert got.body == body
    assert {"authorization", "cookie", "te"} & set(got.headers) == set()
    assert got.headers["x-imagegen-model"] == MODEL
    assert got.headers["x-other"] == "kept"
    assert (got.headers["x-request-id"], answer.headers["x-request-id"]) == ("id-1", "id-1")
    assert 0 < float(got.headers["x-request-timeout"]) <= 600
    assert not [name for name in answer.headers if name.startswith("x-imagegen-")]
