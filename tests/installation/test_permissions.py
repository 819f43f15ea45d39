"""Who may reach what, and who may do what: tried with each account, and by the rules of the policies.

The node's network does not enforce NetworkPolicies: the objects that the API server has are evaluated by their rules.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from cluster.accounts import token_of
from cluster.api import Api, ApiError
from conftest import Show
from installed_chart import RELEASE, Installation
from network_rules import OUTSIDE, Connection, Peer, may_connect, peers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.node,
    pytest.mark.e2e,
    pytest.mark.acceptance,
    pytest.mark.timeout(900),
]

ACCOUNTS = {"operator": f"{RELEASE}-operator", "router": f"{RELEASE}-router", "models": "default"}
MAY_LIST = {
    "operator": {"imagemodels", "deployments", "services", "pods", "persistentvolumeclaims"},
    "router": {"imagemodels", "endpointslices"},
    "models": set[str](),
}
KINDS = (
    *("imagemodels", "deployments", "services", "pods", "persistentvolumeclaims", "endpointslices", "secrets"),
    *("configmaps", "leases", "serviceaccounts", "roles", "rolebindings", "networkpolicies", "nodes", "namespaces"),
)


def _code(api: Api, method: str, path: str, body: object = None) -> int:
    """Return what the API server answers; nothing is changed, since only dry runs are asked for."""
    try:
        api.request(method, path, body, params={"dryRun": "All"} if method != "GET" else {})
    except ApiError as error:
        return error.code
    return 200


def test_each_account_may_do_its_work_and_nothing_else(installation: Installation, show: Show) -> None:
    api = installation.api
    tried = 0
    for component, account in ACCOUNTS.items():
        with Api(api.url, token=token_of(api, account), ca=api.ca, namespace=api.namespace) as theirs:
            for kind in KINDS:
                expected = 200 if kind in MAY_LIST[component] else 403
                assert _code(theirs, "GET", api.path(kind)) == expected, (component, kind)
                # Whatever they may do, they may do in their own namespace only.
                elsewhere = api.path(kind, namespace="kube-system")
                assert _code(theirs, "GET", elsewhere) == 403, (component, kind)
                tried += 2
            for method, path, body in _attempts(api):
                assert _code(theirs, method, path, body) == 403, (component, method, path)
                tried += 1
    show(
        "7.6 RBAC", f"{tried} requests by the accounts of operator, routers and models: each allowed or refused as said"
    )


def _attempts(api: Api) -> list[tuple[str, str, object]]:
    """Return what whoever takes over an account would try first."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": [{"name": "x", "image": "x"}]},
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "x"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNTS["router"], "namespace": api.namespace}],
    }
    name = api.list("pods")[0]["metadata"]["name"]
    return [
        ("POST", api.path("pods"), pod),
        ("POST", api.path("rolebindings"), binding),
        ("GET", api.path("secrets", "keys"), None),
        ("DELETE", api.path("pods", name), None),
        ("DELETE", api.path("deployments", f"{RELEASE}-router"), None),
        ("POST", f"{api.path('pods', name)}/exec", {}),
        ("GET", "/api/v1/nodes", None),
    ]


def test_pods_of_models_hold_no_token_and_no_secret_of_others(installation: Installation, show: Show) -> None:
    for pod in installation.api.list("Pod", labels="imagegen.dev/model"):
        mounts = [each["mountPath"] for each in pod["spec"]["containers"][0]["volumeMounts"]]
        assert not [path for path in mounts if "serviceaccount" in path or "keys" in path], mounts
        program = "import os; print(os.path.exists('/var/run/secrets/kubernetes.io'), os.getuid())"
        said = installation.kubectl("exec", pod["metadata"]["name"], "--", "python", "-c", program)
        assert said.split() == ["False", "10001"]
    show("7.6 pods of models", "no token of the cluster, no API keys, user 10001")


def test_who_may_reach_whom(installation: Installation, show: Show) -> None:
    api = installation.api
    policies = api.list("NetworkPolicy")
    found = dict(peers(api.list("Namespace"), api.list("Pod")))
    actors: Mapping[str, Peer] = {
        "operator": found[installation.pods("operator")[0]["metadata"]["name"]],
        "router": found[installation.pods("router")[0]["metadata"]["name"]],
        "model": found[api.list("Pod", labels="imagegen.dev/model")[0]["metadata"]["name"]],
        "neighbour": Peer(api.namespace, {"app": "neighbour"}),
        "stranger": Peer("elsewhere", {"app": "x"}, {"kubernetes.io/metadata.name": "elsewhere"}),
        "outside": OUTSIDE,
    }
    ends: Mapping[str, tuple[Peer, int]] = {
        "router:http": (actors["router"], 8000),
        "router:management": (actors["router"], 9090),
        "operator:management": (actors["operator"], 9090),
        "model:http": (actors["model"], 8000),
        "model:management": (actors["model"], 9090),
        "API server": (OUTSIDE, installation.node.control_plane.port),
        "internet:https": (OUTSIDE, 443),
        "internet:http": (OUTSIDE, 80),
        "other pod": (actors["stranger"], 8080),
    }
    seen = {
        name: {
            end
            for end, (target, port) in ends.items()
            if target != who and may_connect(policies, Connection(who, target, port))
        }
        for name, who in actors.items()
    }
    assert seen == REACHES
    for name in ("operator", "router", "model"):
        assert may_connect(policies, Connection(actors[name], OUTSIDE, 53, "UDP")), name
    pairs = len(actors) * len(ends)
    show("7.6 NetworkPolicies", f"{pairs} pairs of who and what, by rule (the node's network enforces none): as said")


REACHES: Mapping[str, Any] = {
    "operator": {"model:management", "API server", "internet:https"},
    "router": {"model:http", "model:management", "API server", "internet:https"},
    "model": {"internet:https"},
    "neighbour": {"router:http", "API server", "internet:https", "internet:http", "other pod"},
    "stranger": {"router:http", "API server", "internet:https", "internet:http"},
    "outside": {"router:http", "other pod"},
}
"""Operator and router may speak to port 443 of anybody: no rule can name the API server.

The router is open to pods of models and to the operator as to everybody else, but neither may leave towards it.
"""
