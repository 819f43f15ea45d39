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
from cluster.resource_definition import make_known

_FOUND = pytest.StashKey[dict[str, Path | NoBinary]]()
_PROGRAMS = {"control_plane": ("devcluster",), "node_cluster": ("devcluster", "dns")}
"""What the fixtures run."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the programs that the chosen tests need now: it takes longer than a test may."""
    config = session.config
    if config.option.collectonly:
        return
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    asked = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    fixtures = asked & (_PROGRAMS.keys() - ({"node_cluster"} if lacking() else set()))
    config.stash[_FOUND] = {
        name: _find(name, reporter.write_line) for fixture in sorted(fixtures) for name in _PROGRAMS[fixture]
    }


def _find(program: str, say: Callable[[str], None]) -> Path | NoBinary:
    try:
        return devcluster(say) if program == "devcluster" else cached(program, say)
    except NoBinary as error:
        return error


def _program(config: pytest.Config, name: str) -> Path:
    """Return a program; skip the test in words where it cannot be had, which fails it in CI."""
    found = config.stash[_FOUND].get(name) or _find(name, print)
    if isinstance(found, NoBinary):
        pytest.skip(str(found))
    return found


@pytest.fixture(scope="session")
def node_cluster(pytestconfig: pytest.Config) -> Iterator[NodeCluster]:
    """Return a Kubernetes with a node that runs pods, shared by all tests of the run; mark these ``node``."""
    if lacks := lacking():
        pytest.skip(f"no Kubernetes node here: {lacks} missing")
    running = NodeCluster(_program(pytestconfig, "devcluster"), dns=_program(pytestconfig, "dns"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """Return a control plane, shared by all tests of the run; a test leaves the API server running."""
    running = ControlPlane(_program(pytestconfig, "devcluster"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def crd(control_plane: ControlPlane) -> None:
    """Make ImageModels known to the control plane."""
    make_known(control_plane.api())


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
