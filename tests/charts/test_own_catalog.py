"""An upgrade that forgets the catalog is refused; on a real API server, by each helm."""

import json

import pytest

from cluster.api import Api
from cluster.control_plane import ControlPlane
from helm_client import CHART, HELMS, Helm, Refused

pytestmark = pytest.mark.slow

NO_DEFINITION = {"crds": {"enabled": False}}
OWN = {**NO_DEFINITION, "catalog": {"modelsInfo": json.dumps([])}}
CHARTS_OWN = f"--set-file=catalog.modelsInfo={CHART / 'files' / 'models_info.json'}"
NAME = "imagegen-catalog"


def _catalog(kubernetes: Api) -> str:
    return kubernetes.get("ConfigMap", NAME)["data"]["models_info.json"]


@pytest.fixture(params=HELMS)
def helm(request: pytest.FixtureRequest, control_plane: ControlPlane, kubernetes: Api) -> Helm:
    """Return each version of helm, in a namespace of the test."""
    return Helm(request.param, kubeconfig=control_plane.kubeconfig, namespace=kubernetes.namespace)


def test_an_upgrade_that_forgets_the_catalog_is_refused(helm: Helm, kubernetes: Api) -> None:
    helm.install(OWN)
    with pytest.raises(Refused, match="this release has a catalog of your own, and this command gives none"):
        helm.install(NO_DEFINITION)
    assert json.loads(_catalog(kubernetes)) == []
    helm.install({**NO_DEFINITION, "router": {"replicas": 3}}, "--reset-then-reuse-values")
    assert json.loads(_catalog(kubernetes)) == []
    helm.install(NO_DEFINITION, CHARTS_OWN)
    assert "imagegen/shapes" in _catalog(kubernetes)


def test_values_that_are_forgotten_may_have_set_the_names(helm: Helm) -> None:
    helm.install({**OWN, "fullnameOverride": "pictures"})
    with pytest.raises(Refused, match="gives none"):
        helm.install(NO_DEFINITION)


def test_the_catalog_of_another_release_is_none_of_ours(helm: Helm, kubernetes: Api) -> None:
    helm.install(OWN, release="other")
    helm.install(NO_DEFINITION)
    helm.install(NO_DEFINITION)
    assert "imagegen/shapes" in _catalog(kubernetes)


def test_the_charts_catalog_needs_no_repeating(helm: Helm, kubernetes: Api) -> None:
    helm.install(NO_DEFINITION)
    helm.install(NO_DEFINITION)
    helm.install(OWN)
    assert json.loads(_catalog(kubernetes)) == []


def test_a_release_without_a_catalog_stays_so(helm: Helm, kubernetes: Api) -> None:
    none = {**NO_DEFINITION, "catalog": {"enabled": False}}
    helm.install(OWN)
    helm.install(none)
    assert kubernetes.find("ConfigMap", NAME) is None
    helm.install(none)
