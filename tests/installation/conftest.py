"""The chart installed once for all tests here; each leaves it as it was."""

from collections.abc import Iterator

import pytest

from cluster.node import NodeCluster
from container_image import Built
from containers import Store
from helm_client import HELMS
from ingress_nginx import ingress
from installed_chart import RELEASE, Installation


@pytest.fixture(scope="session")
def installation(
    node_with_server: NodeCluster,
    store: Store,
    built: Built,
    built_operator: Built,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    """Return a release with the embedded model, ready."""
    built_operator.bring(store, node_with_server)
    images = (built_operator.name, built.name)
    installed = Installation(node_with_server, tmp_path_factory.mktemp("installation"), images, helm=HELMS[-1])
    installed.install_first()
    installed.wait_ready("imagegen-shapes")
    yield installed
    installed.remove()


@pytest.fixture(scope="session")
def ingress_url(installation: Installation) -> Iterator[str]:
    """Return the address of an ingress controller that serves the release's Ingress."""
    with ingress(installation.node, installation.api, RELEASE) as url:
        yield url
