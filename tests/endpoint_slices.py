"""EndpointSlices as Kubernetes writes them for the Service of a model."""

from typing import Any

from imagegen_contract import names


def endpoint(uid: str, ip: str = "10.244.9.9", **conditions: bool) -> dict[str, Any]:
    """Return an endpoint of a slice as Kubernetes writes it."""
    target = {"kind": "Pod", "name": f"pod-{uid}", "uid": uid}
    return {"addresses": [ip], "conditions": {"ready": True, **conditions}, "targetRef": target}


def endpoint_slice(name: str, model: str, *endpoints: dict[str, Any]) -> dict[str, Any]:
    """Return a slice of a model's Service."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {names.MODEL_LABEL: model}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": names.PUBLIC_PORT}, {"name": "management", "port": names.MANAGEMENT_PORT}],
        "endpoints": list(endpoints),
    }
