"""The chart's values: each is declared, typed, told of and used, and nothing else is taken."""

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import yaml

from chart_samples import EVERYTHING, merged
from conftest import Show
from helm_client import CHART, HELMS, Helm, Manifest, Refused

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
ANOTHER_CATALOG = '[{"publisher": "a", "family": "b", "version": "c", "id": "a/b"}]'

OTHER: Mapping[str, Any] = {
    "images.pullPolicy": "Always",
    "images.operator.digest": f"sha256:{'1' * 64}",
    "images.server.digest": f"sha256:{'2' * 64}",
    "operator.logLevel": "debug",
    "router.logLevel": "debug",
    "router.service.type": "NodePort",
    "server.upgradePolicy": "Pinned",
    "monitoring.serviceMonitor.interval": "7s",
    "monitoring.podMonitor.interval": "7s",
    "catalog.modelsInfo": ANOTHER_CATALOG,
    "images.pullSecrets": ["other"],
    "networkPolicy.apiServerPorts": [8443],
    "networkPolicy.dnsPorts": [5353],
    "server.hubEndpoint": "https://other.example",
    "httpRoute.hostnames": ["other.example"],
    "operator.resources.requests": {"cpu": "77m"},
    "router.resources.requests": {"cpu": "77m"},
    "operator.resources.limits": {"cpu": "77m"},
    "router.resources.limits": {"cpu": "77m"},
}
"""Another value where the type alone does not say one."""

HIDDEN: Mapping[str, Mapping[str, Any]] = {
    # A digest goes before the tag, a whole name before the chart's.
    "images.operator.tag": {"images": {"operator": {"digest": ""}}},
    "images.server.tag": {"images": {"server": {"digest": ""}}},
    "nameOverride": {"fullnameOverride": ""},
    # Keys are as good as a word that none are wanted.
    "auth.allowAnonymous": {"auth": {"existingSecret": ""}},
}
"""What hides a value, taken away while that one is looked at."""


def _leaves(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "properties" not in schema:
        yield path
        return
    for name, below in schema["properties"].items():
        yield from _leaves(below, (*path, name))


def _groups(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "properties" in schema:
        yield path
        for name, below in schema["properties"].items():
            yield from _groups(below, (*path, name))


def _at(values: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = values
    for name in path:
        found = found[name]
    return found


def _with(values: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(dict(values))
    where = changed
    for name in path[:-1]:
        where = where.setdefault(name, {})
    where[path[-1]] = value
    return changed


def _another(path: str, value: Any) -> Any:
    if path in OTHER:
        return OTHER[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value or 'another'}-1"
    if isinstance(value, Mapping):
        return {**value, "another": "value"}
    return [*value, {"key": "another"}]


DECLARED = sorted(".".join(path) for path in _leaves(SCHEMA) if path[0] != "global" and path[-1] != "claims")


def _values_leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    for name, value in values.items():
        here = (*path, name)
        if ".".join(here) in DECLARED or not isinstance(value, Mapping):
            yield ".".join(here)
        else:
            yield from _values_leaves(value, here)


def test_values_and_schema_name_the_same() -> None:
    assert sorted(_values_leaves(VALUES)) == DECLARED


def test_templates_use_no_value_that_is_not_declared() -> None:
    used: set[str] = set()
    for template in (CHART / "templates").rglob("*.*"):
        used |= set(re.findall(r"\.Values\.([A-Za-z0-9_.]+)", template.read_text()))
    declared = {*DECLARED, *(".".join(path) for path in _groups(SCHEMA))}
    assert used - declared == set()


def _rendered(helm: Helm, values: Mapping[str, Any]) -> list[Manifest] | None:
    """Return what is rendered; None where it is refused, which is another answer too."""
    try:
        return helm.template(values)
    except Refused:
        return None


@pytest.mark.acceptance
def test_each_value_is_used(show: Show) -> None:
    """Another value renders to something else. Everything is switched on, so that each has its effect."""
    helm = Helm(HELMS[0])
    unused: list[str] = []
    whole = merged(VALUES, EVERYTHING)
    rendered = helm.template(whole)
    for name in DECLARED:
        path = name.split(".")
        values = merged(whole, HIDDEN.get(name, {}))
        changed = _with(values, path, _another(name, _at(values, path)))
        if (helm.template(values) if name in HIDDEN else rendered) == _rendered(helm, changed):
            unused.append(name)
    assert unused == []
    show("7.7 values", f"{len(DECLARED)} declared, each changes what is rendered; none is used undeclared")


@pytest.mark.acceptance
def test_a_typo_is_refused_by_name_wherever_it_is(show: Show) -> None:
    groups = [group for group in _groups(SCHEMA) if group[:1] != ("global",)]
    for helm in map(Helm, HELMS):
        for group in groups:
            with pytest.raises(Refused, match="imageTypo"):
                helm.template(_with({}, (*group, "imageTypo"), "x"))
    show("7.7 typos", f"refused by name in all {len(groups)} groups of values, by helm {', '.join(HELMS)}")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("router.replicas", "two", id="text for a number"),
        pytest.param("router.replicas", 0, id="no router at all"),
        pytest.param("router.service.port", 70000, id="no port"),
        pytest.param("router.service.type", "Loadbalancer", id="no such type"),
        pytest.param("images.pullPolicy", "Sometimes", id="no such policy"),
        pytest.param("images.server.digest", "sha256:12", id="half a digest"),
        pytest.param("server.upgradePolicy", "rolling", id="not as it is written"),
        pytest.param("crds.keep", "no", id="text for a switch"),
        pytest.param("networkPolicy.clients", {"a": "b"}, id="an object for a list"),
        pytest.param("router.podLabels", {"a": 1}, id="a label that is no text"),
        pytest.param("tests.model", "", id="no model to test"),
        pytest.param("server.hubEndpoint", "hub.example.com", id="an address without a scheme"),
        pytest.param("server.hubEndpoint", "https://user:word@hub.example.com", id="an address with a password"),
        pytest.param("monitoring.podMonitor.interval", "often", id="no duration"),
    ],
)
def test_a_value_of_another_kind_is_refused(path: str, value: Any) -> None:
    with pytest.raises(Refused, match=path.rpartition(".")[2]):
        Helm(HELMS[0]).template(_with({}, path.split("."), value))
