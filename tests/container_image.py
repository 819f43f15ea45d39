"""The images, built once for all tests that run them, in containers or in pods.

They are built from a copy of the checkout. IMAGEGEN_KEEP_TEST_IMAGES=true keeps the images, so that the next run takes
seconds instead of minutes; `rm -r` of the folder that containers.py names ends that.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.node import NodeCluster
from containers import BASE_IMAGE, Store, image_store, lacking

REGISTRY = "localhost/imagegen-test"
BUILD_SECONDS = 3000.0
"""Six minutes on two idle cores, most of them for a layer of 6 GB; a busy machine may take eight times as long."""
SAVE_SECONDS = 1800.0
ROOT = Path(__file__).parents[1]
PACKAGES = ("contract", "web", "inference_server", "router", "kube", "operator", "cli", "demo_model")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the time limits of tests with images begin after their fixtures, each of whose steps has its own.

    Whichever test comes first waits for the images.
    """
    for item in items:
        if "store" in getattr(item, "fixturenames", ()):
            own = item.get_closest_marker("timeout")
            item.add_marker(pytest.mark.timeout(*(own.args if own else ()), func_only=True), append=False)


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """Return the image store of this run."""
    if lacks := lacking():
        pytest.skip(f"needs {lacks} to build and run containers")
    with image_store(keep=os.environ.get("IMAGEGEN_KEEP_TEST_IMAGES") == "true") as store:  # noqa: TID251 - a test run
        store.make_base()
        yield store


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what an image is built from: to change it, and so that nobody else changes it meanwhile.

    Only its owner may read it, as with a strict umask: the server runs as somebody else and must read it all the same.
    """
    copy = tmp_path_factory.mktemp("checkout")
    for name in (*PACKAGES, "requirements", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "out"))
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "Makefile",
        "Dockerfile.server",
        "Dockerfile.operator",
        ".dockerignore",
    ):
        shutil.copy2(ROOT / name, copy / name)
    for path in copy.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    return copy


class Built:
    """An image, how long its build took, and what it printed."""

    def __init__(self, store: Store, checkout: Path, which: str, tag: str) -> None:
        command = ["make", "--directory", str(checkout), f"image-{which}", f"REGISTRY={REGISTRY}", f"TAG={tag}"]
        # chroot: buildah would set up cgroups and limits otherwise, which not every machine lets it do.
        flags = ["BUILD_FLAGS=--isolation chroot --pull=never", f"BASE_IMAGE={BASE_IMAGE}", f"PYTHON={sys.executable}"]
        started = time.monotonic()
        done = store.run("nice", "-n", "5", *command, "ENGINE=buildah", *flags, seconds=BUILD_SECONDS)
        self.seconds = time.monotonic() - started
        self.printed = done.stdout + done.stderr
        self.name = f"{REGISTRY}/imagegen-{which}:{tag}"
        self.facts: dict[str, Any] = json.loads(store.run("podman", "image", "inspect", self.name).stdout)[0]
        """What podman says of it."""

    def bring(self, store: Store, node: NodeCluster) -> None:
        """Hand the image to a node, by way of a file: there is no registry."""
        with store.archive() as archive:
            store.run("podman", "save", "--output", str(archive), self.name, seconds=SAVE_SECONDS)
            node.import_image(archive)


@pytest.fixture(scope="session")
def built(store: Store, checkout: Path) -> Built:
    """Return the server's image."""
    return Built(store, checkout, "server", "1")


@pytest.fixture(scope="session")
def built_operator(store: Store, checkout: Path) -> Built:
    """Return the image of operator and router."""
    return Built(store, checkout, "operator", "1")


@pytest.fixture(scope="session")
def node_with_server(node_cluster: NodeCluster, store: Store, built: Built) -> NodeCluster:
    """Return the node, with the server's image and one GPU that only the scheduler knows of."""
    built.bring(store, node_cluster)
    node_cluster.set_gpus(1)
    return node_cluster
