"""Namespaces for tests."""

import secrets

from cluster.api import Api


def create_namespace(api: Api, prefix: str = "test") -> str:
    """Create a namespace with a unique name and return that, once pods can be made in it."""
    name = f"{prefix}-{secrets.token_hex(4)}"
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    inside = api.within(name)
    inside.wait_for("ServiceAccount", "default")  # pods are refused until the controller has made it
    inside.wait_for("ConfigMap", "kube-root-ca.crt")
    return name
