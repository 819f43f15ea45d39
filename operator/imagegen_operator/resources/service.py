"""The Service of a model: headless, because the router chooses the pod itself."""

from typing import Any

from imagegen_contract.names import PUBLIC_PORT
from imagegen_operator.kinds import Kind
from imagegen_operator.objects import Model
from imagegen_operator.resources.metadata import header, selector


def service(model: Model) -> dict[str, Any]:
    """Return the Service of ``model``. The management port is not in it: it is for the cluster's own, pod by pod."""
    return {
        **header(Kind.SERVICE, model, model.name),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": selector(model),
            "ports": [{"name": "http", "port": PUBLIC_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }
