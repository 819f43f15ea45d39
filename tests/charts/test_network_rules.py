"""The rules by which NetworkPolicies are evaluated here: as Kubernetes defines them, one case for each rule."""

from typing import Any

import pytest

from network_rules import OUTSIDE, Connection, Peer, may_connect

A = Peer("one", {"app": "a"}, {"name": "one"}, {"http": 8000})
B = Peer("one", {"app": "b"}, {"name": "one"}, {"http": 8000})
FOREIGN = Peer("two", {"app": "a"}, {"name": "two"}, {"http": 8000})


def policy(types: str, selector: dict[str, Any] | None = None, **rules: Any) -> dict[str, Any]:
    """Return a policy of namespace one for pods a, unless it says otherwise."""
    chosen = {"matchLabels": {"app": "a"}} if selector is None else selector
    spec = {"podSelector": chosen, "policyTypes": types.split(), **rules}
    return {"metadata": {"namespace": "one"}, "spec": spec}


CLOSED = policy("Ingress")
FROM_B = policy("Ingress", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}])
FROM_TWO = policy("Ingress", ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"name": "two"}}}]}])
NAMED_PORT = policy("Ingress", ingress=[{"ports": [{"port": "http"}]}])
UDP = policy("Ingress", ingress=[{"ports": [{"port": 53, "protocol": "UDP"}]}])
NO_EGRESS = policy("Egress", egress=[])
TO_A = policy(
    "Egress", {"matchLabels": {"app": "b"}}, egress=[{"to": [{"podSelector": {"matchLabels": {"app": "a"}}}]}]
)
EXPRESSION = policy("Ingress", {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}]})


@pytest.mark.parametrize(
    ("policies", "connection", "allowed"),
    [
        pytest.param([], Connection(B, A, 1), True, id="no policy, all open"),
        pytest.param([CLOSED], Connection(B, A, 1), False, id="selected and no rule, closed"),
        pytest.param([CLOSED], Connection(A, B, 1), True, id="one that is not selected stays open"),
        pytest.param([CLOSED], Connection(A, FOREIGN, 1), True, id="a policy holds in its namespace only"),
        pytest.param([FROM_B], Connection(B, A, 1), True, id="from a pod that is named"),
        pytest.param([FROM_B], Connection(OUTSIDE, A, 1), False, id="from outside, which is no pod"),
        pytest.param([FROM_B], Connection(FOREIGN, A, 1), False, id="a pod selector means the same namespace"),
        pytest.param([FROM_TWO], Connection(FOREIGN, A, 1), True, id="from a namespace that is named"),
        pytest.param([FROM_TWO], Connection(B, A, 1), False, id="from another namespace"),
        pytest.param([CLOSED, FROM_B], Connection(B, A, 1), True, id="policies add to each other"),
        pytest.param([NAMED_PORT], Connection(B, A, 8000), True, id="a port by its name"),
        pytest.param([NAMED_PORT], Connection(B, A, 9090), False, id="another port"),
        pytest.param([UDP], Connection(B, A, 53), False, id="another protocol"),
        pytest.param([UDP], Connection(B, A, 53, "UDP"), True, id="the protocol of the rule"),
        pytest.param([NO_EGRESS], Connection(A, B, 1), False, id="nothing may leave"),
        pytest.param([NO_EGRESS], Connection(B, A, 1), True, id="what comes in is another matter"),
        pytest.param([TO_A], Connection(B, A, 1), True, id="to a pod that is named"),
        pytest.param([TO_A], Connection(B, OUTSIDE, 1), False, id="to outside"),
        pytest.param([TO_A, CLOSED], Connection(B, A, 1), False, id="both sides must allow it"),
        pytest.param([EXPRESSION], Connection(B, A, 1), False, id="a selector by expression"),
    ],
)
def test_rule(policies: list[dict[str, Any]], connection: Connection, allowed: bool) -> None:
    assert may_connect(policies, connection) is allowed
