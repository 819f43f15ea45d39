"""What clients see of the router when pods, connections or other clients misbehave. Each fault has its row in
docs/faults.md.
"""

import json
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from conftest import Show
from imagegen_contract.errors import ErrorCode
from misbehaving.pods import GOOD, MODEL, REFUSES, pod, reply, sends, stays_silent
from router_load import Load
from router_process import sleeping_server, sleeping_servers, start_router
from server_process import Server, ServerProcess, wait_until

from .conftest import Ask, Route

pytestmark = pytest.mark.acceptance
SHAPES = "imagegen/shapes"
PICTURE = {"model": SHAPES, "size": "64x64", "num_inference_steps": 4, "seed": 1}


def code(answer: httpx.Response) -> str:
    return answer.json()["error"]["code"]


def test_fault_pod_refuses(route: Route, ask: Ask, show: Show) -> None:
    with pod(REFUSES, GOOD) as first, pod(REFUSES, GOOD) as second:
        router = route([first, second])
        answer = ask(router).result(10)
        assert answer.status_code == 200
        assert len(first.requests) + len(second.requests) in {2, 3}
    show("6.4 pod refuses", "503 that it had not started: placed again, the client got 200")


def test_fault_nobody_listens(route: Route, ask: Ask, show: Show) -> None:
    with pod() as good, socket.create_server(("127.0.0.1", 0)) as once:
        router = route([good])
        gone = f"http://127.0.0.1:{once.getsockname()[1]}"
    with pod() as good:
        router = route([good, Server(gone)], up=1)
        assert ask(router).result(10).status_code == 200
        assert [each["pod"] for each in router.pods() if each["takes_work"]] == [good.url]
    show("6.4 nobody listens", "the pod takes no work, the other one does: 200")


def test_fault_pod_ends_the_connection(route: Route, ask: Ask, show: Show) -> None:
    with pod(sends(close=True), GOOD) as first, pod(sends(close=True), GOOD) as second:
        router = route([first, second])
        answer = ask(router).result(10)
        assert (answer.status_code, code(answer)) == (502, ErrorCode.UPSTREAM_FAILED)
        assert len(first.requests) == len(second.requests) == 1
        wait_until(lambda: router.serving() == 2, 10, "both to be tried again")
        assert ask(router).result(10).status_code == 200
    show("6.4 two pods end the connection", "502 upstream_failed after one re-run; later requests 200")


def test_fault_reply_is_no_http(route: Route, ask: Ask, show: Show) -> None:
    with pod(sends(b"SSH-2.0-OpenSSH_9.2\r\n"), GOOD) as one:
        router = route([one])
        assert ask(router).result(10).status_code == 200
        assert len(one.requests) == 2
    show("6.4 garbage for a reply", "run again once, the client got 200")


def test_fault_reply_is_cut_off(route: Route, ask: Ask, show: Show) -> None:
    with pod(sends(reply(bytes(1000))[:-500], close=True), GOOD) as one:
        router = route([one])
        with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete"):
            ask(router).result(10)
        assert len(one.requests) == 1, "after the first byte nothing is run again"
        assert ask(router).result(10).status_code == 200
    show("6.4 reply cut off in its body", "the client's connection ends too; no re-run; the next one 200")


def test_fault_pod_answers_500(route: Route, ask: Ask, show: Show) -> None:
    broken = sends(
        reply(b'{"error":{"message":"x","type":"server_error","param":null,"code":"internal_error"}}', status=500)
    )
    with pod(broken, GOOD) as one, pod() as good:
        router = route([one, good])
        answers = [ask(router).result(10).status_code for _ in range(12)]
        assert Counter(answers) <= Counter({200: 12, 500: 1})
        assert len(one.requests) <= 2
    show("6.4 pod answers 500", f"passed on as it is, the pod set aside: {dict(Counter(answers))}")


def test_fault_pod_never_answers(route: Route, show: Show) -> None:
    """A process that hangs: the system accepts connections for it, and nothing ever comes."""
    with sleeping_servers(2) as servers:
        router = route(servers, "--silence-seconds", "2", model=SHAPES)
        stopped = servers[0]
        stopped.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            with ThreadPoolExecutor(8) as pool:
                bodies = [{"prompt": "x", **PICTURE} for _ in range(8)]
                answers = [answer.status_code for answer in pool.map(router.post, bodies)]
            seconds = time.monotonic() - began
        finally:
            stopped.process.send_signal(signal.SIGCONT)
        assert answers == [200] * 8
        assert seconds < 10
        wait_until(lambda: router.serving() == 2, 10, "the pod to be back")
    show("6.4 pod accepts and never answers", f"8 of 8 requests 200 within {seconds:.1f} s (silence_seconds 2)")


def test_fault_pod_killed(route: Route, show: Show) -> None:
    with sleeping_servers(3, seconds=0.3) as servers, ThreadPoolExecutor(6) as pool:
        router = route(servers, model=SHAPES)
        answers = [pool.submit(router.post, {"prompt": "x", **PICTURE, "seed": seed}) for seed in range(6)]
        wait_until(lambda: router.running() >= 3, 10, "requests on all pods")
        before = [each.status()["work"]["images_total"] for each in servers[1:]]
        servers[0].kill()
        statuses = [answer.result(30).status_code for answer in answers]
        assert statuses == [200] * 6
        again = [line for line in router.log if line["message"] == "placing a request again"]
        made = [each.status()["work"]["images_total"] for each in servers[1:]]
        assert before == [0, 0]
        assert sum(made) == 6, "each was made once more at most"
    show("6.4 kill -9 of a pod with running requests", f"6 of 6 complete, {len(again)} by one re-run, none hangs")


def test_fault_rolling_restart(tmp_path: Path, show: Show) -> None:
    """All pods are replaced one after the other under load, as a Deployment does it: the new one is ready first."""
    listed = tmp_path / "endpoints"
    with ExitStack() as stack:
        servers = stack.enter_context(sleeping_servers(3))
        running = list(servers)
        _list(listed, running)
        router = stack.enter_context(start_router("--endpoints-file", str(listed)))
        wait_until(lambda: router.serving() == 3, 10, "three pods")
        load = stack.enter_context(Load([router], PICTURE, clients=8))
        for old in servers:
            new = stack.enter_context(sleeping_server())
            new.wait_ready()
            running.append(new)
            _list(listed, running)
            wait_until(lambda: len(router.pods()) == 4 and router.serving() == 4, 10, "the new pod")
            old.terminate()
            assert old.wait(30) == 0
            running.remove(old)
            _list(listed, running)
            wait_until(lambda: len(router.pods()) == 3, 10, "the old pod to be forgotten")
        load.end()
    assert set(load.outcomes) == {"200"}
    assert load.total() > 50
    show("6.4 rolling restart of all pods under load", f"{load.total()} requests of 8 clients, 0 failed")


def _list(file: Path, servers: list[ServerProcess]) -> None:
    part = file.with_suffix(".part")
    part.write_text("".join(f"{SHAPES}={server.url}\n" for server in servers))
    part.replace(file)


def test_fault_client_sends_slowly(route: Route, ask: Ask, show: Show) -> None:
    """Slow-loris: heads and bodies that come byte by byte hold a connection, and nothing else, for a while."""
    with pod() as one:
        router = route([one], "--body-timeout", "1")
        where = urlsplit(router.url)
        slow = [socket.create_connection((where.hostname, where.port), 40) for _ in range(50)]
        for number, each in enumerate(slow):
            head = b"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\n"
            each.sendall(head + (b"content-length: 100\r\n\r\n{" if number % 2 else b"x-slow: "))
        assert ask(router).result(10).status_code == 200
        answers = [each.recv(1000).split(b"\r\n")[0] for each in slow]
        for each in slow:
            each.close()
        assert set(answers) == {b"HTTP/1.1 408 Request Timeout"}
        assert len(one.requests) == 1
    show("6.4 slow-loris clients", "50 connections: 408 each; a client beside them 200 at once")


def test_fault_clients_leave(route: Route, show: Show) -> None:
    """A storm of clients that go away, some in the queue and some while their picture is made."""
    with sleeping_servers(2, seconds=0.2) as servers:
        router = route(servers, model=SHAPES)
        where = urlsplit(router.url)
        content = json.dumps({"prompt": "x", **PICTURE, "num_inference_steps": 50}).encode()
        head = b"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        clients = [socket.create_connection((where.hostname, where.port), 20) for _ in range(200)]
        for each in clients:
            each.sendall(head + b"content-length: %d\r\n\r\n" % len(content) + content)
        wait_until(lambda: router.waiting() + router.running() == 200, 20, "all to be there")
        began = time.monotonic()
        for each in clients:
            each.close()
        wait_until(lambda: router.waiting() + router.running() == 0, 20, "the router to forget them")
        wait_until(lambda: all(each.status()["capacity"]["running_requests"] == 0 for each in servers), 20, "idle pods")
        seconds = time.monotonic() - began
        assert seconds < 3
        assert router.post({"prompt": "x", **PICTURE}).status_code == 200
        assert [line for line in router.log if line["level"] in {"ERROR", "WARNING"}] == []
    show("6.4 storm of clients that leave", f"200 requests given up, pods idle after {seconds:.1f} s; the next one 200")


def test_fault_pod_says_nothing_to_one_request(route: Route, ask: Ask, show: Show) -> None:
    """Its /status is well, one reply never comes: the request's own time limit ends that."""
    with pod(stays_silent, GOOD) as one:
        router = route([one])
        body = json.dumps({"prompt": "x", "model": MODEL}).encode()
        answer = router.post(body, headers={"x-request-timeout": "1"})
        assert (answer.status_code, code(answer)) == (504, ErrorCode.DEADLINE_EXCEEDED)
        wait_until(lambda: one.disconnects == 1, 5, "the pod to be told")
        assert ask(router).result(10).status_code == 200
    show("6.4 one reply never comes", "504 deadline_exceeded at the request's own limit, the pod is told; the next 200")
