"""Makes ImageModels known to a cluster, as `kubectl apply -f deploy/crd.yaml` does."""

from pathlib import Path
from typing import Any

import yaml

from cluster.api import Api
from imagegen_contract import names
from imagegen_contract.crd import NAME
from server_process import wait_until

_FILE = Path(__file__).parents[2] / "deploy/crd.yaml"
_SECONDS = 30.0


def make_known(api: Api) -> None:
    """Return when ImageModels can be applied."""
    api.apply(yaml.safe_load(_FILE.read_text()))
    api.wait_for("CustomResourceDefinition", NAME, _is_established)
    wait_until(lambda: _is_served(api), _SECONDS, "the API server to serve ImageModels")


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
