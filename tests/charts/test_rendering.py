"""What the chart renders to: valid for each Kubernetes, restricted, closed, and the same by each helm."""

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pytest

from chart_samples import CHOICES, EVERYTHING, OWN_CATALOG, Sample, samples, values_of
from conftest import Show
from helm_client import HELMS, Helm, Manifest, Refused, by_kind
from pod_security import broken_rules

SAMPLES = samples()
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "HTTPRoute", "CustomResourceDefinition"}
"""Kinds whose schemas are not Kubernetes' own, and the definition, whose strict schema knows no extensions."""


def _pods(manifests: list[Manifest]) -> list[Mapping[str, Any]]:
    templates = [each["spec"]["template"] for each in manifests if each["kind"] == "Deployment"]
    return [each["spec"] for each in (*templates, *(each for each in manifests if each["kind"] == "Pod"))]


def _problems(manifests: list[Manifest], kubernetes: str) -> list[str]:
    found: list[str] = []
    for each in manifests:
        if each["kind"] not in FOREIGN:
            try:
                kubernetes_validate.validate(each, kubernetes, strict=True)
            except kubernetes_validate.ValidationError as error:
                found.append(f"{each['kind']}: {error.message}")
    found += [f"{pod['containers'][0]['name']}: {rule}" for pod in _pods(manifests) for rule in broken_rules(pod)]
    names = Counter((each["kind"], each["metadata"]["name"]) for each in manifests)
    return [*found, *(f"{name} twice" for name, count in names.items() if count > 1)]


def test_each_pair_of_choices_is_in_a_sample() -> None:
    met = {pair for sample in SAMPLES for pair in itertools.combinations(sorted(sample.items()), 2)}
    pairs = itertools.combinations(sorted(CHOICES), 2)
    assert {((a, x), (b, y)) for a, b in pairs for x in CHOICES[a] for y in CHOICES[b]} <= met


@pytest.mark.acceptance
def test_samples(show: Show) -> None:
    objects = 0
    for sample in SAMPLES:
        helm, values = Helm(sample["helm"]), values_of(sample)
        helm.lint(values)
        manifests = helm.template(values, kubernetes=sample["kubernetes"])
        assert _problems(manifests, sample["kubernetes"]) == [], sample
        assert {each["kind"] for each in manifests} >= _expected_kinds(sample), sample
        objects += len(manifests)
    show(
        "7.7 rendered samples",
        f"{len(SAMPLES)} samples hold each pair of {sum(map(len, CHOICES.values()))} choices, helm {', '.join(HELMS)}, "
        f"Kubernetes 1.30 to 1.37: {objects} objects strictly valid and restricted, lint without a "
        "warning",
    )


def _expected_kinds(sample: Sample) -> set[str]:
    kinds = {"Deployment", "Role", "Service"}
    kinds |= {"CustomResourceDefinition"} if sample["crds"] != "none" else set()
    kinds |= {"ConfigMap"} if sample["catalog"] != "none" else set()
    kinds |= {"NetworkPolicy"} if sample["policies"] != "none" else set()
    kinds |= {"PodDisruptionBudget"} if sample["router"] == "two" else set()
    kinds |= {"PodMonitor", "PrometheusRule"} if sample["monitoring"] == "on" else set()
    kinds |= {"Ingress"} if sample["way in"].startswith("ingress") else set()
    return kinds | ({"HTTPRoute"} if sample["way in"] == "route" else set())


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["as it comes", "everything on"])
def test_each_helm_renders_the_same(values: Mapping[str, Any]) -> None:
    first, *others = (Helm(version).template(values) for version in HELMS)
    assert all(other == first for other in others)


def test_the_checks_see_what_is_wrong() -> None:
    """Each check of the samples fails where there is something to find."""
    manifests = Helm(HELMS[0]).template({})
    router = by_kind(manifests, "Deployment")["imagegen-router"]
    router["spec"]["replica"] = 2
    pod = router["spec"]["template"]["spec"]
    pod["hostNetwork"] = True
    pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    del pod["securityContext"]["seccompProfile"], pod["securityContext"]["runAsNonRoot"]
    context = pod["containers"][0]["securityContext"]
    del context["allowPrivilegeEscalation"]
    context["capabilities"]["add"] = ["SYS_ADMIN"]
    found = _problems([*manifests, manifests[0]], "1.36")
    words = ("replica", "hostNetwork", "hostPath", "seccomp", "runAsNonRoot", "PrivilegeEsc", "capabilities", "twice")
    assert [word for word in words if not any(word in each for each in found)] == []


def test_another_kubernetes_than_the_chart_knows_is_refused() -> None:
    for version in HELMS:
        with pytest.raises(Refused, match=r"1\.30"):
            Helm(version).template({}, kubernetes="1.29.0")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"ingress": {"enabled": True}}, id="ingress"),
        pytest.param({"httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}]}}, id="route"),
        pytest.param({"router": {"service": {"type": "LoadBalancer"}}}, id="load balancer"),
        pytest.param({"router": {"service": {"type": "NodePort"}}}, id="node port"),
    ],
)
def test_a_way_in_needs_keys_or_a_word_that_none_are_wanted(values: dict[str, Any]) -> None:
    helm = Helm(HELMS[0])
    with pytest.raises(Refused, match=r"imagegen keys secret.*auth\.allowAnonymous"):
        helm.template(values)
    assert helm.template({**values, "auth": {"allowAnonymous": True}})
    assert helm.template({**values, "auth": {"existingSecret": "keys"}})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param(
            {"httpRoute": {"enabled": True}}, r"httpRoute\.parentRefs: found no Gateway", id="a route of no Gateway"
        ),
        pytest.param(
            {"ingress": {"enabled": True, "tlsSecretName": "tls"}},
            r"ingress\.tlsSecretName without ingress\.host",
            id="a certificate of no host",
        ),
        pytest.param(
            {"catalog": {"modelsInfo": '[{"id": "a/b",]'}},
            r"catalog\.modelsInfo is not a list of models as JSON: .*invalid character",
            id="a catalog that is no JSON",
        ),
        pytest.param(
            {"catalog": {"modelsInfo": '{"id": "a/b"}'}},
            r"catalog\.modelsInfo is not a list of models as JSON: .*cannot unmarshal object",
            id="a catalog that is no list",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_words(values: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        Helm(HELMS[0]).template({"auth": {"allowAnonymous": True}, **values})


def test_labels_of_the_user_stand_below_those_that_select() -> None:
    values = {
        "nameOverride": "other",
        "commonLabels": {"team": "all", "app.kubernetes.io/component": "x"},
        "router": {"podLabels": {"team": "router", "app.kubernetes.io/name": "x"}},
    }
    for version in HELMS:
        manifests = Helm(version).template(values)
        for name, each in by_kind(manifests, "Deployment").items():
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert labels.items() >= each["spec"]["selector"]["matchLabels"].items()
            assert labels["team"] == ("router" if name.endswith("router") else "all")
        assert {each["metadata"]["labels"]["team"] for each in manifests} == {"all"}


def test_a_name_changes_no_selector() -> None:
    """Kubernetes refuses an upgrade that changes one."""
    helm = Helm(HELMS[0])
    before, after = (
        by_kind(helm.template({"fullnameOverride": "pictures", **more}), "Deployment")
        for more in ({}, {"nameOverride": "other", "commonLabels": {"team": "all"}})
    )
    assert [each["spec"]["selector"] for each in before.values()] == [
        each["spec"]["selector"] for each in after.values()
    ]


def test_helm_test_is_there_only_where_it_can_pass() -> None:
    helm = Helm(HELMS[0])
    keys = {"existingSecret": "keys"}
    assert by_kind(helm.template({}), "Pod")
    assert by_kind(helm.template({"auth": keys, "tests": {"existingSecret": "test-key"}}), "Pod")
    assert not by_kind(helm.template({"auth": keys}), "Pod")


def test_the_ingress_leaves_room_for_large_slow_replies() -> None:
    values = {"auth": {"allowAnonymous": True}, "ingress": {"enabled": True}, "router": {"requestTimeout": 900}}
    (ingress,) = by_kind(Helm(HELMS[0]).template(values), "Ingress").values()
    annotations = ingress["metadata"]["annotations"]
    assert {name.partition("/")[2]: value for name, value in annotations.items()} == {
        "proxy-body-size": "1048576",
        "proxy-read-timeout": "910",
        "proxy-send-timeout": "910",
        "proxy-buffering": "off",
    }


def test_the_ingress_annotations_of_the_user_win() -> None:
    theirs = {"nginx.ingress.kubernetes.io/proxy-buffering": "on"}
    values = {"auth": {"allowAnonymous": True}, "ingress": {"enabled": True, "annotations": theirs}}
    (ingress,) = by_kind(Helm(HELMS[0]).template(values), "Ingress").values()
    assert ingress["metadata"]["annotations"].items() >= theirs.items()


def test_a_router_may_drain_before_it_is_killed() -> None:
    for drain in (1, 600, 3000):
        router = by_kind(Helm(HELMS[0]).template({"router": {"drainSeconds": drain}}), "Deployment")["imagegen-router"]
        pod = router["spec"]["template"]["spec"]
        pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] >= drain + pause + 12


def test_two_releases_share_a_namespace() -> None:
    """No object of one has the name of the other's; the definition is the cluster's."""
    helm = Helm(HELMS[0])
    first, second = (helm.template({"crds": {"enabled": False}}, release=release) for release in ("one", "two"))
    assert not {(each["kind"], each["metadata"]["name"]) for each in first} & {
        (each["kind"], each["metadata"]["name"]) for each in second
    }


def test_a_catalog_of_ones_own() -> None:
    for version in HELMS:
        maps = by_kind(Helm(version).template({"catalog": {"modelsInfo": OWN_CATALOG}}), "ConfigMap")
        assert maps["imagegen-catalog"]["data"]["models_info.json"].strip() == OWN_CATALOG


def test_the_definition_stays_unless_told_otherwise() -> None:
    helm = Helm(HELMS[0])
    for keep in (True, False):
        (definition,) = by_kind(helm.template({"crds": {"keep": keep}}), "CustomResourceDefinition").values()
        policy = definition["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if keep else None)
