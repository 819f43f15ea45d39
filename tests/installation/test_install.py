"""`helm install`, `kubectl wait`, pictures: through the Service, through the Ingress, by `helm test`."""

import httpx
import openai
import pytest

from conftest import Show
from installed_chart import HOST, RELEASE, SCENES, Installation
from sdk_pictures import MODEL, right_pictures

pytestmark = [pytest.mark.slow, pytest.mark.images, pytest.mark.node, pytest.mark.e2e, pytest.mark.timeout(1500)]


@pytest.mark.acceptance
def test_right_pictures_through_service_and_ingress(installation: Installation, ingress_url: str, show: Show) -> None:
    service = right_pictures(installation.client(), SCENES)
    through_ingress = right_pictures(installation.client(ingress_url, default_headers={"host": HOST}), SCENES, "small")
    assert (service, through_ingress) == (len(SCENES), len(SCENES))
    show(
        "7.1 installed, pictures",
        f"{service} of {len(SCENES)} right through the Service, {through_ingress} through the Ingress (nginx made from "
        "the object: no controller is to be had)",
    )


def test_the_ingress_leads_to_nobody_without_a_key(ingress_url: str) -> None:
    client = openai.OpenAI(base_url=f"{ingress_url}/v1", api_key="wrong", default_headers={"host": HOST})
    with client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_neither_metrics_nor_demand_are_behind_the_ingress(ingress_url: str) -> None:
    for path in ("/metrics", "/status", "/internal/demand", "/internal/pods"):
        assert httpx.get(f"{ingress_url}{path}", headers={"host": HOST}, trust_env=False).status_code == 404, path


def test_helm_test_makes_a_picture_and_checks_it(installation: Installation) -> None:
    said = installation.helm.run("test", RELEASE, "--logs", "--timeout=120s", seconds=150)
    assert "Succeeded" in said
    assert f"{MODEL}: a picture of " in said


def test_what_kubectl_shows(installation: Installation) -> None:
    head, row = installation.kubectl("get", "imagemodels").splitlines()
    assert dict(zip(head.split(), row.split(), strict=False)).items() >= {"NAME": "imagegen-shapes"}.items()
    assert "True" in row
    assert installation.kubectl("get", "im,deploy,svc", "-l", "imagegen.dev/model=imagegen-shapes", "-o", "name")


def test_all_pods_are_restricted_and_none_restarts(installation: Installation) -> None:
    """The namespace refuses others; a restart would mean that something died unseen."""
    restarts = [
        each["restartCount"] for pod in installation.api.list("Pod") for each in pod["status"]["containerStatuses"]
    ]
    assert len(restarts) >= 4
    assert set(restarts) == {0}
