"""Kubeconfig files."""

import json
from pathlib import Path


def write_kubeconfig(
    path: Path, server: str, *, token: str, ca: Path | None = None, namespace: str = "default"
) -> Path:
    """Write a kubeconfig for ``server`` with a bearer token, private to its owner; return its path.

    ``ca`` is the file of the authority that signed the server's certificate; None for plain HTTP. It is JSON, which
    is YAML too.
    """
    cluster = {"server": server} | ({"certificate-authority": str(ca)} if ca else {})
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        "current-context": "test",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1))
    return path
