"""A model more: by `kubectl apply`, and by an edit of models_info.json with `helm upgrade`. Nothing else restarts."""

import time

import pytest

from conftest import Show
from installed_chart import SCENES, Installation, entry, image_model, with_entries
from sdk_pictures import right_pictures

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.e2e, pytest.mark.timeout(1500)]

CATALOG_SECONDS = 300.0
"""The kubelet hands an edited ConfigMap to its pods within a minute or two, and the model starts after that."""


@pytest.mark.acceptance
def test_a_model_more_by_kubectl_and_one_by_helm(installation: Installation, show: Show) -> None:
    before = installation.model_pods()
    own = {component: installation.pods(component) for component in ("operator", "router")}
    first = entry("shapes", aliases=["small"])

    began = time.monotonic()
    installation.api.apply(image_model("applied"))
    installation.wait_ready("imagegen-applied")
    applied = time.monotonic() - began

    began = time.monotonic()
    installation.install(**with_entries(first, entry("listed", aliases=["from-the-list"])))
    installation.wait_for_model("imagegen-listed", seconds=CATALOG_SECONDS)
    listed = time.monotonic() - began

    client = installation.client()
    pictures = [right_pictures(client, SCENES, model) for model in ("imagegen/applied", "from-the-list", "small")]
    assert pictures == [len(SCENES)] * 3
    assert {model.id for model in client.models.list()} == {"imagegen/shapes", "imagegen/applied", "imagegen/listed"}
    after = installation.model_pods()
    assert {model: after[model] for model in before} == before
    for component, pods in own.items():
        assert {pod["metadata"]["uid"] for pod in installation.pods(component)} == {
            pod["metadata"]["uid"] for pod in pods
        }

    # An entry that goes takes its model along; one that was applied stays until it is deleted.
    installation.install(**with_entries(first))
    installation.api.wait_gone("ImageModel", "imagegen-listed", seconds=CATALOG_SECONDS)
    assert installation.api.find("ImageModel", "imagegen-applied")
    installation.kubectl("delete", "imagemodel", "imagegen-applied")
    for model in ("imagegen-applied", "imagegen-listed"):
        installation.api.wait_gone("Deployment", model)
    assert installation.model_pods()["imagegen-shapes"] == before["imagegen-shapes"]
    show(
        "7.2 two models more",
        f"applied to Ready {applied:.0f} s; by models_info.json and helm upgrade {listed:.0f} s (a "
        "kubelet may take a minute to hand a ConfigMap on); all pictures right, no other pod restarted",
    )
