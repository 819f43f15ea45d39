"""Who may reach whom, by the rules of NetworkPolicies: for clusters whose network does not enforce them.

Kubernetes' own definition: https://kubernetes.io/docs/concepts/services-networking/network-policies/ - a pod that no
policy selects for a direction is open in it; one that is selected is reached by what any of these policies allows. A
connection needs the egress of one side and the ingress of the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Peer:
    """One end of a connection: a pod by its labels and those of its namespace, or something outside of the cluster.

    ``ports`` maps the names of a pod's ports to their numbers.
    """

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    namespace_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    ports: Mapping[str, int] = field(default_factory=dict[str, int])


OUTSIDE = Peer()
"""Not a pod: the API server, the internet."""


@dataclass(frozen=True)
class Connection:
    """Who opens it, to whom, at which port."""

    source: Peer
    target: Peer
    port: int
    protocol: str = "TCP"


def may_connect(policies: Sequence[Policy], connection: Connection) -> bool:
    """Return whether the policies let a connection be opened."""
    source, target = connection.source, connection.target
    leaves = _allowed(policies, "egress", source, connection)
    return leaves and _allowed(policies, "ingress", target, connection)


def _allowed(policies: Sequence[Policy], direction: str, pod: Peer, connection: Connection) -> bool:
    selecting = [policy for policy in policies if _selects(policy, pod, direction)]
    if not selecting:
        return True
    rules = (rule for policy in selecting for rule in policy["spec"].get(direction) or ())
    return any(_rule_allows(rule, direction, connection) for rule in rules)


def _selects(policy: Policy, pod: Peer, direction: str) -> bool:
    if pod is OUTSIDE or policy["metadata"]["namespace"] != pod.namespace:
        return False
    types = {each.lower() for each in policy["spec"]["policyTypes"]}
    return direction in types and matches(policy["spec"]["podSelector"], pod.labels)


def _rule_allows(rule: Mapping[str, Any], direction: str, connection: Connection) -> bool:
    of, other, listed = (
        (connection.source, connection.target, rule.get("to"))
        if direction == "egress"
        else (connection.target, connection.source, rule.get("from"))
    )
    reaches = not listed or any(_is_peer(peer, of.namespace, other) for peer in listed)
    return reaches and (not rule.get("ports") or any(_is_port(each, connection) for each in rule["ports"]))


def _is_peer(peer: Mapping[str, Any], namespace: str, other: Peer) -> bool:
    assert "ipBlock" not in peer, "addresses are not looked at here"
    if other is OUTSIDE:
        return False
    if "namespaceSelector" in peer:
        inside = matches(peer["namespaceSelector"], other.namespace_labels)
    else:
        inside = other.namespace == namespace
    return inside and matches(peer.get("podSelector", {}), other.labels)


def _is_port(rule: Mapping[str, Any], connection: Connection) -> bool:
    if rule.get("protocol", "TCP") != connection.protocol:
        return False
    wanted = rule.get("port")
    number = connection.target.ports.get(wanted) if isinstance(wanted, str) else wanted
    return wanted is None or number == connection.port


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a label selector matches; an empty one matches everything."""
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(name) == value for name, value in wanted.items()) and all(
        _holds(each, labels) for each in selector.get("matchExpressions") or ()
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    name, operator, values = expression["key"], expression["operator"], expression.get("values", ())
    verdicts = {
        "Exists": name in labels,
        "DoesNotExist": name not in labels,
        "In": labels.get(name) in values,
        "NotIn": labels.get(name) not in values,
    }
    return verdicts[operator]


def peers(namespaces: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Peer]]:
    """Yield name and peer of pods as the API server has them."""
    labels = {each["metadata"]["name"]: each["metadata"].get("labels", {}) for each in namespaces}
    for pod in pods:
        where = pod["metadata"]["namespace"]
        ports = {each["name"]: each["containerPort"] for each in pod["spec"]["containers"][0].get("ports", ())}
        yield pod["metadata"]["name"], Peer(where, pod["metadata"].get("labels", {}), labels[where], ports)
