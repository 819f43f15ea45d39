"""Upgrades under load: of a model on the only GPU, of operator and routers, back again, and off and on again."""

from collections.abc import Iterator

import pytest

from conftest import Show
from installed_chart import RELEASE, SCENES, Installation, image_model
from sdk_load import SdkLoad
from sdk_pictures import MODEL, right_pictures
from server_process import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.node,
    pytest.mark.e2e,
    pytest.mark.acceptance,
    pytest.mark.timeout(1500),
]

SMALL = {"size": "128x128", "extra_body": {"num_inference_steps": 4}}
ON_THE_GPU = {
    "gpu": {"count": 1},
    # The GPU is one for the scheduler only.
    "pod": {
        "env": [{"name": "IMAGEGEN_SERVER_DEVICE", "value": "cpu"}],
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}},
    },
}
SECONDS = 120.0


@pytest.fixture
def gpu_model(installation: Installation) -> Iterator[str]:
    """Return the name of a model on the node's one GPU."""
    installation.api.apply(image_model("gpu", **ON_THE_GPU))
    installation.wait_for_model("imagegen-gpu")
    yield "imagegen-gpu"
    installation.api.delete("ImageModel", "imagegen-gpu")
    installation.api.wait_gone("Deployment", "imagegen-gpu")


def test_a_model_is_changed_under_load_with_one_gpu(installation: Installation, gpu_model: str, show: Show) -> None:
    (before,) = installation.model_pods()[gpu_model]
    fields = {"model": "imagegen/gpu", **SMALL}
    with SdkLoad(installation.router().url, installation.key, fields) as load:
        wait_until(lambda: load.calls > 8, SECONDS, "some pictures", every=0.1)
        installation.api.apply(image_model("gpu", **ON_THE_GPU, inference={"steps": 6}))
        installation.wait_for_model(gpu_model)
        done = load.calls
        wait_until(lambda: load.calls > done + 8, SECONDS, "pictures of the new pod", every=0.1)
    (after,) = installation.model_pods()[gpu_model]
    assert after != before
    assert load.failed == 0, load.pictures
    show("7.3 a model changed on the only GPU", load.summary())


def test_operator_and_routers_are_upgraded_and_rolled_back_under_load(installation: Installation, show: Show) -> None:
    node, values = installation.node, installation.values["images"]
    for image in (values["operator"], values["server"]):
        node.tag_image(f"{image['repository']}:{image['tag']}", f"{image['repository']}:upgraded")
    models = installation.model_pods()
    old = {pod["metadata"]["uid"] for component in ("operator", "router") for pod in installation.pods(component)}
    revision = installation.revision()
    with SdkLoad(installation.router().url, installation.key, {"model": MODEL, **SMALL}) as load:
        wait_until(lambda: load.calls > 8, SECONDS, "some pictures", every=0.1)
        said = installation.install_with({**installation.values, **_upgraded(installation)})
        assert "STATUS: deployed" in said
        _wait_replaced(installation, old)
        upgraded = {pod["metadata"]["uid"] for pod in installation.pods("router")}
        assert installation.model_pods() == models
        during_upgrade = load.calls
        installation.helm.run("rollback", RELEASE, str(revision), "--wait", "--timeout=180s", seconds=200)
        _wait_replaced(installation, upgraded)
        wait_until(lambda: load.calls > during_upgrade + 8, SECONDS, "pictures after it", every=0.1)
    assert installation.model_pods() == models
    assert {pod["spec"]["containers"][0]["image"] for pod in installation.pods("router")} == {
        f"{values['operator']['repository']}:{values['operator']['tag']}"
    }
    assert load.failed == 0, load.pictures
    assert load.retried == {}
    show("7.3 helm upgrade and rollback, two routers", f"{load.summary()}; model pods keep their UIDs")


def test_uninstalled_models_stay_and_serve_and_are_taken_up_again(installation: Installation, show: Show) -> None:
    models = installation.model_pods()
    installation.helm.run("uninstall", RELEASE, "--wait", "--timeout=180s", seconds=200)
    assert installation.pods("operator") == installation.pods("router") == []
    assert installation.kubectl("get", "imagemodels", "-o", "name").split() == [
        "imagemodel.imagegen.dev/imagegen-shapes"
    ]
    assert installation.model_pods() == models
    installation.install()
    installation.wait_ready("imagegen-shapes")
    assert right_pictures(installation.client(), SCENES) == len(SCENES)
    assert installation.model_pods() == models
    show("7.3 helm uninstall and install", "ImageModels kept (crds.keep), their pods ran on and were taken up again")


def _upgraded(installation: Installation) -> dict[str, object]:
    images = installation.values["images"]
    return {
        "images": {
            **images,
            "operator": {**images["operator"], "tag": "upgraded"},
            "server": {**images["server"], "tag": "upgraded"},
        }
    }


def _wait_replaced(installation: Installation, old: set[str]) -> None:
    """Wait until the pods are others, and the old ones gone: a router that drains is still one of two."""

    def replaced() -> bool:
        found = [pod for pod in installation.api.list("Pod") if pod["metadata"]["uid"] in old]
        return not found

    wait_until(replaced, SECONDS, "the pods to be replaced", every=0.5)
