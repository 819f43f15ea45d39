"""Which image of imagegen-server a model's pods get, whatever else is asked for, noted or deployed."""

from itertools import product

import pytest

import golden_models
from golden_models import Json
from imagegen_contract import names
from imagegen_contract.conditions import ImageModelStatus
from imagegen_operator.objects import Observed
from imagegen_operator.plan import pinned_image, plan
from imagegen_operator.settings import OperatorSettings

DEFAULT = "registry.example/server:default"
DEPLOYED = "registry.example/server:deployed"
STATUS = "registry.example/server:status"
ANNOTATION = "registry.example/server:annotation"
SPEC = "registry.example/server:spec"
SETTINGS = OperatorSettings(server_image=DEFAULT)
ROLLING = OperatorSettings(server_image=DEFAULT, upgrade_policy="Rolling")
BARE: Json = {"publisher": "acme", "family": "sdxl", "version": "1.0", "id": "acme/one"}


def imaged(spec: str, annotation: str, status: str, deployment: str) -> Observed:
    """Return an ImageModel for which these images are asked for, noted and deployed."""
    model = golden_models.model(
        "one",
        {**BARE, "pod": {"image": spec} if spec else {}},
        annotations={names.SERVER_IMAGE_ANNOTATION: annotation} if annotation else {},
        status=ImageModelStatus(server_image=status),
    )
    if not deployment:
        return Observed(model=model)
    containers = [{"name": "sidecar", "image": "another"}, {"name": "server", "image": deployment}]
    there = {"spec": {"template": {"spec": {"containers": containers}}}}
    return Observed(model=model, deployment=there)


@pytest.mark.parametrize(
    ("observed", "operator", "image"),
    [
        pytest.param(imaged("", "", "", ""), SETTINGS, DEFAULT, id="a new model gets the operator's image"),
        pytest.param(imaged("", "", STATUS, DEPLOYED), SETTINGS, STATUS, id="a deployed model keeps its image"),
        pytest.param(imaged("", "", "", DEPLOYED), SETTINGS, DEPLOYED, id="a lost status is read off the Deployment"),
        pytest.param(imaged("", ANNOTATION, STATUS, DEPLOYED), SETTINGS, ANNOTATION, id="the annotation moves it"),
        pytest.param(imaged(SPEC, "", STATUS, DEPLOYED), SETTINGS, SPEC, id="the spec moves it"),
        pytest.param(imaged(SPEC, ANNOTATION, "", ""), SETTINGS, SPEC, id="the spec goes before the annotation"),
        pytest.param(imaged("", "", STATUS, DEPLOYED), ROLLING, DEFAULT, id="the policy Rolling moves all"),
        pytest.param(imaged("", ANNOTATION, STATUS, ""), ROLLING, ANNOTATION, id="an asked image stays when rolling"),
    ],
)
def test_the_image(observed: Observed, operator: OperatorSettings, image: str) -> None:
    assert pinned_image(observed, operator) == image
    containers = plan(observed, operator).apply[-1]["spec"]["template"]["spec"]["containers"]
    assert (plan(observed, operator).image, containers[0]["image"]) == (image, image)


def test_the_first_image_that_is_there_is_taken_whatever_else_is() -> None:
    for spec, annotation, status, deployment in product(("", SPEC), ("", ANNOTATION), ("", STATUS), ("", DEPLOYED)):
        observed = imaged(spec, annotation, status, deployment)
        assert pinned_image(observed, SETTINGS) == (spec or annotation or status or deployment or DEFAULT)
        assert pinned_image(observed, ROLLING) == (spec or annotation or DEFAULT)
