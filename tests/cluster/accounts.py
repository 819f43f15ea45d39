"""Service accounts for tests: a kubeconfig that may do what a Role allows and nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.api import Api
from cluster.kubeconfig import write_kubeconfig

_HOUR = 3600
_RBAC = "rbac.authorization.k8s.io"


def account_token(api: Api, name: str, rules: Sequence[dict[str, Any]]) -> str:
    """Create a ServiceAccount, a Role with these rules and their binding in the API's namespace; return a token.

    The token is valid for an hour.
    """
    role = {"apiGroup": _RBAC, "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": api.namespace}
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    api.apply({"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": {"name": name}, "rules": list(rules)})
    api.apply(
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": role,
            "subjects": [subject],
        }
    )
    return token_of(api, name)


def token_of(api: Api, account: str) -> str:
    """Return a new token of an existing ServiceAccount, valid for an hour."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": _HOUR}}
    return api.request("POST", f"{api.path('serviceaccounts', account)}/token", request)["status"]["token"]


def account_kubeconfig(api: Api, path: Path, rules: Sequence[dict[str, Any]], *, name: str = "operator") -> Path:
    """Write a kubeconfig for a new ServiceAccount that is bound to a Role with these rules; return its path."""
    token = account_token(api, name, rules)
    return write_kubeconfig(path, api.url, token=token, ca=api.ca, namespace=api.namespace)
