"""Fixtures for tests that talk to a real Kubernetes API server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Api
from cluster.api_proxy import ApiProxy
from cluster.binary import NoBinary, cached, devcluster
from cluster.control_plane import ControlPlane
from cluster.namespaces import create_namespace
from cluster.node import NodeCluster, lacking


@pytest.fixture(scope="session")
def terminal(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that shows a line to the person in front, past pytest's capture."""
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)  # noqa: T201 - a build of minutes is announced

    return say


def _program(name: str, say: Callable[[str], None]) -> Path:
    """Return a program of binary.py; skip the test in words where it cannot be had, which fails it in CI."""
    try:
        return devcluster(say) if name == "devcluster" else cached(name, say)
    except NoBinary as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def node_cluster(terminal: Callable[[str], None]) -> Iterator[NodeCluster]:
    """Return a Kubernetes with a node that runs pods, shared by all tests of the run; mark these ``node``."""
    if lacks := lacking():
        pytest.skip(f"no Kubernetes node here: {lacks} missing")
    running = NodeCluster(_program("devcluster", terminal), dns=_program("dns", terminal))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def control_plane(terminal: Callable[[str], None]) -> Iterator[ControlPlane]:
    """Return a control plane, shared by all tests of the run; a test leaves the API server running."""
    running = ControlPlane(_program("devcluster", terminal))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """Return the name of a new namespace, removed afterwards without waiting."""
    api = control_plane.api()
    name = create_namespace(api)
    yield name
    api.delete("Namespace", name)


@pytest.fixture
def api_proxy(control_plane: ControlPlane) -> Iterator[ApiProxy]:
    """Return a proxy in front of the API server, without faults."""
    with ApiProxy(control_plane) as proxy:
        yield proxy


@pytest.fixture
def kubernetes(control_plane: ControlPlane, namespace: str) -> Api:
    """Return a client with all rights, bound to the test's namespace."""
    return control_plane.api(namespace)
