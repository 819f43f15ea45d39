"""What the operator's tests need of a cluster."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.api import Api
from cluster.api_proxy import ApiProxy
from cluster.kubeconfig import write_kubeconfig
from operator_faults import Scene


@pytest.fixture
def kubeconfig(kubernetes: Api, tmp_path: Path) -> Path:
    """Return a kubeconfig with all rights and the test's namespace."""
    path = tmp_path / "kubeconfig"
    return write_kubeconfig(
        path, kubernetes.url, token=kubernetes.token, ca=kubernetes.ca, namespace=kubernetes.namespace
    )


@pytest.fixture
def scene(kubernetes: Api, api_proxy: ApiProxy, tmp_path: Path) -> Iterator[Scene]:
    """Return a place for operators whose way to the API server can be broken."""
    with ExitStack() as stack:
        stack.callback(api_proxy.heal)
        yield Scene(kubernetes, api_proxy, tmp_path, stack)
