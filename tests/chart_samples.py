"""Values of the chart for tests: everything switched on, and enough samples that each pair of choices meets once."""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DIGEST = f"sha256:{'0' * 64}"
OWN_CATALOG = '[{"publisher": "p", "family": "f", "version": "1", "id": "p/f", "source": "builtin://shapes"}]'
FROM_ANYWHERE = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}}}]

_SCHEDULING: Mapping[str, Any] = {
    "podAnnotations": {"example.com/note": "x"},
    "podLabels": {"team": "pictures"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
            }
        }
    },
    "priorityClassName": "system-cluster-critical",
}

_MONITORING: Mapping[str, Any] = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True},
}

_INGRESS = {"enabled": True, "className": "nginx", "host": "pictures.example", "tlsSecretName": "tls"}
_ROUTE = {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["pictures.example"]}

_KEYS: Mapping[str, Any] = {"auth": {"existingSecret": "keys"}, "tests": {"existingSecret": "test-key"}}
_ANONYMOUS: Mapping[str, Any] = {"auth": {"allowAnonymous": True}}

CHOICES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "names": {
        "own": {},
        "overridden": {"fullnameOverride": "pictures", "commonLabels": {"cost-centre": "7", "team": "all"}},
        "long": {"fullnameOverride": "a-name-that-is-much-longer-than-anything-may-be-called"},
    },
    "images": {
        "own": {},
        "mirror": {
            "images": {
                "registry": "registry.example/team/",
                "pullPolicy": "Always",
                "pullSecrets": ["one", "two"],
                "server": {"digest": DIGEST},
                "operator": {"tag": "1.2.3"},
            }
        },
    },
    "crds": {"kept": {}, "removed": {"crds": {"keep": False}}, "none": {"crds": {"enabled": False}}},
    "catalog": {
        "own": {},
        "other": {"catalog": {"modelsInfo": OWN_CATALOG}},
        "none": {"catalog": {"enabled": False}},
    },
    "server": {
        "pinned": {},
        "rolling": {
            "server": {
                "upgradePolicy": "Rolling",
                "hubEndpoint": "https://hub.example",
                "hubToken": {"existingSecret": "hub"},
            }
        },
    },
    "operator": {"one": {}, "two, placed": {"operator": {**_SCHEDULING, "replicas": 2}}},
    "router": {
        "two": {},
        "one, placed": {"router": {**_SCHEDULING, "replicas": 1, "defaultModel": "imagegen/shapes"}},
        "without budget": {"router": {"podDisruptionBudget": False}},
    },
    "way in": {
        "inside": {},
        "inside, keys": _KEYS,
        "inside, anonymous": _ANONYMOUS,
        "ingress": {**_KEYS, "ingress": {"enabled": True}},
        "ingress with a host": {**_ANONYMOUS, "ingress": {**_INGRESS, "annotations": {"example.com/a": "b"}}},
        "route": {**_KEYS, "httpRoute": _ROUTE},
        "load balancer": {
            **_KEYS,
            "router": {"service": {"type": "LoadBalancer", "annotations": {"example.com/a": "b"}}},
        },
        "node port": {**_ANONYMOUS, "router": {"service": {"type": "NodePort", "port": 8080}}},
    },
    "policies": {
        "open": {},
        "none": {"networkPolicy": {"enabled": False}},
        "narrow": {
            "networkPolicy": {
                "clients": FROM_ANYWHERE,
                "monitoring": FROM_ANYWHERE,
                "modelEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 443}]}],
                "apiServerPorts": [6443],
                "dnsPorts": [53, 5353],
                "dns": FROM_ANYWHERE,
            }
        },
    },
    "monitoring": {"off": {}, "on": {"monitoring": _MONITORING}},
    "helm": {version: {} for version in ("3.17", "4.1", "4.3")},
    "kubernetes": {f"1.{minor}": {} for minor in range(30, 38)},
}
"""What one can choose, and the values for it."""

EVERYTHING: Mapping[str, Any] = {
    "fullnameOverride": "pictures",
    "auth": {"allowAnonymous": True, "existingSecret": "keys"},
    "server": CHOICES["server"]["rolling"]["server"],
    "operator": {**_SCHEDULING, "replicas": 2},
    # What is wanted of nodes takes the place of spreading over them.
    "router": {**_SCHEDULING, "replicas": 3, "service": {"annotations": {"example.com/a": "b"}}},
    "ingress": {**_INGRESS, "annotations": {"example.com/a": "b"}},
    "httpRoute": _ROUTE,
    "networkPolicy": CHOICES["policies"]["narrow"]["networkPolicy"],
    "monitoring": _MONITORING,
    "tests": {"existingSecret": "test-key"},
}
"""Everything switched on."""

Sample = Mapping[str, str]


def pairwise(choices: Mapping[str, Sequence[str]]) -> Iterator[Sample]:
    """Yield samples until each pair of choices was in one.

    Greedy: each sample starts with a pair that is still open and takes, for each further name, the choice that closes
    most pairs. The order is always the same.
    """
    names = list(choices)
    pairs = itertools.combinations(names, 2)
    open_pairs = {((a, x), (b, y)): None for a, b in pairs for x in choices[a] for y in choices[b]}
    while open_pairs:
        sample = dict(next(iter(open_pairs)))
        for name in names:
            if name not in sample:
                sample[name] = max(choices[name], key=lambda choice: _closes(sample, name, choice, names, open_pairs))
        for pair in itertools.combinations(((name, sample[name]) for name in names), 2):
            open_pairs.pop(pair, None)
        yield sample


def _closes(sample: Sample, name: str, choice: str, names: Sequence[str], open_pairs: Mapping[Any, None]) -> int:
    chosen = [(other, sample[other]) for other in names if other in sample]
    before = [((other, value), (name, choice)) for other, value in chosen if names.index(other) < names.index(name)]
    after = [((name, choice), (other, value)) for other, value in chosen if names.index(other) > names.index(name)]
    return sum(pair in open_pairs for pair in (*before, *after))


def samples() -> list[Sample]:
    """Return the samples of ``CHOICES``."""
    return list(pairwise({name: list(options) for name, options in CHOICES.items()}))


def values_of(sample: Sample) -> dict[str, Any]:
    """Return the values of a sample."""
    values: dict[str, Any] = {}
    for name, choice in sample.items():
        values = merged(values, CHOICES[name][choice])
    return values


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with others on top, as helm puts one file of values over another."""
    both = copy.deepcopy(dict(below))
    for name, value in above.items():
        deeper = isinstance(value, Mapping) and isinstance(both.get(name), Mapping)
        both[name] = merged(both[name], value) if deeper else value
    return both
