"""The operator asks pods that load what they do, and stops when they have said all."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from imagegen_contract import names
from imagegen_contract.server_status import ModelStatus, ServerStatus
from imagegen_operator.kinds import Kind
from imagegen_operator.progress import ServerReports
from imagegen_operator.store import Store
from status_answers import answering

pytestmark = pytest.mark.slow

EVERY = 0.02
SECONDS = 10.0
ADDRESS = "127.0.0.91"
LOADING = ModelStatus(id="acme/m", state="loading", stage="downloading")
READY = ModelStatus(id="acme/m", state="ready", device="cpu")


class Scene:
    """One model with one pod, and who was told."""

    def __init__(self, *, ready: bool = False) -> None:
        self.told: list[str] = []
        self.store = Store(lambda _: None)
        self.reports = ServerReports(self.store, self.told.append)
        spec = {"publisher": "p", "family": "f", "version": "v", "id": "acme/m"}
        metadata = {"name": "m", "namespace": "ns", "uid": "uid-m", "resourceVersion": "1"}
        self.store.put(Kind.IMAGE_MODEL, {"metadata": metadata, "spec": spec})
        self.store.put(Kind.POD, _pod(ready))

    def said(self) -> Mapping[str, ServerStatus]:
        """Return what the pod said last, by UID."""
        return self.reports.of(self.store.pods("m"))

    def run(self, until: Callable[[], object]) -> None:
        """Ask until something is true."""

        async def scene() -> None:
            asking = asyncio.create_task(self.reports.run(EVERY))
            async with asyncio.timeout(SECONDS):
                while not until():  # noqa: ASYNC110 - what is waited for is in other threads
                    await asyncio.sleep(EVERY / 2)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

        asyncio.run(scene())


def _pod(ready: bool) -> dict[str, Any]:
    condition = {"type": "Ready", "status": str(ready)}
    return {
        "metadata": {
            "name": "m-x",
            "uid": "uid-x",
            "resourceVersion": "2",
            "labels": {names.MODEL_LABEL: "m", names.MANAGED_BY_LABEL: names.OPERATOR},
        },
        "spec": {"containers": []},
        "status": {"phase": "Running", "podIP": ADDRESS, "conditions": [condition]},
    }


def _some_rounds() -> Callable[[], bool]:
    """Return a condition that is true after some rounds."""
    rounds = iter(range(20))
    return lambda: next(rounds, None) is None


def test_a_pod_that_loads_is_heard_and_its_model_told_once_for_each_change() -> None:
    scene = Scene()
    with answering(ADDRESS, LOADING):
        scene.run(lambda: scene.told)
        assert scene.said()["uid-x"].models == (LOADING,)
        scene.run(_some_rounds())
    assert scene.told == ["m"], "the same words again are no news"
    with answering(ADDRESS, READY):
        scene.run(lambda: len(scene.told) > 1)
    assert scene.said()["uid-x"].state == "ready"


def test_a_pod_that_said_it_is_ready_is_asked_no_more() -> None:
    scene = Scene(ready=True)
    with answering(ADDRESS, READY):
        scene.run(lambda: scene.told)
    with _counting(ADDRESS) as connections:
        scene.run(_some_rounds())
        assert connections == []


def test_what_a_gone_pod_said_is_forgotten() -> None:
    scene = Scene()
    with answering(ADDRESS, LOADING):
        scene.run(lambda: scene.told)
    pod = scene.store.pods("m")[0]
    scene.store.remove(Kind.POD, pod)
    scene.run(_some_rounds())
    assert scene.reports.of((pod,)) == {}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nnot one",
        b"HTTP/1.1 500 no\r\ncontent-length: 2\r\n\r\n{}",
        b"\0\1\2",
    ],
    ids=["nothing", "no JSON", "an error", "no HTTP"],
)
def test_a_pod_that_says_nothing_sensible_harms_nobody(answer: bytes) -> None:
    scene = Scene()
    with _counting(ADDRESS, answer) as connections:
        scene.run(lambda: len(connections) >= 2)
    assert scene.told == []
    assert scene.said() == {}


@contextmanager
def _counting(address: str, answer: bytes = b"") -> Generator[list[object]]:
    """Listen as a pod's management port would, note each connection, and give the same answer to all."""
    connections: list[object] = []
    listener = socket.create_server((address, names.MANAGEMENT_PORT))

    def serve() -> None:
        while True:
            try:
                connection, peer = listener.accept()
            except OSError:
                return
            with connection:
                connections.append(peer)
                connection.recv(4096)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
