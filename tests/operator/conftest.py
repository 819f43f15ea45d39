"""What the operator's tests need of a cluster."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.api import Api
from cluster.api_proxy import ApiProxy
from cluster.control_plane import ControlPlane
from cluster.kubeconfig import write_kubeconfig
from imagegen_contract import names
from imagegen_contract.crd import NAME
from operator_faults import Scene
from server_process import wait_until

_CRD_FILE = Path(__file__).parents[2] / "deploy/crd.yaml"


@pytest.fixture(scope="session")
def crd(control_plane: ControlPlane) -> None:
    """Make ImageModels known to the control plane, as `kubectl apply -f deploy/crd.yaml` does."""
    api = control_plane.api()
    api.apply(yaml.safe_load(_CRD_FILE.read_text()))
    api.wait_for("CustomResourceDefinition", NAME, _is_established)
    wait_until(lambda: _is_served(api), 30, "the API server to serve ImageModels")


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


def _is_served(api: Api) -> bool:
    """Return whether discovery knows them already, which comes a moment after Established."""
    try:
        api.path(names.KIND)
    except LookupError:
        return False
    return True


def _is_established(definition: dict[str, Any]) -> bool:
    conditions = definition.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
